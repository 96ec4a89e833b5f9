//! `payment.refund.v1`: the compensation, which gives the money of an order back, whether or not it was taken.

use common::contract::{
    Envelope, Reason,
    payment::{PaymentFailed, PaymentRefunded},
};
use tracing::info;

use crate::{
    SOURCE,
    command::Command,
    gateway::{Charge, Charged, Error, Gateway, Refund, Verdict},
    intents::Intent,
    payments::Captured,
};

/// What is known of a charge that is to be given back.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It was made, and is recorded.
    Captured(Captured),
    /// The gateway may have been asked for it.
    Intended(Intent),
    /// The gateway was never asked for it, and will not be.
    NeverAsked,
    /// Nothing. The gateway refuses it from now on.
    Nothing,
}

/// Has the gateway keep nothing of what the action of `command`'s step charged; also where the command is that action
/// itself, which came too late.
///
/// # Errors
/// The gateway's.
pub(crate) async fn give_back(
    gateway: &impl Gateway,
    command: &Command,
    known: &Known,
) -> Result<(), Error> {
    let charge_key = &command.key.action().to_string();
    let settled;
    let charge = match known {
        Known::Captured(payment) => Some(Charged {
            gateway_id: &payment.gateway_id,
            amount: payment.amount,
            currency: &payment.currency,
        }),
        Known::Intended(intent) => {
            settled = settle(gateway, charge_key, intent).await?;
            info!(saga.id = %command.key.saga, charge = settled, "a charge in doubt is settled");
            let Some(gateway_id) = &settled else {
                return Ok(());
            };
            Some(Charged {
                gateway_id,
                amount: intent.amount,
                currency: &intent.currency,
            })
        }
        Known::NeverAsked => return Ok(()),
        Known::Nothing => None,
    };
    gateway.refund(Refund { charge_key, charge }).await
}

/// Finds out what became of a charge, by asking for it again: the gateway's id of it, if it was made. From now on nobody
/// takes money under its key.
async fn settle(
    gateway: &impl Gateway,
    idempotency_key: &str,
    intent: &Intent,
) -> Result<Option<String>, Error> {
    let charge = Charge {
        idempotency_key,
        amount: intent.amount,
        currency: &intent.currency,
        payment_method: intent.payment_method.as_deref(),
    };
    match gateway.charge(charge).await {
        Ok(Verdict::Captured { gateway_id }) => Ok(Some(gateway_id)),
        Ok(Verdict::Declined { .. }) | Err(Error::Refused(_)) => Ok(None),
        Err(Error::Away(why)) => Err(Error::Away(why)),
    }
}

/// What to answer. The payment is the one that this turns into a refunded one.
pub(crate) fn reply(command: &Command, payment: Option<&Captured>, reason: Reason) -> Envelope {
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
