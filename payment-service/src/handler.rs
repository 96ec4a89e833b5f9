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
//! refund, then a charge that was on its way  the gateway refuses it; or else an intent was written before it was
//!                                            asked for, and the refund has settled it
//! part of it back, then no commit            the command comes again: the same part, by its key
//! ```

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use anyhow::anyhow;
use common::{
    amqp::consumer::{self, Incoming},
    contract::{
        Envelope, Message, Reason, Unreadable,
        payment::{PAYMENT_DECLINED, ProcessPayment, RefundPart, RefundPayment},
    },
    crash,
    db::LazyTransaction,
    metrics::Tally,
    participant::idempotency::{Direction, Key},
    participant::{Call, Output, Participant},
};
use sqlx::PgConnection;

use crate::{
    command::{Body, Command},
    gateway::{Gateway, Guarded, Limits, Verdict},
    intents, metrics,
    payments::{self, Captured, Payment},
    process,
    refund::{self, Known},
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
    /// Adds it to what is counted when it is committed.
    fn count(&self, tally: &mut Tally) {
        match self {
            Self::Payment(payment) => {
                tally.add(&metrics::PROCESSED, &[], 1);
                match payment.verdict {
                    Verdict::Captured { .. } => tally.add(&metrics::SUCCEEDED, &[], 1),
                    Verdict::Declined { .. } => {
                        tally.add(&metrics::FAILED, &[PAYMENT_DECLINED.as_str()], 1);
                    }
                }
            }
            Self::Refund(payment, _) => {
                tally.add(&metrics::REFUNDED, &["whole"], u64::from(payment.is_some()));
            }
            Self::Part(_) => tally.add(&metrics::REFUNDED, &["part"], 1),
        }
    }

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

    /// Has the gateway keep nothing of the charge of `command`'s step.
    fn give_back(&self, command: &Arc<Command>, known: Known, reason: Reason) -> Call<Effect> {
        let (gateway, command) = (Arc::clone(&self.gateway), Arc::clone(command));
        Box::pin(async move {
            refund::give_back(&*gateway, &command, &known).await?;
            let captured = match known {
                Known::Captured(payment) => Some(payment),
                Known::Intended(_) | Known::NeverAsked | Known::Nothing => None,
            };
            Ok(Effect::Refund(captured, reason))
        })
    }

    /// What a charge is of which neither a payment nor an intent is there.
    fn unknown(&self) -> Known {
        if self.gateway.refuses_refunded_keys() {
            Known::Nothing
        } else {
            Known::NeverAsked
        }
    }

    /// The payments of `commands` that the gateway must not be asked for: a refund has closed their intents. Those of all
    /// others are written.
    async fn closed(
        &self,
        db: &mut PgConnection,
        commands: &[Arc<Command>],
    ) -> sqlx::Result<HashSet<Key>> {
        if self.gateway.refuses_refunded_keys() {
            return Ok(HashSet::new());
        }
        let charges = commands.iter().filter_map(|command| match &command.body {
            Body::Process(asked) => Some((&command.key, asked)),
            Body::Refund(_) | Body::RefundPart(_) => None,
        });
        let charges: Vec<_> = charges.collect();
        let open = intents::open(db, &charges).await?;
        crash::point("payment.intended");
        let keys = charges.into_iter().map(|(key, _)| key);
        Ok(keys.filter(|key| !open.contains(key)).cloned().collect())
    }

    /// What is known of the charges that the compensations among `commands` give back. No intent of theirs is open after
    /// that.
    async fn known(
        &self,
        db: &mut PgConnection,
        commands: &[Arc<Command>],
    ) -> sqlx::Result<HashMap<Key, Known>> {
        let keys = commands.iter().map(|command| &command.key);
        let compensations = keys.filter(|key| key.direction == Direction::Compensation);
        let mut compensations: Vec<_> = compensations.cloned().collect();
        let actions: Vec<_> = compensations.iter().map(Key::action).collect();
        // Before the refunds: of a payment that is seen here, the charge was made before the refund is.
        let captured = payments::captured(&mut *db, &actions).await?;
        let mut known: HashMap<_, _> = captured
            .into_iter()
            .map(|(action, payment)| (action, Known::Captured(payment)))
            .collect();
        if self.gateway.refuses_refunded_keys() {
            return Ok(known);
        }
        compensations.retain(|key| !known.contains_key(&key.action()));
        let intended = intents::close(db, &compensations).await?;
        let intended = intended.into_iter();
        known.extend(intended.map(|(action, intent)| (action, Known::Intended(intent))));
        Ok(known)
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
        let mut known = self.known(&mut *db, new).await?;
        let mut parts = refund_part::plan(&mut *db, new).await?;
        let closed = self.closed(db, new).await?;
        let calls = new.iter().map(|command| -> Call<Effect> {
            let (gateway, of) = (Arc::clone(&self.gateway), Arc::clone(command));
            match &command.body {
                Body::Process(_) if closed.contains(&command.key) => Box::pin(async {
                    let why = anyhow!("its refund is under way, or it was just recorded");
                    Err(consumer::Error::Away(why))
                }),
                Body::Process(asked) => {
                    let asked = asked.clone();
                    Box::pin(async move {
                        let payment = process::charge(&*gateway, &of, &asked).await?;
                        Ok(Effect::Payment(payment))
                    })
                }
                Body::Refund(asked) => {
                    let known = known.remove(&command.key.action());
                    self.give_back(
                        command,
                        known.unwrap_or_else(|| self.unknown()),
                        asked.reason,
                    )
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
        // A slower or crashed attempt may have charged before the tombstone was there. Of an intent, it is settled.
        let undone = too_late
            .iter()
            .map(|command| self.give_back(command, self.unknown(), Reason::ALREADY_COMPENSATED));
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
        if !self.gateway.refuses_refunded_keys() {
            let actions: Vec<_> = new
                .iter()
                .map(|(command, _)| command.key.action())
                .collect();
            intents::delete(&mut work.writes, &actions);
        }
        payments::insert(&mut work.writes, &made);
        payments::mark_refunded(&mut work.writes, &refunded);
        for (_, effect) in new {
            effect.count(&mut work.tally);
        }
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
