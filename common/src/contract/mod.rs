//! The wire: every message that crosses a service border, and the types in it.
//!
//! ```text
//! saga.commands   payment.{process|refund|refund_part}.v1  inventory.{reserve|release|commit|restock}.v1
//!                 inventory.validate.v1, which is a question and no command
//! saga.replies    the reply to each command, back to whoever sent it
//! saga.events     every reply as a public event, what became of orders and stock, and what needs an operator, for
//!                 everybody
//! ```
//!
//! A message is a CloudEvents [`Envelope`] whose `data` is one of the types in [`payment`], [`inventory`],
//! [`order`], [`saga`] and [`dead_letters`]. A type that changes its meaning gets a new name (`….v2`) beside the old one. [`asyncapi`](crate::asyncapi) makes the
//! published documents from these types; a test keeps the committed copies honest.

pub mod clock;
mod currency;
pub mod dead_letters;
mod envelope;
mod ids;
pub mod inventory;
mod money;
pub mod order;
mod origin;
pub mod payment;
mod reason;
pub mod saga;
pub mod topology;
mod trace;

pub use currency::{Currency, NoCurrency};
pub(crate) use envelope::MESSAGE_MAX;
pub use envelope::{Envelope, Unreadable};
pub use ids::{OrderId, PaymentId, ReturnId, SagaId};
pub use money::{Money, MoneyError, decimal};
pub use origin::Origin;
pub use reason::{InvalidReason, Reason};
pub use trace::Trace;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// The `data` of a message: its shape, and the CloudEvents `type` that announces it.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// The CloudEvents `type`, which is the routing key on `saga.events`: `payment.processed.v1`.
    const TYPE: &'static str;
}

/// A message that asks a participant to do something, as a step of a saga.
pub trait Command: Message {
    /// Who is asked: the routing key on `saga.commands`, such as `payment`.
    const PARTICIPANT: &'static str;
}

/// A reply that refuses: the participant did nothing, so there is nothing to undo.
pub trait Rejection: Message {
    /// Why.
    fn reason(&self) -> Reason;

    /// What exactly is in the way, for people: the gateway's code, or the product that is short.
    fn detail(&self) -> Option<&str>;
}

/// Ties data types to their CloudEvents types.
macro_rules! messages {
    ($($data:ty => $name:literal),+ $(,)?) => {
        $(impl $crate::contract::Message for $data { const TYPE: &'static str = $name; })+
    };
}
use messages;

/// Declares which data types are commands to a participant.
macro_rules! commands {
    ($participant:literal => $($data:ty),+ $(,)?) => {
        $(impl $crate::contract::Command for $data { const PARTICIPANT: &'static str = $participant; })+
    };
}
use commands;
