//! What becomes of a saga if nobody ever replies: how often it still asks, and what it does then.
//!
//! Whoever explains why a saga waits says this. It is what [`transition`] says, asked in advance.

use crate::{
    state::{Entry, State},
    table::{Table, Undo},
    transition::{Event, transition},
};

/// What becomes of an open saga without any reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What is decided when its deadline passes.
    pub next: Vec<Entry>,
    /// How often its command is sent again before it gives up.
    pub again: u32,
    /// What it does then.
    pub then: Then,
}

/// What a saga does that gives up on a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It undoes these steps, in this order, and ends. There may be none.
    Undo(Vec<&'static str>),
    /// It is parked.
    Park,
}

/// What becomes of a saga in `state` if nobody replies, and whether it `expires` when its deadline passes. `None`: it waits
/// for nothing.
#[must_use]
pub fn outlook(saga: &dyn Table, state: State, expires: bool) -> Option<Outlook> {
    let event = match (state, expires) {
        (State::Running { .. }, true) => Event::Expired,
        _ => Event::DeadlinePassed,
    };
    let attempts = attempts(saga, state)?;
    let again = match event {
        Event::Expired => 0,
        _ => attempts.saturating_sub(state.attempt()),
    };
    let next = transition(saga, state, &event).ok()?.log;
    let last = transition(saga, at_attempt(state, state.attempt() + again), &event);
    let then = match last.ok()?.state {
        State::Parked { .. } => Then::Park,
        after => Then::Undo(undone(saga, after)),
    };
    Some(Outlook { next, again, then })
}

/// How often the command that it waits for is sent at most.
fn attempts(saga: &dyn Table, state: State) -> Option<u32> {
    let plan = saga.step(state.step()?)?;
    match (state, plan.undo) {
        (State::Running { .. }, _) => Some(plan.tries.attempts),
        (State::Compensating { .. }, Undo::By { tries, .. }) => Some(tries.attempts),
        _ => None,
    }
}

fn at_attempt(state: State, attempt: u32) -> State {
    match state {
        State::Running { step, .. } => State::Running { step, attempt },
        State::Compensating { step, reason, .. } => State::Compensating {
            step,
            attempt,
            reason,
        },
        other => other,
    }
}

/// The steps that are undone from `state` on, when every compensation is answered.
fn undone(saga: &dyn Table, mut state: State) -> Vec<&'static str> {
    let mut steps = Vec::new();
    // Each is undone once, so this ends.
    while let State::Compensating { step, .. } = state {
        if steps.len() >= saga.length() {
            break;
        }
        steps.push(step);
        match transition(saga, state, &Event::Undone(step)) {
            Ok(next) => state = next.state,
            Err(_) => break,
        }
    }
    steps
}
