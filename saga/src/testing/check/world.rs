//! A state of the model: the tables, the queues, and who holds which message right now.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use common::participant::idempotency::Direction;

use super::participant::{Hand, Participant};
use crate::state::{Entry, State};

/// Everything that there is, for one saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The row of table `sagas`.
    pub(crate) saga: State,
    /// Whether the row has a `deadline_at`.
    pub(crate) armed: bool,
    /// Whether the row has an `expires_at`.
    pub(crate) expires: bool,
    /// Whether the command of a forward-only step was ever sent.
    pub(crate) past_return: bool,
    /// The saga's rows of table `saga_log`.
    pub(crate) log: Log,
    /// Whether the log gave the row, each time that something was appended to it.
    pub(crate) folds: bool,
    /// The table `idempotency` of the program that runs the saga.
    pub(crate) counted: Bag<(&'static str, Direction)>,
    /// Its table `outbox`.
    pub(crate) outbox: Bag<Message>,
    /// All queues of RabbitMQ: any message may come next, so that none is in time and each may be late.
    pub(crate) broker: Bag<Message>,
    /// Whether RabbitMQ has lost a message.
    pub(crate) lost: bool,
    /// Commands that a participant is working at.
    pub(crate) hands: Bag<Hand>,
    /// What participants have done, by the position of the step.
    pub(crate) participants: Vec<Participant>,
    /// Whether an operator said that something is done which need not be.
    pub(crate) said_done: bool,
    /// Whether an operator said that something is undone which need not be.
    pub(crate) said_undone: bool,
    /// What may still happen that need not.
    pub(crate) left: Left,
}

/// How often each thing may happen that need not happen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    /// Crashes, messages that come twice, messages that are lost: of all kinds together.
    pub(crate) faults: u8,
    /// Cancellations.
    pub(crate) cancellations: u8,
    /// Interventions of an operator.
    pub(crate) interventions: u8,
}

/// What services say to each other about a step. Replies follow from the idempotency table, so that two with the
/// same content are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    /// The command that asks for the action.
    Act(&'static str),
    /// The command that asks for the compensation.
    Compensate(&'static str),
    /// The reply: it is done.
    Succeeded(&'static str),
    /// The reply: it was refused.
    Rejected(&'static str),
    /// The reply: it was refused, for the compensation came first.
    TooLate(&'static str),
    /// The reply: nothing of it is left.
    Undone(&'static str),
}

impl Message {
    /// The step that it is about, and whether that is about its action or its compensation.
    pub(crate) const fn key(self) -> (&'static str, Direction) {
        match self {
            Self::Act(step)
            | Self::Succeeded(step)
            | Self::Rejected(step)
            | Self::TooLate(step) => (step, Direction::Action),
            Self::Compensate(step) | Self::Undone(step) => (step, Direction::Compensation),
        }
    }

    /// Whether it goes to a participant.
    pub(crate) const fn is_command(self) -> bool {
        matches!(self, Self::Act(_) | Self::Compensate(_))
    }

    /// The step that it is about.
    pub(crate) const fn step(self) -> &'static str {
        self.key().0
    }
}

/// The saga log. How a state was reached does not make it another state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(pub(crate) Arc<Vec<Entry>>);

impl PartialEq for Log {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Log {}

impl Hash for Log {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A multiset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bag<T>(Vec<T>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Bag<T> {
    pub(crate) fn add(&mut self, item: T) {
        let at = self.0.partition_point(|other| *other < item);
        self.0.insert(at, item);
    }

    /// Takes one of those that are equal to `item`.
    pub(crate) fn remove(&mut self, item: T) {
        if let Ok(at) = self.0.binary_search(&item) {
            self.0.remove(at);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn contains(&self, item: T) -> bool {
        self.0.binary_search(&item).is_ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().copied()
    }

    /// Its items, each only once.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = T> {
        self.0.chunk_by(T::eq).map(|equal| equal[0])
    }
}

impl World {
    /// Whether nothing can happen any more but what somebody wants, or what goes wrong.
    pub(crate) fn at_rest(&self) -> bool {
        self.outbox.is_empty() && self.broker.is_empty() && self.hands.is_empty() && !self.armed
    }

    /// Whether a message about `key` is waiting to be published, waiting to be consumed, or being worked at.
    pub(crate) fn is_on_its_way(&self, key: (&'static str, Direction)) -> bool {
        let messages = self.outbox.iter().chain(self.broker.iter());
        let mut all = messages.chain(self.hands.iter().map(|hand| hand.command));
        all.any(|message| message.key() == key)
    }

    /// The command whose reply the saga waits for.
    pub(crate) const fn awaits(&self) -> Option<Message> {
        match self.saga {
            State::Running { step, .. } => Some(Message::Act(step)),
            State::Compensating { step, .. } => Some(Message::Compensate(step)),
            State::Completed | State::Compensated { .. } | State::Parked { .. } => None,
        }
    }
}
