//! Whether a log is what the code of today would have decided.
//!
//! A log names causes and what followed from them. [`retrace`] takes each cause as the event that it was, asks
//! [`transition`] what follows from it today, and compares. So it finds what folding a log alone does not: a definition that
//! has the same name and version, and would go another way. Whoever is about to run another release on sagas that are
//! there asks this first.

use crate::{
    state::{Entry, State, What},
    table::{Table, Told},
    transition::{Event, start, transition},
    verb::Intervention,
};
use common::contract::Reason;

/// Where a log is not what the code of today would have decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Parting {
    /// The position of the entry in the log, from 0; the log's length where something is missing at its end.
    pub at: usize,
    /// What is there, and what would be.
    pub why: String,
}

impl Parting {
    fn new(at: usize, why: impl Into<String>) -> Self {
        Self {
            at,
            why: why.into(),
        }
    }
}

/// The state after a whole log, if each of its entries is what [`transition`] makes of those before it.
///
/// # Errors
/// It would have gone another way.
pub fn retrace(table: &dyn Table, log: &[Entry]) -> Result<State, Parting> {
    let begun = start(table);
    let mut at = follow(&begun.log, log, 0)?;
    let mut state = begun.state;
    while let Some(entry) = log.get(at) {
        // No event leads there: it is noted about a saga whose row or log cannot be read.
        if matches!(entry.what, What::SagaQuarantined { .. }) {
            let parked = state.after(table, entry);
            state = parked.map_err(|unfit| Parting::new(at, unfit.to_string()))?;
            at += 1;
            continue;
        }
        let event = cause(table, entry).ok_or_else(|| {
            let (status, entry) = (state.status(), told(entry));
            Parting::new(at, format!("{entry} follows from nothing: the saga is {status} before it, and nothing is due"))
        })?;
        let decided = transition(table, state, &event);
        let decided = decided.map_err(|refused| Parting::new(at, refused.to_string()))?;
        if decided.log.is_empty() {
            let (status, entry) = (state.status(), told(entry));
            let why = format!("{entry} is not noted of a saga that is {status}");
            return Err(Parting::new(at, why));
        }
        at = follow(&decided.log, log, at)?;
        state = decided.state;
    }
    Ok(state)
}

/// Where the log goes on behind what is `decided`, if that is what it says from position `at` on.
fn follow(decided: &[Entry], log: &[Entry], at: usize) -> Result<usize, Parting> {
    for (at, decided) in (at..).zip(decided) {
        let expected = told(decided);
        match log.get(at) {
            Some(entry) if entry == decided => {}
            Some(entry) => {
                let why = format!(
                    "{expected} is decided here, and the log says {}",
                    told(entry)
                );
                return Err(Parting::new(at, why));
            }
            None => {
                let why = format!("{expected} is decided here, and the log ends");
                return Err(Parting::new(at, why));
            }
        }
    }
    Ok(at + decided.len())
}

/// What happened, where an entry tells that; none where it is a consequence only.
fn cause(table: &dyn Table, entry: &Entry) -> Option<Event> {
    let step = entry.step;
    Some(match &entry.what {
        What::StepSucceeded {} => Event::Succeeded(step?),
        What::StepRejected { reason, detail } => Event::Rejected {
            step: step?,
            reason: *reason,
            detail: detail.clone(),
        },
        What::StepUndone {} => Event::Undone(step?),
        What::ActionTimedOut { .. } | What::CompensationTimedOut { .. } => Event::DeadlinePassed,
        What::SagaExpired {} => Event::Expired,
        What::LateReply { reply } => late(table, step?, reply)?,
        // Who cancels for a customer gives no name; who aborts does.
        What::CancelRequested { reason, by } if *by == Intervention::of(by.note.clone()) => {
            Event::CancelRequested {
                reason: *reason,
                note: by.note.clone(),
            }
        }
        What::DeadLetterRedriven(letter) => Event::DeadLettersRedriven(vec![letter.clone()]),
        What::DeadLetterDeleted(letter) => Event::DeadLetterDeleted(letter.clone()),
        what => {
            let (verb, by) = what.intervention()?;
            let by = by.clone();
            Event::Intervened { verb, by }
        }
    })
}

/// The reply of this type, of which nothing but its type is told.
fn late(table: &dyn Table, step: &'static str, reply: &str) -> Option<Event> {
    Some(match table.step(step)?.told(reply)? {
        Told::Succeeded => Event::Succeeded(step),
        Told::Undone => Event::Undone(step),
        Told::Rejected => Event::Rejected {
            step,
            reason: Reason::OPERATOR,
            detail: None,
        },
    })
}

/// An entry in a few words.
fn told(entry: &Entry) -> String {
    let (event, details) = entry.to_columns();
    let step = entry.step.map(|step| format!(" {step}"));
    let details = Some(details).filter(|details| details != "{}");
    let details = details.map(|details| format!(" {details}"));
    format!(
        "{event}{}{}",
        step.unwrap_or_default(),
        details.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transition::tests::properties::{Run, any_run};

    proptest! {
        /// What was decided is decided again from nothing but the log.
        #[test]
        fn every_log_can_be_retraced((saga, events) in any_run()) {
            let run = Run::after(saga, &events);
            prop_assert_eq!(retrace(&run.saga, &run.log), Ok(run.state));
        }

        /// A log that lacks one of its entries is not what would have been decided, or nothing follows from that entry.
        #[test]
        fn a_log_with_a_gap_parts((saga, events) in any_run(), gap in any::<prop::sample::Index>()) {
            let run = Run::after(saga, &events);
            let gap = gap.index(run.log.len());
            let mut log = run.log.clone();
            let missing = log.remove(gap);
            let is_note = matches!(missing.what, What::LateReply { .. } | What::Rescheduled { .. });
            let retraced = retrace(&run.saga, &log);
            if is_note {
                prop_assert_eq!(retraced, Ok(run.state));
            } else {
                let parting = retraced.unwrap_err();
                prop_assert!(parting.at >= gap, "{} before {}", parting.at, gap);
            }
        }
    }
}
