//! The decision: what follows from an event in a state.
//!
//! ```text
//!  Running(step) ──succeeded──► Running(next) … ──► Completed
//!      │  │  └──silent: again, up to the step's attempts
//!      │  └─rejected────► Compensating(step before)               ◄──cancelled── Completed
//!      └─silent, cancelled, expired─► Compensating(step) ──undone──► Compensating(step before) … ──► Compensated
//!                               └──silent: again, later each time ──► Parked ──retried──► Compensating(step)
//!
//!  Running(forward-only step) ──silent: again, later each time──► Parked ──retried──► Running(step)
//! ```
//!
//! A step that has nothing to undo is passed over on the way back. Once the command of a forward-only step is sent,
//! there is no way back: the saga is neither cancelled nor undone any more.

use std::time::Duration;

use common::contract::Reason;

use crate::{
    state::{DeadLetter, Entry, State, Status, What},
    table::{StepPlan, Table, Undo},
    verb::{Intervention, Verb},
};

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
    /// The time for the whole saga is over.
    Expired,
    /// Somebody wants it undone.
    CancelRequested {
        /// Why.
        reason: Reason,
        /// In their own words.
        note: Option<String>,
    },
    /// An operator intervenes.
    Intervened {
        /// What they do.
        verb: Verb,
        /// Who, and why.
        by: Intervention,
    },
    /// Dead letters of the saga were sent again. What comes of that is another event.
    DeadLettersRedriven(Vec<DeadLetter>),
    /// A dead letter of the saga was taken away.
    DeadLetterDeleted(DeadLetter),
}

/// A request that makes no sense in the saga's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalEvent {
    /// The verb makes no sense in this state.
    #[error("{verb} makes no sense: the saga is {status}, and what can be done about it is {}", sensible(.verbs))]
    Senseless {
        /// What somebody wanted.
        verb: Verb,
        /// What the saga is.
        status: Status,
        /// What makes sense.
        verbs: Vec<Verb>,
    },
    /// A forward-only step is under way or done.
    #[error("the saga is {0} and past the point of no return, so it cannot be cancelled")]
    NoWayBack(Status),
}

/// A command that is to be sent: forward or back.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// The step's action.
    Action(&'static StepPlan),
    /// The step's compensation.
    Compensation(&'static StepPlan, Reason),
}

impl Command {
    /// The step whose participant gets it.
    #[must_use]
    pub const fn step(&self) -> &'static StepPlan {
        match self {
            Self::Action(step) | Self::Compensation(step, _) => step,
        }
    }

    /// Why it undoes the step; none on the way forward.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Action(_) => None,
            Self::Compensation(_, reason) => Some(*reason),
        }
    }
}

/// When the saga is looked at again if no reply comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// When it was to be looked at before.
    Unchanged,
    /// So long from now, in the program's measure of time.
    In(Duration),
    /// So long from now by the clock: a person said so.
    InExactly(Duration),
    /// Never: it waits for nothing.
    Never,
}

/// What was decided. Everything but the entries follows from the entries.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The new state: the old one and the new entries, folded.
    pub state: State,
    /// The new entries of the log. Empty when there is nothing to say.
    pub log: Vec<Entry>,
    /// The command to send, if any.
    pub command: Option<Command>,
    /// When to look again.
    pub deadline: Deadline,
}

/// The beginning of a saga.
#[must_use]
pub fn start(saga: &dyn Table) -> Transition {
    let log = vec![
        Entry::whole(What::SagaStarted {}),
        send_action(saga.first(), 1),
    ];
    Transition::new(saga, State::begin(saga), log)
}

/// What follows from `event` in `state`. Pure: no clock, no I/O, no randomness.
///
/// # Errors
/// The event is a request that makes no sense in this state. Replies and deadlines always make sense: one that
/// comes too late is noted.
pub fn transition(
    saga: &dyn Table,
    state: State,
    event: &Event,
) -> Result<Transition, IllegalEvent> {
    let log = match (state, event) {
        // Also while parked: the participant was slow, but it has done it.
        (
            State::Running { step, .. } | State::Parked { step, reason: None },
            Event::Succeeded(done),
        ) if *done == step => after_success(saga, step),
        // Refused: the step left nothing behind, so undoing begins before it.
        (
            State::Running { step, .. } | State::Parked { step, reason: None },
            Event::Rejected {
                step: refused,
                reason,
                detail,
            },
        ) if *refused == step && !saga.is_past_return(Some(step)) => {
            let rejected = What::StepRejected {
                reason: *reason,
                detail: detail.clone(),
            };
            undo(
                Entry::of(step, rejected),
                *reason,
                saga.undoing_before(step),
            )
        }
        (State::Running { step, attempt }, Event::DeadlinePassed) => {
            after_silence(saga, step, attempt)
        }
        (State::Running { step, .. }, Event::Expired) => {
            give_up(saga, step, Entry::whole(What::SagaExpired {}))
        }
        (
            State::Running { .. } | State::Completed | State::Parked { reason: None, .. },
            Event::CancelRequested { reason, note },
        ) => {
            if saga.is_past_return(state.step()) {
                return Err(IllegalEvent::NoWayBack(state.status()));
            }
            // The command is out, so the step may have run or may still run: undoing begins with it.
            let from = state.step().unwrap_or(saga.last().name);
            let by = Intervention::of(note.clone());
            undo(cancelled(*reason, by), *reason, saga.undoing_from(from))
        }

        (
            State::Compensating { step, .. }
            | State::Parked {
                step,
                reason: Some(_),
            },
            Event::Undone(done),
        ) if *done == step => vec![
            Entry::of(step, What::StepUndone {}),
            next_compensation(saga.undoing_before(step)),
        ],
        (State::Compensating { step, attempt, .. }, Event::DeadlinePassed) => {
            after_silent_compensation(saga, step, attempt)
        }
        (_, Event::Intervened { verb, by }) => match intervene(saga, state, *verb, by) {
            Some(log) => log,
            None if *verb == Verb::Abort && saga.is_past_return(state.step()) => {
                return Err(IllegalEvent::NoWayBack(state.status()));
            }
            None => {
                return Err(IllegalEvent::Senseless {
                    verb: *verb,
                    status: state.status(),
                    verbs: verbs(saga, state),
                });
            }
        },

        // A reply that nobody waits for. Whatever it tells is undone by the compensation that was sent, or is
        // being sent, after its command: participants let no action come after its compensation.
        (_, Event::Succeeded(step)) => late(saga.step(step), |step| Some(step.succeeded)),
        (_, Event::Rejected { step, .. }) => late(saga.step(step), |step| step.rejected),
        (_, Event::Undone(step)) => late(saga.step(step), StepPlan::undone),

        // Told to whoever reads the log.
        (_, Event::DeadLettersRedriven(letters)) => {
            let redriven = |letter| Entry::whole(What::DeadLetterRedriven(letter));
            letters.iter().cloned().map(redriven).collect()
        }
        (_, Event::DeadLetterDeleted(letter)) => {
            vec![Entry::whole(What::DeadLetterDeleted(letter.clone()))]
        }

        // It is being undone already, or is.
        (
            State::Compensating { .. }
            | State::Compensated { .. }
            | State::Parked {
                reason: Some(_), ..
            },
            Event::CancelRequested { .. },
        ) => Vec::new(),
        // A deadline that was met in the meantime.
        (
            State::Completed | State::Compensated { .. } | State::Parked { .. },
            Event::DeadlinePassed,
        )
        | (
            State::Completed
            | State::Compensating { .. }
            | State::Compensated { .. }
            | State::Parked { .. },
            Event::Expired,
        ) => Vec::new(),
    };
    Ok(Transition::new(saga, state, log))
}

/// What an operator can do in `state`.
#[must_use]
pub fn verbs(saga: &dyn Table, state: State) -> Vec<Verb> {
    let by = Intervention::default();
    let all = Verb::ALL.into_iter();
    all.filter(|verb| intervene(saga, state, *verb, &by).is_some())
        .collect()
}

fn sensible(verbs: &[Verb]) -> String {
    match verbs {
        [] => "nothing".to_owned(),
        _ => verbs
            .iter()
            .map(Verb::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What follows from an operator's verb, if it makes sense.
///
/// A participant may still do what an operator says is done, undone or over: its command is out. Its reply is late
/// then, and changes nothing. What was skipped on the way forward is undone like any other step, for it may have run.
fn intervene(saga: &dyn Table, state: State, verb: Verb, by: &Intervention) -> Option<Vec<Entry>> {
    let by = by.clone();
    Some(match (verb, state) {
        (Verb::Retry, State::Parked { step, reason }) => vec![
            Entry::of(step, What::RetryRequested { by }),
            send_again(saga, step, reason),
        ],
        (Verb::Skip, State::Running { step, .. } | State::Parked { step, reason: None }) => vec![
            Entry::of(step, What::SkipRequested { by }),
            next_action(saga, step),
        ],
        (
            Verb::Skip,
            State::Compensating { step, .. }
            | State::Parked {
                step,
                reason: Some(_),
            },
        ) => vec![
            Entry::of(step, What::SkipRequested { by }),
            next_compensation(saga.undoing_before(step)),
        ],
        (Verb::ForceComplete, State::Running { .. } | State::Parked { reason: None, .. }) => vec![
            Entry::whole(What::CompletionForced { by }),
            Entry::whole(What::SagaCompleted {}),
        ],
        (
            Verb::ForceCompensated,
            State::Compensating { .. }
            | State::Parked {
                reason: Some(_), ..
            },
        ) => vec![
            Entry::whole(What::CompensationForced { by }),
            Entry::whole(What::SagaCompensated {}),
        ],
        (
            Verb::Abort,
            State::Running { .. } | State::Completed | State::Parked { reason: None, .. },
        ) if !saga.is_past_return(state.step()) => {
            let from = state.step().unwrap_or(saga.last().name);
            let reason = Reason::OPERATOR;
            undo(cancelled(reason, by), reason, saga.undoing_from(from))
        }
        (
            Verb::Reschedule(delay),
            State::Running { step, .. } | State::Compensating { step, .. },
        ) => {
            let delay_seconds = delay.as_secs();
            vec![Entry::of(step, What::Rescheduled { delay_seconds, by })]
        }
        _ => return None,
    })
}

fn after_success(saga: &dyn Table, step: &'static str) -> Vec<Entry> {
    vec![
        Entry::of(step, What::StepSucceeded {}),
        next_action(saga, step),
    ]
}

fn next_action(saga: &dyn Table, step: &'static str) -> Entry {
    match saga.after(step) {
        Some(next) => send_action(next, 1),
        None => Entry::whole(What::SagaCompleted {}),
    }
}

fn after_silence(saga: &dyn Table, step: &'static str, attempt: u32) -> Vec<Entry> {
    let timed_out = Entry::of(step, What::ActionTimedOut { attempt });
    match saga.step(step) {
        Some(step) if attempt < step.tries.attempts => {
            vec![timed_out, send_action(step, attempt + 1)]
        }
        _ => give_up(saga, step, timed_out),
    }
}

/// Nobody waits for the step any more: for the reason in `cause`, the saga is undone, or parked where it cannot be.
fn give_up(saga: &dyn Table, step: &'static str, cause: Entry) -> Vec<Entry> {
    if saga.is_past_return(Some(step)) {
        vec![cause, Entry::of(step, What::SagaParked {})]
    } else {
        // It may have run all the same: undoing begins with it.
        undo(cause, Reason::TIMEOUT, saga.undoing_from(step))
    }
}

fn after_silent_compensation(saga: &dyn Table, step: &'static str, attempt: u32) -> Vec<Entry> {
    let next = match saga.step(step).map(|step| (step, step.undo)) {
        Some((step, Undo::By { tries, .. })) if attempt < tries.attempts => {
            send_compensation(step, attempt + 1)
        }
        _ => Entry::of(step, What::SagaParked {}),
    };
    vec![
        Entry::of(step, What::CompensationTimedOut { attempt }),
        next,
    ]
}

/// What a parked saga goes on with. Where it was parked on its way back at a step that nothing undoes, because its row
/// was damaged, it goes on before that step.
fn send_again(saga: &dyn Table, step: &'static str, reason: Option<Reason>) -> Entry {
    match (reason, saga.step(step)) {
        (None, Some(plan)) => send_action(plan, 1),
        _ => next_compensation(saga.undoing_from(step)),
    }
}

fn undo(cause: Entry, reason: Reason, from: Option<&'static StepPlan>) -> Vec<Entry> {
    vec![
        cause,
        Entry::whole(What::CompensationStarted { reason }),
        next_compensation(from),
    ]
}

fn next_compensation(step: Option<&'static StepPlan>) -> Entry {
    step.map_or(Entry::whole(What::SagaCompensated {}), |step| {
        send_compensation(step, 1)
    })
}

fn cancelled(reason: Reason, by: Intervention) -> Entry {
    Entry::whole(What::CancelRequested { reason, by })
}

fn send_action(step: &StepPlan, attempt: u32) -> Entry {
    Entry::of(step.name, What::ActionSent { attempt })
}

fn send_compensation(step: &StepPlan, attempt: u32) -> Entry {
    Entry::of(step.name, What::CompensationSent { attempt })
}

fn late(
    step: Option<&'static StepPlan>,
    reply: impl Fn(&StepPlan) -> Option<&'static str>,
) -> Vec<Entry> {
    let late = step.and_then(|step| {
        let reply = reply(step)?.to_owned();
        Some(Entry::of(step.name, What::LateReply { reply }))
    });
    late.into_iter().collect()
}

impl Transition {
    fn new(saga: &dyn Table, before: State, log: Vec<Entry>) -> Self {
        let folded = log
            .iter()
            .try_fold(before, |state, entry| state.after(saga, entry));
        let state = folded.expect("what is decided in a state fits to it");
        let command = log.iter().find_map(|entry| command(saga, state, entry));
        let deadline = match command {
            Some(Command::Action(step)) => Deadline::In(step.tries.timeout_of(state.attempt())),
            Some(Command::Compensation(step, _)) => match step.undo {
                Undo::By { tries, .. } => Deadline::In(tries.timeout_of(state.attempt())),
                Undo::Nothing | Undo::Never => Deadline::Unchanged,
            },
            None if state.is_open() => log.iter().find_map(moved).unwrap_or(Deadline::Unchanged),
            None => Deadline::Never,
        };
        Self {
            state,
            log,
            command,
            deadline,
        }
    }

    /// Whether the deadline of the whole saga still counts: only on the way forward, which ends when it has passed.
    #[must_use]
    pub fn may_expire(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// The deadline that an entry sets by itself.
fn moved(entry: &Entry) -> Option<Deadline> {
    match entry.what {
        What::Rescheduled { delay_seconds, .. } => {
            Some(Deadline::InExactly(Duration::from_secs(delay_seconds)))
        }
        _ => None,
    }
}

/// The command that an entry announces.
fn command(saga: &dyn Table, state: State, entry: &Entry) -> Option<Command> {
    let step = saga.step(entry.step?)?;
    match entry.what {
        What::ActionSent { .. } => Some(Command::Action(step)),
        What::CompensationSent { .. } => Some(Command::Compensation(step, state.reason()?)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
