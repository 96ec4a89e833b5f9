//! `payment.refund.v1`: the compensation, which gives the money of an order back, whether or not it was taken.

use common::{
    amqp::consumer,
    contract::{
        Envelope, Reason,
        payment::{PaymentFailed, PaymentRefunded},
    },
};
use metrics::counter;

use crate::{
    SOURCE,
    command::Command,
    gateway::{Charged, Gateway, Refund},
    payments::Captured,
};

/// Has the gateway keep nothing of what the action of `command`'s step charged; also where the command is that action
/// itself, which came too late. `captured` is what is recorded of the charge.
///
/// # Errors
/// The gateway's.
pub(crate) async fn give_back(
    gateway: &impl Gateway,
    command: &Command,
    captured: Option<&Captured>,
) -> Result<(), consumer::Error> {
    let refund = Refund {
        charge_key: &command.key.action().to_string(),
        charge: captured.map(|payment| Charged {
            gateway_id: &payment.gateway_id,
            amount: payment.amount,
            currency: &payment.currency,
        }),
    };
    Ok(gateway.refund(refund).await?)
}

/// What to answer. The payment is the one that this turns into a refunded one.
pub(crate) fn reply(command: &Command, payment: Option<&Captured>, reason: Reason) -> Envelope {
    counter!("payments_total", "status" => "refunded").increment(u64::from(payment.is_some()));
    let refunded = PaymentRefunded {
        order_id: command.body.order_id(),
        payment_id: payment.map(|p| p.id),
        amount: payment.map(|p| p.amount),
        currency: payment.map(|p| p.currency.clone()),
        reason,
    };
    command.reply(SOURCE, &refunded)
}

/// What to answer to the payment that comes after its refund.
pub(crate) fn already_compensated(compensation: &Command) -> Envelope {
    let failed = PaymentFailed {
        order_id: compensation.body.order_id(),
        payment_id: None,
        amount: None,
        currency: None,
        reason: Reason::ALREADY_COMPENSATED,
        detail: None,
    };
    compensation.reply(SOURCE, &failed)
}
