//! The wire: every message that crosses a service border, and the types in it.
//!
//! ```text
//! saga.commands   payment.process.v1  payment.refund.v1  inventory.reserve.v1  inventory.release.v1  inventory.validate.v1
//! saga.replies    the replies to the first four, back to whoever sent the command
//! saga.events     every reply as a public event, and what became of orders and stock, for everybody
//! ```
//!
//! A message is a CloudEvents [`Envelope`] whose `data` is one of the types in [`payment`], [`inventory`] and
//! [`order`]. A type that changes its meaning gets a new name (`….v2`) beside the old one. [`asyncapi`] makes the
//! published documents from these types; a test keeps the committed copies honest.

pub mod asyncapi;
mod envelope;
mod ids;
pub mod inventory;
mod money;
pub mod order;
pub mod payment;
mod reason;
pub mod topology;

pub use envelope::{Envelope, Unreadable};
pub use ids::{OrderId, PaymentId, SagaId};
pub use money::{Money, MoneyError, decimal};
pub use reason::{Reason, UnknownReason};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// The `data` of a message: its shape, and the CloudEvents `type` that announces it.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// The CloudEvents `type`, which is the routing key on `saga.events`: `payment.processed.v1`.
    const TYPE: &'static str;
}

/// Ties data types to their CloudEvents types.
macro_rules! messages {
    ($($data:ty => $name:literal),+ $(,)?) => {
        $(impl $crate::contract::Message for $data { const TYPE: &'static str = $name; })+
    };
}
use messages;
