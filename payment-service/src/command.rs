//! What can be asked for.

use common::{
    contract::payment::{ProcessPayment, RefundPart, RefundPayment},
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
