//! `payment.process.v1`: take the money for an order.

use common::{
    amqp::consumer,
    contract::{
        Envelope, Message, Money, PaymentId, Unreadable,
        payment::{PAYMENT_DECLINED, PaymentFailed, PaymentProcessed, ProcessPayment},
    },
};
use tracing::info;

use crate::{
    SOURCE,
    command::Command,
    gateway::{Charge, Gateway, Verdict},
    payments::Payment,
};

/// Reads the command, and checks what its type cannot say: a charge is of some money, and can be written down.
///
/// # Errors
/// It asks for what cannot be done.
pub(crate) fn read(message: &Envelope) -> Result<ProcessPayment, Unreadable> {
    let asked: ProcessPayment = message.data()?;
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
    Ok(asked)
}

/// Has the gateway take the money.
///
/// # Errors
/// The gateway's.
pub(crate) async fn charge(
    gateway: &impl Gateway,
    command: &Command,
    asked: &ProcessPayment,
) -> Result<Payment, consumer::Error> {
    let charge = Charge {
        idempotency_key: &command.key.to_string(),
        amount: asked.amount,
        currency: &asked.currency,
        payment_method: asked.payment_method.as_deref(),
    };
    Ok(Payment {
        id: PaymentId::generate(),
        saga: command.key.saga,
        step: command.key.step.clone(),
        order_id: asked.order_id,
        customer_id: asked.customer_id.clone(),
        amount: asked.amount,
        currency: asked.currency.clone(),
        payment_method: asked.payment_method.clone(),
        verdict: gateway.charge(charge).await?,
    })
}

/// What to answer, with a line in the log for each refusal.
pub(crate) fn reply(command: &Command, payment: &Payment) -> Envelope {
    let order_id = command.body.order_id();
    match &payment.verdict {
        Verdict::Captured { .. } => {
            let processed = PaymentProcessed {
                order_id,
                payment_id: payment.id,
                amount: payment.amount,
                currency: payment.currency.clone(),
            };
            command.reply(SOURCE, &processed)
        }
        Verdict::Declined { code } => {
            info!(saga.id = %command.key.saga, order.id = %order_id, code, "payment declined");
            let failed = PaymentFailed {
                order_id,
                payment_id: Some(payment.id),
                amount: Some(payment.amount),
                currency: Some(payment.currency.clone()),
                reason: PAYMENT_DECLINED,
                detail: Some(code.clone()),
            };
            command.reply(SOURCE, &failed)
        }
    }
}
