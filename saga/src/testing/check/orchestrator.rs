//! The shell around the production decision: [`Engine`](crate::Engine), without PostgreSQL.

use std::sync::Arc;

use common::contract::Reason;

use super::{
    bug::{self, Bug},
    model::OneSaga,
    participant::Participant,
    world::{Bag, Log, Message, World},
};
use crate::{
    state::State,
    table::{StepPlan, Table},
    transition::{self, Command, Deadline, Event, Transition},
};

/// Why participants refuse here.
pub(crate) const REFUSED: Reason = Reason::new("REFUSED");

/// The world when a saga has just begun.
pub(crate) fn start(model: &OneSaga) -> World {
    let saga: &dyn Table = &model.saga;
    let mut world = World {
        saga: State::begin(saga),
        armed: false,
        expires: saga.expires_after().is_some(),
        past_return: false,
        log: Log::default(),
        folds: true,
        counted: Bag::default(),
        outbox: Bag::default(),
        broker: Bag::default(),
        lost: false,
        hands: Bag::default(),
        participants: vec![Participant::default(); saga.length()],
        said_done: false,
        said_undone: false,
        left: model.left,
    };
    world.write(saga, transition::start(saga));
    world
}

/// The event that a reply is.
pub(crate) fn event(reply: Message) -> Event {
    match reply {
        Message::Succeeded(step) => Event::Succeeded(step),
        Message::Rejected(step) => rejected(step, REFUSED),
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
    pub(crate) fn count(&mut self, model: &OneSaga, reply: Message) {
        let is_new = !self.counted.contains(reply.key());
        if is_new {
            self.counted.add(reply.key());
        }
        if is_new || model.bug == Some(Bug::CountedTwice) {
            self.decide(model, &event(reply));
        }
    }

    /// Decides what follows from `event`, in one transaction.
    pub(crate) fn decide(&mut self, model: &OneSaga, event: &Event) {
        if let Ok(transition) = bug::decide(model, self.saga, event)
            && !transition.log.is_empty()
        {
            self.write(&model.saga, transition);
        }
    }

    /// Writes the row, the log and the outbox.
    fn write(&mut self, saga: &dyn Table, transition: Transition) {
        self.saga = transition.state;
        self.expires &= transition.may_expire();
        self.armed = match transition.deadline {
            Deadline::In(_) | Deadline::InExactly(_) => true,
            Deadline::Unchanged => self.armed,
            Deadline::Never => false,
        };
        if let Some(command) = transition.command {
            self.outbox.add(match command {
                Command::Action(step) => Message::Act(step.name),
                Command::Compensation(step, _) => Message::Compensate(step.name),
            });
            // A bug may have another opinion of the step.
            let is_forward = matches!(command, Command::Action(_));
            let step = saga.step(command.step().name);
            self.past_return |= is_forward && step.is_some_and(StepPlan::is_forward_only);
        }
        self.said_done |= overrules(&transition, true);
        self.said_undone |= overrules(&transition, false);
        let log = Arc::make_mut(&mut self.log.0);
        log.extend(transition.log);
        self.folds &= State::fold(saga, log.iter()) == Ok(Some(self.saga));
    }
}

/// Whether an operator overrules what the participants did, on the way forward or back.
fn overrules(transition: &Transition, is_forward: bool) -> bool {
    let mut log = transition.log.iter();
    log.any(|entry| entry.what.overrules()) && transition.state.reason().is_none() == is_forward
}
