//! Why something was refused or undone.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a step was refused, or a saga undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The payment gateway declined the charge.
    PaymentDeclined,
    /// At least one product has less available than the order asks for.
    OutOfStock,
    /// At least one product does not exist.
    UnknownProduct,
    /// A participant did not answer within the attempts of its step.
    Timeout,
    /// The customer cancelled.
    CustomerRequest,
    /// An operator intervened.
    Operator,
    /// The step's compensation came before its action, so the action did nothing.
    AlreadyCompensated,
}

impl Reason {
    const ALL: [(Self, &str); 7] = [
        (Self::PaymentDeclined, "PAYMENT_DECLINED"),
        (Self::OutOfStock, "OUT_OF_STOCK"),
        (Self::UnknownProduct, "UNKNOWN_PRODUCT"),
        (Self::Timeout, "TIMEOUT"),
        (Self::CustomerRequest, "CUSTOMER_REQUEST"),
        (Self::Operator, "OPERATOR"),
        (Self::AlreadyCompensated, "ALREADY_COMPENSATED"),
    ];

    /// The reason's name on the wire and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(reason, _)| *reason == self)
            .map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Reason`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no reason that this program knows")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(reason, _)| *reason)
            .ok_or_else(|| UnknownReason(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_tables_and_on_the_wire() {
        for (reason, name) in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), name);
            assert_eq!(name.parse::<Reason>().unwrap(), reason);
        }
    }
}
