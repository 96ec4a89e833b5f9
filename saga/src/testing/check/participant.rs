//! A participant: the idempotency table with its tombstones, and the effects that it is there to protect.
//!
//! ```text
//! take (find what is recorded) ─► call the gateway, if there is one ─► finish (one transaction) ─► reply ─► ack
//!                               └► intend ┘ where the gateway does not refuse what was undone
//! ```
//!
//! It is `common::participant`, with any number of replicas: between any two of these anything else may
//! happen, and a transaction fails when another one has recorded its keys meanwhile.

use super::world::Message;

/// What a participant has done for the saga's step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Participant {
    /// The row of table `idempotency` for the action.
    pub(crate) action: Option<Outcome>,
    /// Whether there is a row for the compensation.
    pub(crate) compensation: bool,
    /// The row of table `intents`.
    pub(crate) intent: Intent,
    /// What the gateway says to the action, from the first time that it was asked.
    pub(crate) verdict: Option<Verdict>,
    /// Whether a request to act is on its way to the gateway that nobody waits for.
    pub(crate) under_way: bool,
    /// How often the effect was applied.
    pub(crate) applied: u8,
    /// How often it was undone.
    pub(crate) undone: u8,
}

/// What is written down before a gateway is asked. Neither of both: there is no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Intent {
    /// The gateway may have been asked to act.
    pub(crate) asked: bool,
    /// The compensation is under way: nobody else asks it any more.
    pub(crate) closed: bool,
}

/// What is recorded of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It was done.
    Succeeded,
    /// It was refused.
    Rejected,
    /// Its compensation came first.
    Tombstone,
}

/// What a participant is free to say to an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// Yes.
    Accepted,
    /// No: there is too little of something, or nobody wants to.
    Declined,
}

/// Where a step has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the participant's database, in the transaction that records the outcome.
    Database,
    /// At a gateway, such as that of a bank, which is called before that transaction.
    Gateway(AfterRefund),
}

/// What the gateway of a participant says to an action that reaches it only after its compensation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefund {
    /// It refuses: the key is used up.
    Refuses,
    /// It has forgotten that there was nothing to undo, and does it. So its participant writes intents.
    Charges,
}

/// A command that a participant is working at, because it found nothing recorded about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hand {
    /// The command.
    pub(crate) command: Message,
    /// Whether RabbitMQ still has it, and would deliver it again.
    pub(crate) queued: bool,
    /// For a compensation: whether its action was recorded, so that it needs no tombstone.
    pub(crate) saw_action: bool,
    /// How far it is.
    pub(crate) stage: Stage,
}

/// How far a participant is with a command, at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// Nothing was recorded.
    Found,
    /// The gateway may be called.
    Ready {
        /// For a compensation: whether there may be something to undo.
        asked: bool,
    },
    /// The gateway was called.
    Called,
}

impl Participant {
    /// What is left of the effect.
    pub(crate) const fn held(&self) -> u8 {
        self.applied.saturating_sub(self.undone)
    }

    /// What is recorded about a command, as a reply.
    pub(crate) const fn recorded(&self, command: Message) -> Option<Message> {
        match (command, self.action) {
            (Message::Act(step), Some(Outcome::Succeeded)) => Some(Message::Succeeded(step)),
            (Message::Act(step), Some(Outcome::Rejected)) => Some(Message::Rejected(step)),
            (Message::Act(step), Some(Outcome::Tombstone)) => Some(Message::TooLate(step)),
            (Message::Compensate(step), _) if self.compensation => Some(Message::Undone(step)),
            _ => None,
        }
    }

    /// The command in hand, with what is recorded now.
    pub(crate) const fn take(&self, command: Message) -> Hand {
        Hand {
            command,
            queued: true,
            saw_action: self.action.is_some(),
            stage: Stage::Found,
        }
    }

    /// Has the gateway apply the effect, unless it knows the action already.
    pub(crate) fn charge(&mut self, verdict: Verdict) {
        self.under_way = false;
        if self.verdict.is_none() {
            self.verdict = Some(verdict);
            self.apply(verdict);
        }
    }

    /// Whoever waits for the gateway to act stops, and the request stays on its way. One that finds a verdict changes
    /// nothing.
    pub(crate) fn give_up(&mut self) {
        self.under_way |= self.verdict.is_none();
    }

    /// Writes that the gateway may be asked to act.
    pub(crate) fn open(&mut self) {
        self.intent.asked = true;
    }

    /// Keeps others from asking the gateway to act, and says whether there may be something to undo.
    pub(crate) fn close(&mut self) -> bool {
        let is_recorded = self.action == Some(Outcome::Succeeded);
        self.intent.closed |= !is_recorded;
        is_recorded || self.intent.asked
    }

    /// Has the gateway undo what it did, if anything.
    pub(crate) fn refund(&mut self, after: AfterRefund) {
        self.undone = self.applied;
        if self.verdict.is_none() && after == AfterRefund::Refuses {
            self.verdict = Some(Verdict::Declined);
            self.under_way = false;
        }
    }

    /// Applies the effect, if that is the verdict.
    pub(crate) fn apply(&mut self, verdict: Verdict) {
        self.applied += u8::from(verdict == Verdict::Accepted);
    }

    /// Records the action's outcome, and gives it as a reply.
    pub(crate) fn act(&mut self, step: &'static str, verdict: Verdict) -> Message {
        let (outcome, reply) = match verdict {
            Verdict::Accepted => (Outcome::Succeeded, Message::Succeeded(step)),
            Verdict::Declined => (Outcome::Rejected, Message::Rejected(step)),
        };
        self.action = Some(outcome);
        reply
    }

    /// Undoes the effect, if the action is recorded to have had one.
    pub(crate) fn undo(&mut self) {
        self.undone += u8::from(self.action == Some(Outcome::Succeeded));
    }
}
