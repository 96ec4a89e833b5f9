//! What came of a command, and what is said about it.

use common::contract::{
    Envelope, Reason,
    payment::{PaymentFailed, PaymentProcessed, PaymentRefunded},
};
use metrics::counter;
use tracing::info;

use crate::{
    command::Command,
    gateway::Verdict,
    payments::{Captured, Payment},
};

/// Who the replies come from.
const SOURCE: &str = "payment-service";

/// What the gateway did, which is now to be recorded.
#[derive(Debug)]
pub(crate) enum Effect {
    /// It took the money or declined.
    Payment(Payment),
    /// It kept no money. The payment is the one that this turns into a refunded one.
    Refund(Option<Captured>, Reason),
}

impl Effect {
    /// What to answer, with a line in the log for each refusal. Of work that is done again, also that is said again.
    pub(crate) fn reply(&self, command: &Command) -> Envelope {
        let order_id = command.order_id;
        match self {
            Effect::Payment(payment) => match &payment.verdict {
                Verdict::Captured { .. } => {
                    counter!("payments_total", "status" => "captured").increment(1);
                    let processed = PaymentProcessed {
                        order_id,
                        payment_id: payment.id,
                        amount: payment.amount,
                        currency: payment.currency.clone(),
                    };
                    command.reply(SOURCE, &processed)
                }
                Verdict::Declined { code } => {
                    counter!("payments_total", "status" => "declined").increment(1);
                    info!(saga.id = %command.key.saga, order.id = %order_id, code, "payment declined");
                    let failed = PaymentFailed {
                        order_id,
                        payment_id: Some(payment.id),
                        amount: Some(payment.amount),
                        currency: Some(payment.currency.clone()),
                        reason: Reason::PaymentDeclined,
                        detail: Some(code.clone()),
                    };
                    command.reply(SOURCE, &failed)
                }
            },
            Effect::Refund(payment, reason) => {
                counter!("payments_total", "status" => "refunded")
                    .increment(u64::from(payment.is_some()));
                let refunded = PaymentRefunded {
                    order_id,
                    payment_id: payment.as_ref().map(|p| p.id),
                    amount: payment.as_ref().map(|p| p.amount),
                    currency: payment.as_ref().map(|p| p.currency.clone()),
                    reason: *reason,
                };
                command.reply(SOURCE, &refunded)
            }
        }
    }
}

/// What to answer to the payment that comes after its refund.
pub(crate) fn already_compensated(compensation: &Command) -> Envelope {
    let failed = PaymentFailed {
        order_id: compensation.order_id,
        payment_id: None,
        amount: None,
        currency: None,
        reason: Reason::AlreadyCompensated,
        detail: None,
    };
    compensation.reply(SOURCE, &failed)
}
