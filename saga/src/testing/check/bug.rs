//! Bugs that are put in on purpose, so that the check is known to be able to fail.

use common::contract::Reason;

use super::{
    guarantees::{ARMED, CLEAN, COMPLETE, GOES_ON, GONE, MOVES, NEVER_UNDONE, NO_RETURN, ONCE},
    model::OneSaga,
    orchestrator::rejected,
    participant::{AfterRefund, Place},
};
use crate::{
    state::State,
    table::{StepPlan, Table, Tries, Undo},
    testing::plans::Plans,
    transition::{Deadline, Event, IllegalEvent, Transition, transition},
    verb::Verb,
};

/// What somebody may get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A participant leaves no tombstone when the compensation comes first.
    NoTombstone,
    /// A participant writes no intent for a gateway that charges after the refund.
    NoIntent,
    /// A refund looks for an intent and leaves it open, so that others may ask the gateway to charge meanwhile.
    NotClosed,
    /// Whoever writes an intent does not look whether an outcome was recorded since it looked first.
    IntentUnchecked,
    /// A participant does not remember what it did and answered. A gateway still knows its own charges.
    NoOutcome,
    /// A participant does a forward-only action each time that it is asked: it refunds more than was returned.
    ForwardOnlyRepeated,
    /// Messages are acked when they come, so that a crash before the commit loses them.
    AckBeforeCommit,
    /// Commands are published after the commit without having been in it, so that a crash in between loses them.
    NoOutbox,
    /// The orchestrator counts a reply in one transaction, and decides in the next one.
    CountedBeforeDecided,
    /// The orchestrator has no idempotency table. This is harmless to the state: a reply is late the second time.
    CountedTwice,
    /// A command that is sent again gets no new deadline.
    NoDeadlineForTheSecondAttempt,
    /// A parked saga does not hear the reply that it was parked for.
    ParkedIsDeaf,
    /// A step that timed out is taken for one that was rejected: undoing begins before it.
    UndoneFromTheStepBefore,
    /// A step with a compensation is taken for one that has nothing to undo.
    CompensationForgotten,
    /// A success that comes too late sends the saga forward again.
    LateSuccessCounts,
    /// A forward-only step is taken for one that has a compensation.
    ForwardOnlyUndone,
    /// A forward-only step that is silent is taken for one that has nothing to undo.
    ForwardOnlyGivenUp,
    /// A saga whose time is over is undone, also behind the point of no return.
    ExpiredBehindNoReturn,
    /// What an operator skips is written down as if its participant had done it.
    SkippedIsDone,
    /// A command that an operator has sent again gets no deadline.
    NoDeadlineForTheRetry,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::NoTombstone,
        Self::NoIntent,
        Self::NotClosed,
        Self::IntentUnchecked,
        Self::NoOutcome,
        Self::ForwardOnlyRepeated,
        Self::AckBeforeCommit,
        Self::NoOutbox,
        Self::CountedBeforeDecided,
        Self::CountedTwice,
        Self::NoDeadlineForTheSecondAttempt,
        Self::ParkedIsDeaf,
        Self::UndoneFromTheStepBefore,
        Self::CompensationForgotten,
        Self::LateSuccessCounts,
        Self::ForwardOnlyUndone,
        Self::ForwardOnlyGivenUp,
        Self::ExpiredBehindNoReturn,
        Self::SkippedIsDone,
        Self::NoDeadlineForTheRetry,
    ];

    /// The guarantee that it breaks; none where it does no harm.
    #[must_use]
    pub const fn breaks(self) -> Option<&'static str> {
        match self {
            Self::NoTombstone | Self::NoIntent | Self::NotClosed | Self::IntentUnchecked => {
                Some(GONE)
            }
            Self::NoOutcome | Self::ForwardOnlyRepeated => Some(ONCE),
            Self::AckBeforeCommit | Self::NoOutbox | Self::CountedBeforeDecided => Some(MOVES),
            Self::CountedTwice => None,
            Self::NoDeadlineForTheSecondAttempt | Self::NoDeadlineForTheRetry => Some(ARMED),
            Self::ParkedIsDeaf => Some(GOES_ON),
            Self::UndoneFromTheStepBefore | Self::CompensationForgotten => Some(CLEAN),
            Self::LateSuccessCounts | Self::SkippedIsDone => Some(COMPLETE),
            Self::ForwardOnlyUndone => Some(NEVER_UNDONE),
            Self::ForwardOnlyGivenUp | Self::ExpiredBehindNoReturn => Some(NO_RETURN),
        }
    }

    /// Whether it can show in a saga of this shape.
    pub(crate) fn can_show(self, model: &OneSaga) -> bool {
        let plans = &model.saga;
        let in_database = |step: &StepPlan| model.place(step.name) == Place::Database;
        match self {
            Self::NoTombstone => plans.any(|step| step.undone().is_some() && in_database(step)),
            Self::NoIntent | Self::NotClosed | Self::IntentUnchecked => plans.any(|step| {
                step.undone().is_some()
                    && model.place(step.name) == Place::Gateway(AfterRefund::Charges)
            }),
            Self::NoOutcome => plans.any(in_database),
            Self::ForwardOnlyRepeated => {
                plans.any(|step| step.is_forward_only() && in_database(step))
            }
            Self::AckBeforeCommit
            | Self::NoOutbox
            | Self::CountedBeforeDecided
            | Self::CountedTwice => true,
            Self::SkippedIsDone => model.left.interventions > 0,
            Self::NoDeadlineForTheSecondAttempt => plans.any(|step| step.tries.attempts > 1),
            Self::ParkedIsDeaf => plans.has_way_back() || plans.has_point_of_no_return(),
            Self::NoDeadlineForTheRetry => {
                model.left.interventions > 0 && Self::ParkedIsDeaf.can_show(model)
            }
            Self::UndoneFromTheStepBefore
            | Self::CompensationForgotten
            | Self::LateSuccessCounts => plans.has_way_back(),
            Self::ForwardOnlyUndone | Self::ForwardOnlyGivenUp => plans.has_point_of_no_return(),
            Self::ExpiredBehindNoReturn => {
                plans.has_point_of_no_return() && plans.expires_after.is_some()
            }
        }
    }

    /// What it takes the saga's table for.
    pub(crate) fn mistakes(self, saga: &Plans) -> Plans {
        Plans::of(saga, |mut plan| {
            match (self, plan.undo) {
                (Self::CompensationForgotten, Undo::By { .. })
                | (Self::ForwardOnlyGivenUp | Self::ExpiredBehindNoReturn, Undo::Never) => {
                    plan.undo = Undo::Nothing;
                }
                (Self::ForwardOnlyUndone, Undo::Never) => {
                    plan.undo = Undo::By {
                        done: "undone",
                        tries: Tries::patiently(),
                    };
                }
                _ => {}
            }
            plan
        })
    }
}

/// The production function, with the bugs that are its own.
pub(crate) fn decide(
    model: &OneSaga,
    state: State,
    event: &Event,
) -> Result<Transition, IllegalEvent> {
    let (saga, mistaken): (&dyn Table, &dyn Table) = (&model.saga, &model.mistaken);
    match (model.bug, state, event) {
        (
            Some(Bug::UndoneFromTheStepBefore),
            State::Running { step, attempt },
            Event::DeadlinePassed,
        ) if saga
            .step(step)
            .is_some_and(|step| attempt >= step.tries.attempts && !step.is_forward_only()) =>
        {
            transition(saga, state, &rejected(step, Reason::TIMEOUT))
        }
        (
            Some(Bug::LateSuccessCounts),
            State::Compensating { step, attempt, .. },
            Event::Succeeded(done),
        ) if *done == step => transition(saga, State::Running { step, attempt }, event),
        (Some(Bug::NoDeadlineForTheSecondAttempt), _, Event::DeadlinePassed) => {
            let mut decided = transition(saga, state, event)?;
            if decided.state.attempt() > 1 {
                decided.deadline = Deadline::Never;
            }
            Ok(decided)
        }
        (Some(Bug::ParkedIsDeaf), State::Parked { .. }, Event::Succeeded(_) | Event::Undone(_)) => {
            Ok(Transition {
                state,
                log: Vec::new(),
                command: None,
                deadline: Deadline::Never,
            })
        }
        (
            Some(Bug::SkippedIsDone),
            State::Running { step, .. },
            Event::Intervened {
                verb: Verb::Skip, ..
            },
        ) => transition(saga, state, &Event::Succeeded(step)),
        (
            Some(Bug::NoDeadlineForTheRetry),
            _,
            Event::Intervened {
                verb: Verb::Retry, ..
            },
        ) => Ok(Transition {
            deadline: Deadline::Never,
            ..transition(saga, state, event)?
        }),
        (Some(Bug::ForwardOnlyUndone | Bug::CompensationForgotten), ..)
        | (Some(Bug::ForwardOnlyGivenUp), _, Event::DeadlinePassed)
        | (Some(Bug::ExpiredBehindNoReturn), _, Event::Expired) => {
            transition(mistaken, state, event)
        }
        _ => transition(saga, state, event),
    }
}
