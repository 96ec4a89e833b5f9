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
//! part of it back, then no commit            the command comes again: the same part, by its key
//! ```

use std::collections::HashMap;

use common::{
    amqp::consumer::{self, Incoming},
    contract::{
        Envelope, Message, Unreadable,
        payment::{ProcessPayment, RefundPart, RefundPayment},
    },
    db::LazyTransaction,
    participant::idempotency::{Direction, Key},
    participant::{Output, Participant},
};
use futures_util::future::{try_join, try_join_all};
use sqlx::PgPool;

use crate::{
    command::{Body, Command},
    gateway::Gateway,
    payments::{self, Captured, Payment},
    process, refund,
    refund_part::{self, Part},
    refunds::Refund,
};

/// What the gateway did, which is now to be recorded.
#[derive(Debug)]
pub(crate) enum Effect {
    /// It took the money or declined.
    Payment(Payment),
    /// It kept no money. The payment is the one that this turns into a refunded one.
    Refund(Option<Captured>, RefundPayment),
    /// It gave a part back.
    Part(Part),
}

impl Effect {
    /// What to answer. Of work that is done again, also that is said again.
    fn reply(&self, command: &Command) -> Envelope {
        match self {
            Self::Payment(payment) => process::reply(command, payment),
            Self::Part(part) => refund_part::reply(command, part),
            Self::Refund(payment, asked) => refund::reply(command, payment.as_ref(), asked.reason),
        }
    }
}

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
        parts: &HashMap<Key, Refund>,
    ) -> Result<Effect, consumer::Error> {
        match &command.body {
            Body::Process(asked) => {
                let payment = process::charge(&self.gateway, command, asked).await?;
                Ok(Effect::Payment(payment))
            }
            Body::Refund(asked) => {
                refund::give_back(&self.gateway, command).await?;
                let given_back = captured.get(&command.key.action()).cloned();
                Ok(Effect::Refund(given_back, asked.clone()))
            }
            Body::RefundPart(asked) => {
                let part = &parts[&command.key];
                let part = refund_part::give_back(&self.gateway, command, asked, part).await?;
                Ok(Effect::Part(part))
            }
        }
    }
}

impl<G: Gateway> Participant for Payments<G> {
    type Body = Body;
    /// One effect for each new command, in their order.
    type Prepared = Vec<Effect>;

    fn decode(&self, event: &Incoming) -> Result<Command, Unreadable> {
        let message = &event.envelope;
        match message.kind.as_str() {
            ProcessPayment::TYPE => {
                let asked = process::read(message)?;
                Command::new(event, Direction::Action, Body::Process(asked))
            }
            RefundPayment::TYPE => {
                let asked: RefundPayment = message.data()?;
                Command::new(event, Direction::Compensation, Body::Refund(asked))
            }
            RefundPart::TYPE => {
                let asked = refund_part::read(message)?;
                Command::new(event, Direction::Action, Body::RefundPart(asked))
            }
            other => Err(Unreadable::UnknownType(other.to_owned())),
        }
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
        let parts = refund_part::plan(&self.db, new).await?;
        let carry_out = |command| self.carry_out(command, &captured, &parts);
        let effects = new.iter().map(carry_out);
        // A slower or crashed attempt may have charged before the tombstone was there.
        let undone = too_late
            .iter()
            .map(|command| refund::give_back(&self.gateway, command));
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
        let mut parts = Vec::new();
        for (command, effect) in new.iter().zip(effects) {
            match effect {
                Effect::Payment(payment) => made.push(payment),
                Effect::Refund(Some(payment), _) => refunded.push(payment.id),
                Effect::Refund(None, _) => {}
                Effect::Part(part) => parts.push((&command.key, part)),
            }
        }
        refund_part::record(work, &parts, &refunded).await?;
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
        refund::already_compensated(compensation)
    }
}
