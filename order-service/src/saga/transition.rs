//! The decision: what follows from an event in a state.
//!
//! ```text
//!  Running(step) ──succeeded──► Running(next) … ──► Completed
//!      │  │  └──silent: again, up to the step's attempts
//!      │  └─rejected────► Compensating(step before)              ◄──cancelled── Completed
//!      └─silent, cancelled─► Compensating(step) ──undone──► Compensating(step before) … ──► Compensated
//!                               └──silent: again, later each time ──► Parked ──retried──► Compensating(step)
//! ```

use std::time::Duration;

use common::contract::{Envelope, Reason};

use super::{
    definition::{Definition, Step},
    log::{Entry, State, What},
};
use crate::orders::Order;

/// What happens to a saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The participant did the step.
    Succeeded(&'static str),
    /// The participant refused the step, and did nothing.
    Rejected {
        /// The step.
        step: &'static str,
        /// Why.
        reason: Reason,
        /// The participant's own words.
        detail: Option<String>,
    },
    /// The participant has undone the step, or has made sure that it will never happen.
    Undone(&'static str),
    /// The deadline passed without the reply that it was for.
    DeadlinePassed,
    /// Somebody wants the order cancelled.
    CancelRequested {
        /// Who.
        reason: Reason,
        /// In their own words.
        note: Option<String>,
    },
    /// An operator wants a parked saga to go on.
    RetryRequested {
        /// Why.
        note: Option<String>,
    },
}

/// A request that makes no sense in the saga's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saga is {status}, so it cannot be {verb}")]
pub struct IllegalEvent {
    status: &'static str,
    verb: &'static str,
}

/// Forward or back; a command that is to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Send {
    /// The step's action.
    Action(&'static Step),
    /// The step's compensation.
    Compensation(&'static Step, Reason),
}

impl Send {
    /// The step whose participant gets it.
    #[must_use]
    pub const fn step(&self) -> &'static Step {
        match self {
            Self::Action(step) | Self::Compensation(step, _) => step,
        }
    }

    /// The command itself.
    #[must_use]
    pub fn envelope(&self, order: &Order) -> Envelope {
        match self {
            Self::Action(step) => (step.action.command)(order),
            Self::Compensation(step, reason) => (step.compensation.command)(order, *reason),
        }
    }
}

/// When the saga is looked at again if no reply comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The same as before.
    Unchanged,
    /// So long from now.
    In(Duration),
    /// Never: it waits for nothing.
    None,
}

/// What was decided. All but the entries follows from the entries.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The new state: the old one and the new entries, folded.
    pub state: State,
    /// The new entries of the log. Empty when there is nothing to say.
    pub log: Vec<Entry>,
    /// The command to send, if any.
    pub send: Option<Send>,
    /// When to look again.
    pub deadline: Deadline,
}

/// The beginning of a saga.
#[must_use]
pub fn start(saga: &Definition) -> Transition {
    let first = saga.first();
    let state = State::Running {
        step: first.name,
        attempt: 0,
    };
    let log = vec![Entry::whole(What::SagaStarted {}), send_action(first, 1)];
    Transition::new(saga, state, log)
}

/// What follows from `event` in `state`. Pure: no clock, no I/O, no randomness.
///
/// # Errors
/// The event is a request that makes no sense in this state. Replies and deadlines always make sense: one that
/// comes too late is noted.
pub fn transition(
    saga: &Definition,
    state: State,
    event: &Event,
) -> Result<Transition, IllegalEvent> {
    let log = match (state, event) {
        (State::Running { step, .. }, Event::Succeeded(done)) if *done == step => {
            after_success(saga, step)
        }
        // Refused: the step left nothing behind, so undoing begins before it.
        (
            State::Running { step, .. },
            Event::Rejected {
                step: refused,
                reason,
                detail,
            },
        ) if *refused == step => {
            let rejected = What::StepRejected {
                reason: *reason,
                detail: detail.clone(),
            };
            undo(Entry::of(step, rejected), *reason, saga.before(step))
        }
        (State::Running { step, attempt }, Event::DeadlinePassed) => {
            after_silence(saga, step, attempt)
        }
        // The command is out, so the step may have run or may still run: undoing begins with it.
        (State::Running { step, .. }, Event::CancelRequested { reason, note }) => {
            undo(cancelled(*reason, note), *reason, saga.step(step))
        }
        (State::Completed, Event::CancelRequested { reason, note }) => {
            undo(cancelled(*reason, note), *reason, Some(saga.last()))
        }

        // Also while parked: the participant was slow, but it has done it.
        (State::Compensating { step, .. } | State::Parked { step, .. }, Event::Undone(done))
            if *done == step =>
        {
            let mut log = vec![Entry::of(step, What::StepUndone {})];
            log.push(next_compensation(saga.before(step)));
            log
        }
        (State::Compensating { step, attempt, .. }, Event::DeadlinePassed) => {
            after_silent_compensation(saga, step, attempt)
        }
        (State::Parked { step, .. }, Event::RetryRequested { note }) => {
            let retried = What::RetryRequested { note: note.clone() };
            let mut log = vec![Entry::of(step, retried)];
            log.extend(saga.step(step).map(|step| send_compensation(step, 1)));
            log
        }

        // A reply that nobody waits for. Whatever it tells is undone by the compensation that was sent, or is
        // being sent, after its command: participants let no action come after its compensation.
        (_, Event::Succeeded(step)) => late(saga.step(step), |step| step.action.succeeded),
        (_, Event::Rejected { step, .. }) => late(saga.step(step), |step| step.action.rejected),
        (_, Event::Undone(step)) => late(saga.step(step), |step| step.compensation.done),

        // It is being undone already, or is.
        (
            State::Compensating { .. } | State::Compensated { .. } | State::Parked { .. },
            Event::CancelRequested { .. },
        ) => Vec::new(),
        // A deadline that was met in the meantime.
        (
            State::Completed | State::Compensated { .. } | State::Parked { .. },
            Event::DeadlinePassed,
        ) => Vec::new(),

        (
            State::Running { .. }
            | State::Completed
            | State::Compensating { .. }
            | State::Compensated { .. },
            Event::RetryRequested { .. },
        ) => {
            return Err(IllegalEvent {
                status: state.status(),
                verb: "retried: only a PARKED saga can",
            });
        }
    };
    Ok(Transition::new(saga, state, log))
}

fn after_success(saga: &Definition, step: &'static str) -> Vec<Entry> {
    let next = match saga.after(step) {
        Some(next) => send_action(next, 1),
        None => Entry::whole(What::SagaCompleted {}),
    };
    vec![Entry::of(step, What::StepSucceeded {}), next]
}

fn after_silence(saga: &Definition, step: &'static str, attempt: u32) -> Vec<Entry> {
    let timed_out = Entry::of(step, What::ActionTimedOut { attempt });
    match saga.step(step) {
        Some(step) if attempt < step.action.attempts => {
            vec![timed_out, send_action(step, attempt + 1)]
        }
        // It may have run all the same: undoing begins with it.
        silent => undo(timed_out, Reason::TIMEOUT, silent),
    }
}

fn after_silent_compensation(saga: &Definition, step: &'static str, attempt: u32) -> Vec<Entry> {
    let next = match saga.step(step) {
        Some(step) if attempt < step.compensation.attempts => send_compensation(step, attempt + 1),
        _ => Entry::of(step, What::SagaParked {}),
    };
    vec![
        Entry::of(step, What::CompensationTimedOut { attempt }),
        next,
    ]
}

fn undo(cause: Entry, reason: Reason, from: Option<&'static Step>) -> Vec<Entry> {
    vec![
        cause,
        Entry::whole(What::CompensationStarted { reason }),
        next_compensation(from),
    ]
}

fn next_compensation(step: Option<&'static Step>) -> Entry {
    step.map_or(Entry::whole(What::SagaCompensated {}), |step| {
        send_compensation(step, 1)
    })
}

fn cancelled(reason: Reason, note: &Option<String>) -> Entry {
    let note = note.clone();
    Entry::whole(What::CancelRequested { reason, note })
}

fn send_action(step: &Step, attempt: u32) -> Entry {
    Entry::of(step.name, What::ActionSent { attempt })
}

fn send_compensation(step: &Step, attempt: u32) -> Entry {
    Entry::of(step.name, What::CompensationSent { attempt })
}

fn late(step: Option<&'static Step>, reply: impl Fn(&Step) -> &'static str) -> Vec<Entry> {
    step.map(|step| {
        let reply = reply(step).to_owned();
        Entry::of(step.name, What::LateReply { reply })
    })
    .into_iter()
    .collect()
}

impl Transition {
    fn new(saga: &Definition, before: State, log: Vec<Entry>) -> Self {
        let state = log.iter().fold(before, State::after);
        let send = log.iter().find_map(|entry| command(saga, state, entry));
        let deadline = match send {
            Some(Send::Action(step)) => Deadline::In(step.action.timeout),
            Some(Send::Compensation(step, _)) => {
                Deadline::In(step.compensation.timeout_of(state.attempt()))
            }
            None if state.is_open() => Deadline::Unchanged,
            None => Deadline::None,
        };
        Self {
            state,
            log,
            send,
            deadline,
        }
    }
}

/// The command that an entry announces.
fn command(saga: &Definition, state: State, entry: &Entry) -> Option<Send> {
    let step = saga.step(entry.step?)?;
    match entry.what {
        What::ActionSent { .. } => Some(Send::Action(step)),
        What::CompensationSent { .. } => Some(Send::Compensation(step, state.reason()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
