//! The shell around the production decision: `order_service::saga::orchestrator`, without PostgreSQL.

use std::sync::Arc;

use common::contract::{Reason, inventory::OUT_OF_STOCK};
use order_service::saga::{
    Definition, Event, State, Transition,
    transition::{self, Deadline, Send},
};

use crate::{
    bug::{self, Bug},
    participant::Participant,
    world::{Bag, Left, Log, Message, World},
};

/// The world when an order was just accepted.
pub(crate) fn start(saga: &'static Definition, left: Left) -> World {
    let mut world = World {
        saga: State::Completed,
        armed: false,
        log: Log::default(),
        folds: true,
        counted: Bag::default(),
        outbox: Bag::default(),
        broker: Bag::default(),
        lost: false,
        hands: Bag::default(),
        participants: vec![Participant::default(); saga.steps.len()],
        left,
    };
    world.write(saga, transition::start(saga));
    world
}

/// The event that a reply is.
pub(crate) fn event(reply: Message) -> Event {
    match reply {
        Message::Succeeded(step) => Event::Succeeded(step),
        Message::Rejected(step) => rejected(step, OUT_OF_STOCK),
        Message::TooLate(step) => rejected(step, Reason::ALREADY_COMPENSATED),
        Message::Undone(step) => Event::Undone(step),
        Message::Act(_) | Message::Compensate(_) => unreachable!("commands go to participants"),
    }
}

/// A refusal of `step`.
pub(crate) const fn rejected(step: &'static str, reason: Reason) -> Event {
    Event::Rejected {
        step,
        reason,
        detail: None,
    }
}

impl World {
    /// Counts a reply and decides what follows, in one transaction.
    pub(crate) fn count(&mut self, saga: &'static Definition, reply: Message, bug: Option<Bug>) {
        let is_new = !self.counted.contains(reply.key());
        if is_new {
            self.counted.add(reply.key());
        }
        if is_new || bug == Some(Bug::CountedTwice) {
            self.decide(saga, &event(reply), bug);
        }
    }

    /// Decides what follows from `event`, in one transaction.
    pub(crate) fn decide(&mut self, saga: &'static Definition, event: &Event, bug: Option<Bug>) {
        if let Ok(transition) = bug::transition(saga, self.saga, event, bug)
            && !transition.log.is_empty()
        {
            self.write(saga, transition);
        }
    }

    /// Writes the row, the log and the outbox.
    fn write(&mut self, saga: &'static Definition, transition: Transition) {
        self.saga = transition.state;
        self.armed = match transition.deadline {
            Deadline::In(_) => true,
            Deadline::Unchanged => self.armed,
            Deadline::None => false,
        };
        let log = Arc::make_mut(&mut self.log.0);
        log.extend(transition.log);
        self.folds &= State::fold(saga, log.iter()) == Some(self.saga);
        if let Some(send) = transition.send {
            self.outbox.add(match send {
                Send::Action(step) => Message::Act(step.name),
                Send::Compensation(step, _) => Message::Compensate(step.name),
            });
        }
    }
}
