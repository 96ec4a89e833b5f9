//! `payment.refund_part.v1`: give exactly a part of an order's payment back. There is no way to refuse, and no way back.
//!
//! ```text
//! call    look at the payment ─► too much: a fault, and the gateway is not asked
//!                             └► the gateway gives the part back, under the key of this command
//! apply   lock the payment ─► look again ─► refunds + payments.refunded_minor
//! ```
//!
//! The gateway is asked again with the same key after a crash in between, and gives nothing twice. Two parts that are
//! too much only together can both pass the first look, where different replicas have them: the gateway refuses the
//! second one, or else the look under the lock does.

use std::{collections::HashMap, sync::Arc};

use common::{
    amqp::consumer,
    contract::{
        Envelope, Message, Money, PaymentId, Unreadable,
        payment::{PartRefunded, RefundPart},
    },
    db::LazyTransaction,
    participant::idempotency::Key,
};
use sqlx::PgConnection;

use crate::{
    SOURCE,
    command::{Body, Command},
    gateway::{Gateway, PartialRefund},
    refunds::{self, Ledger, Refund},
};

/// A part that the gateway has given back.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    payment: PaymentId,
    asked: RefundPart,
}

/// Reads the command, and checks what its type cannot say.
///
/// # Errors
/// It asks for what cannot be done.
pub(crate) fn read(message: &Envelope) -> Result<RefundPart, Unreadable> {
    let asked: RefundPart = message.data()?;
    let invalid = |error: &str| Unreadable::Data {
        kind: RefundPart::TYPE.to_owned(),
        error: error.to_owned(),
    };
    if asked.amount <= Money::default() {
        return Err(invalid("amount must be more than 0.00"));
    }
    // PostgreSQL's text cannot hold it.
    if asked.currency.contains('\0') {
        return Err(invalid("currency must not contain U+0000"));
    }
    Ok(asked)
}

/// What the gateway is to be told for each of `commands` that gives a part back, or that this is not there to be given
/// back.
///
/// # Errors
/// The database failed.
pub(crate) async fn plan(
    db: &mut PgConnection,
    commands: &[Arc<Command>],
) -> sqlx::Result<HashMap<Key, Result<Refund, refunds::Error>>> {
    let parts = commands.iter().filter_map(|command| match &command.body {
        Body::RefundPart(asked) => Some((&command.key, asked)),
        Body::Process(_) | Body::Refund(_) => None,
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        return Ok(HashMap::new());
    }
    let mut ledger = Ledger::of_orders(db, &parts).await?;
    let refunds = parts.into_iter().map(|(key, asked)| {
        let payment = ledger.payment_of(asked.order_id);
        let refund = payment.and_then(|payment| ledger.take(payment, key, asked));
        (key.clone(), refund)
    });
    Ok(refunds.collect())
}

/// Has the gateway give the part back, unless another replica has recorded meanwhile that it did.
///
/// # Errors
/// The gateway's.
pub(crate) async fn give_back(
    gateway: &impl Gateway,
    command: &Command,
    asked: &RefundPart,
    refund: &Refund,
) -> Result<Part, consumer::Error> {
    if !refund.is_recorded {
        let part = PartialRefund {
            idempotency_key: &command.key.to_string(),
            charge_key: &refund.charge.to_string(),
            gateway_id: &refund.gateway_id,
            amount: asked.amount,
            currency: &asked.currency,
        };
        gateway.refund_part(part).await?;
    }
    Ok(Part {
        payment: refund.payment,
        asked: asked.clone(),
    })
}

/// Adds `parts`, which the gateway has given back, to what is written. Those that a faster replica recorded are left
/// out, which the frame is about to notice. `refunded` are payments that the same transaction gives back whole.
///
/// # Errors
/// More would be given back of a payment than was taken, or the database failed.
pub(crate) async fn record(
    work: &mut LazyTransaction<'_>,
    parts: &[(&Key, &Part)],
    refunded: &[PaymentId],
) -> Result<(), consumer::Error> {
    if parts.is_empty() {
        return Ok(());
    }
    let tx = work.transaction().await?;
    let keys: Vec<_> = parts.iter().map(|(key, _)| *key).collect();
    let payments: Vec<_> = parts.iter().map(|(_, part)| part.payment).collect();
    let mut ledger = Ledger::lock(&mut *tx, &payments, &keys).await?;
    ledger.close(refunded);
    for (key, part) in parts {
        ledger.take(part.payment, key, &part.asked)?;
    }
    ledger.write(&mut work.writes);
    Ok(())
}

/// What to answer.
pub(crate) fn reply(command: &Command, part: &Part) -> Envelope {
    let Part { payment, asked } = part;
    let refunded = PartRefunded {
        order_id: asked.order_id,
        payment_id: *payment,
        return_id: asked.return_id,
        amount: asked.amount,
        currency: asked.currency.clone(),
        reason: asked.reason,
    };
    command.reply(SOURCE, &refunded)
}
