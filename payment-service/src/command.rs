//! What can be asked for.

use common::{
    contract::{
        OrderId,
        payment::{ProcessPayment, RefundPart, RefundPayment},
    },
    participant,
};

/// A command to this service.
pub(crate) type Command = participant::Command<Body>;

/// What it asks for.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// The action.
    Process(ProcessPayment),
    /// Its compensation.
    Refund(RefundPayment),
    /// An action of another saga, which gives a part back.
    RefundPart(RefundPart),
}

impl Body {
    /// The order that it is about.
    pub(crate) const fn order_id(&self) -> OrderId {
        match self {
            Self::Process(asked) => asked.order_id,
            Self::Refund(asked) => asked.order_id,
            Self::RefundPart(asked) => asked.order_id,
        }
    }
}
