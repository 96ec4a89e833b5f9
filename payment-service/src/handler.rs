//! Commands → gateway → payments → replies.
//!
//! The gateway is asked before the transaction, so what it did may turn out not to count: another replica was
//! faster, the process died, the refund came first. Money is safe all the same:
//! ```text
//! charge, then no commit                     the command comes again: the same charge, by its key
//! charge, then the refund was first          the tombstone makes it too late: the charge is refunded
//! charge, then no commit, then the refund    the refund goes to the gateway even where no payment is known
//! refund, then the charge, which commits     the refund cannot record its tombstone, and starts over
//! refund, then no commit                     the command comes again: nothing more to give back
//! ```

use std::collections::HashMap;

use common::{
    amqp::consumer::{self, Incoming},
    contract::{Envelope, PaymentId, Unreadable, payment::ProcessPayment},
    db::LazyTransaction,
    participant::{
        Output, Participant,
        idempotency::{Direction, Key},
    },
};
use futures_util::future::{try_join, try_join_all};
use sqlx::PgPool;

use crate::{
    command::{self, Body, Command},
    effect::{self, Effect},
    gateway::{Charge, Gateway},
    payments::{self, Captured, Payment},
};

/// The participant.
#[derive(Debug)]
pub(crate) struct Payments<G> {
    gateway: G,
    db: PgPool,
}

impl<G: Gateway> Payments<G> {
    pub(crate) fn new(gateway: G, db: PgPool) -> Self {
        Self { gateway, db }
    }

    /// Has the gateway do what `command` asks for.
    async fn carry_out(
        &self,
        command: &Command,
        captured: &HashMap<Key, Captured>,
    ) -> Result<Effect, consumer::Error> {
        match &command.body {
            Body::Process(asked) => Ok(Effect::Payment(self.charge(command, asked).await?)),
            Body::Refund(asked) => {
                let action = command.key.action();
                self.gateway.refund(&action.to_string()).await?;
                let given_back = captured.get(&action).cloned();
                Ok(Effect::Refund(given_back, asked.reason))
            }
        }
    }

    async fn charge(
        &self,
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
            verdict: self.gateway.charge(charge).await?,
        })
    }
}

impl<G: Gateway> Participant for Payments<G> {
    type Body = Body;
    /// One effect for each new command, in their order.
    type Prepared = Vec<Effect>;

    fn decode(&self, event: &Incoming) -> Result<Command, Unreadable> {
        command::decode(event)
    }

    async fn prepare(
        &self,
        new: &[Command],
        too_late: &[Command],
    ) -> Result<Vec<Effect>, consumer::Error> {
        let compensations = new
            .iter()
            .filter(|command| command.key.direction == Direction::Compensation);
        let actions: Vec<_> = compensations.map(|command| command.key.action()).collect();
        // Before the refunds: of a payment that is seen here, the charge was made before the refund is.
        let captured = payments::captured(&self.db, &actions).await?;
        let effects = new.iter().map(|command| self.carry_out(command, &captured));
        // A slower or crashed attempt may have charged before the tombstone was there.
        let undone = too_late.iter().map(async |command| {
            let undone = self.gateway.refund(&command.key.to_string()).await;
            undone.map_err(consumer::Error::from)
        });
        let (effects, _) = try_join(try_join_all(effects), try_join_all(undone)).await?;
        Ok(effects)
    }

    async fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[Command],
        effects: &Vec<Effect>,
    ) -> Result<Output, consumer::Error> {
        let mut made = Vec::new();
        let mut refunded = Vec::new();
        for effect in effects {
            match effect {
                Effect::Payment(payment) => made.push(payment),
                Effect::Refund(Some(payment), _) => refunded.push(payment.id),
                Effect::Refund(None, _) => {}
            }
        }
        payments::insert(&mut work.writes, &made);
        payments::mark_refunded(&mut work.writes, &refunded);
        let replies = new.iter().zip(effects);
        Ok(Output {
            replies: replies
                .map(|(command, effect)| effect.reply(command))
                .collect(),
            events: Vec::new(),
        })
    }

    fn already_compensated(&self, compensation: &Command) -> Envelope {
        effect::already_compensated(compensation)
    }
}
