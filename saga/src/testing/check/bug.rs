//! Bugs that are put in on purpose, so that the check is known to be able to fail.

use common::contract::Reason;
use order_service::saga::{
    Definition, Event, IllegalEvent, State, Transition,
    transition::{self, Deadline},
};

use crate::orchestrator::rejected;

/// What somebody may get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A participant leaves no tombstone when the compensation comes first.
    NoTombstone,
    /// A participant does not remember what it did and answered. A gateway still knows its own charges.
    NoOutcome,
    /// Messages are acked when they come, so that a crash before the commit loses them.
    AckBeforeCommit,
    /// Commands are published after the commit without having been in it, so that a crash in between loses them.
    NoOutbox,
    /// The orchestrator counts a reply in one transaction, and decides in the next one.
    CountedBeforeDecided,
    /// The orchestrator has no idempotency table. This is harmless to the state: a reply is late the second time.
    CountedTwice,
    /// A step that timed out is taken for one that was rejected: undoing begins before it.
    UndoneFromTheStepBefore,
    /// A success that comes too late sends the saga forward again.
    LateSuccessCounts,
    /// A command that is sent again gets no new deadline.
    NoDeadlineForTheSecondAttempt,
}

/// The production function, with the bugs that are its own.
pub(crate) fn transition(
    saga: &'static Definition,
    state: State,
    event: &Event,
    bug: Option<Bug>,
) -> Result<Transition, IllegalEvent> {
    match (bug, state, event) {
        (
            Some(Bug::UndoneFromTheStepBefore),
            State::Running { step, attempt },
            Event::DeadlinePassed,
        ) if saga
            .step(step)
            .is_some_and(|step| attempt >= step.action.attempts) =>
        {
            let rejected = rejected(step, Reason::TIMEOUT);
            transition::transition(saga, state, &rejected)
        }
        (
            Some(Bug::LateSuccessCounts),
            State::Compensating { step, attempt, .. },
            Event::Succeeded(done),
        ) if *done == step => transition::transition(saga, State::Running { step, attempt }, event),
        (Some(Bug::NoDeadlineForTheSecondAttempt), _, Event::DeadlinePassed) => {
            let mut decided = transition::transition(saga, state, event)?;
            if decided.state.attempt() > 1 {
                decided.deadline = Deadline::None;
            }
            Ok(decided)
        }
        _ => transition::transition(saga, state, event),
    }
}
