//! What can be asked for.

use common::{
    amqp::consumer::Incoming,
    contract::{
        Message, Money, Unreadable,
        payment::{ProcessPayment, RefundPayment},
    },
    participant::{self, idempotency::Direction},
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
}

/// Reads a command.
///
/// # Errors
/// It is none of ours, or it asks for what cannot be done.
pub(crate) fn decode(event: &Incoming) -> Result<Command, Unreadable> {
    match event.envelope.kind.as_str() {
        ProcessPayment::TYPE => {
            let asked: ProcessPayment = event.envelope.data()?;
            check(&asked)?;
            let order = asked.order_id;
            Command::new(event, Direction::Action, order, Body::Process(asked))
        }
        RefundPayment::TYPE => {
            let asked: RefundPayment = event.envelope.data()?;
            let order = asked.order_id;
            Command::new(event, Direction::Compensation, order, Body::Refund(asked))
        }
        other => Err(Unreadable::UnknownType(other.to_owned())),
    }
}

/// What the type cannot say: a charge is of some money, and can be written down.
fn check(asked: &ProcessPayment) -> Result<(), Unreadable> {
    let invalid = |error: &str| Unreadable::Data {
        kind: ProcessPayment::TYPE.to_owned(),
        error: error.to_owned(),
    };
    if asked.amount <= Money::default() {
        return Err(invalid("amount must be more than 0.00"));
    }
    let method = asked.payment_method.as_deref().unwrap_or_default();
    // PostgreSQL's text cannot hold it, and a payment that cannot be recorded must not be made.
    if [&asked.customer_id, &asked.currency, method]
        .iter()
        .any(|text| text.contains('\0'))
    {
        return Err(invalid("texts must not contain U+0000"));
    }
    Ok(())
}
