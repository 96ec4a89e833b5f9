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

use std::sync::Arc;

use common::{
    amqp::consumer::{self, Incoming},
    contract::{
        Envelope, Message, Reason, Unreadable,
        payment::{ProcessPayment, RefundPart, RefundPayment},
    },
    db::LazyTransaction,
    participant::idempotency::Direction,
    participant::{Call, Output, Participant},
};
use sqlx::PgConnection;

use crate::{
    command::{Body, Command},
    gateway::{Gateway, Guarded, Limits},
    payments::{self, Captured, Payment},
    process, refund,
    refund_part::{self, Part},
};

/// What the gateway did, which is now to be recorded.
#[derive(Debug)]
pub(crate) enum Effect {
    /// It took the money or declined.
    Payment(Payment),
    /// It kept no money. The payment is the one that this turns into a refunded one.
    Refund(Option<Captured>, Reason),
    /// It gave a part back.
    Part(Part),
}

impl Effect {
    /// What to answer. Of work that is done again, also that is said again.
    fn reply(&self, command: &Command) -> Envelope {
        match self {
            Self::Payment(payment) => process::reply(command, payment),
            Self::Part(part) => refund_part::reply(command, part),
            Self::Refund(payment, reason) => refund::reply(command, payment.as_ref(), *reason),
        }
    }
}

/// The participant.
#[derive(Debug)]
pub(crate) struct Payments<G> {
    gateway: Arc<Guarded<G>>,
}

impl<G: Gateway> Payments<G> {
    pub(crate) fn new(gateway: G, limits: Limits) -> Self {
        Self {
            gateway: Arc::new(Guarded::new(gateway, limits)),
        }
    }

    /// Has the gateway keep nothing of the charge of `command`'s step, of which `captured` is recorded.
    fn give_back(
        &self,
        command: &Arc<Command>,
        captured: Option<Captured>,
        reason: Reason,
    ) -> Call<Effect> {
        let (gateway, command) = (Arc::clone(&self.gateway), Arc::clone(command));
        Box::pin(async move {
            refund::give_back(&*gateway, &command, captured.as_ref()).await?;
            Ok(Effect::Refund(captured, reason))
        })
    }
}

impl<G: Gateway> Participant for Payments<G> {
    type Body = Body;
    type Found = Effect;

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

    async fn calls(
        &self,
        db: &mut PgConnection,
        new: &[Arc<Command>],
        too_late: &[Arc<Command>],
    ) -> Result<Vec<Call<Effect>>, consumer::Error> {
        let compensations = new
            .iter()
            .filter(|command| command.key.direction == Direction::Compensation);
        let actions: Vec<_> = compensations.map(|command| command.key.action()).collect();
        // Before the refunds: of a payment that is seen here, the charge was made before the refund is.
        let mut captured = payments::captured(&mut *db, &actions).await?;
        let mut parts = refund_part::plan(db, new).await?;
        let calls = new.iter().map(|command| -> Call<Effect> {
            let (gateway, of) = (Arc::clone(&self.gateway), Arc::clone(command));
            match &command.body {
                Body::Process(asked) => {
                    let asked = asked.clone();
                    Box::pin(async move {
                        let payment = process::charge(&*gateway, &of, &asked).await?;
                        Ok(Effect::Payment(payment))
                    })
                }
                Body::Refund(asked) => {
                    let captured = captured.remove(&command.key.action());
                    self.give_back(command, captured, asked.reason)
                }
                Body::RefundPart(asked) => {
                    let (asked, part) = (asked.clone(), parts.remove(&command.key));
                    Box::pin(async move {
                        let part = part.expect("each part is planned")?;
                        let part = refund_part::give_back(&*gateway, &of, &asked, &part).await?;
                        Ok(Effect::Part(part))
                    })
                }
            }
        });
        // A slower or crashed attempt may have charged before the tombstone was there.
        let undone = too_late
            .iter()
            .map(|command| self.give_back(command, None, Reason::ALREADY_COMPENSATED));
        Ok(calls.chain(undone).collect())
    }

    async fn apply(
        &self,
        work: &mut LazyTransaction<'_>,
        new: &[(&Command, &Effect)],
    ) -> Result<Output, consumer::Error> {
        let mut made = Vec::new();
        let mut refunded = Vec::new();
        let mut parts = Vec::new();
        for (command, effect) in new {
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
        let replies = new.iter().map(|(command, effect)| effect.reply(command));
        Ok(Output {
            replies: replies.collect(),
            events: Vec::new(),
        })
    }

    fn concurrency(&self) -> Option<u16> {
        Some(self.gateway.concurrency())
    }

    async fn ready(&self) {
        self.gateway.ready().await;
    }

    fn is_held_up(&self) -> bool {
        self.gateway.is_open()
    }

    fn already_compensated(&self, compensation: &Command) -> Envelope {
        refund::already_compensated(compensation)
    }
}
