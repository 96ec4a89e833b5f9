//! Ids: newtypes over UUID version 7, so that keys arrive in order and no id is taken for another.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::clock;

/// Declares id types that differ in nothing but their name.
macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = Uuid, example = "01976a3e-7c00-7000-8000-000000000001")]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every id that this process made before.
            #[must_use]
            pub fn generate() -> Self {
                Self(clock::new_id())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

id! {
    /// An order. It is the CloudEvents `subject` of every message about the order.
    OrderId,
    /// A saga: one run of a saga definition.
    SagaId,
    /// A payment.
    PaymentId,
    /// A return: what a customer sends back of an order at one time.
    ReturnId,
}
