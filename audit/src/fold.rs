//! What a saga log adds up to: the audit's own reading of it.

use serde::Deserialize;
use serde_json::Value;

/// An entry of the log.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: i32,
    pub(super) event: String,
    pub(super) step: Option<String>,
    pub(super) details: Value,
}

/// What the row in `sagas` says, and what the log should add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) status: String,
    pub(super) step: Option<String>,
    pub(super) attempt: i64,
    pub(super) reason: Option<String>,
}

impl State {
    /// Whether it waits for an answer, and so needs a deadline.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "RUNNING" | "COMPENSATING")
    }

    fn at(&self, status: &str, step: Option<&str>, attempt: i64) -> Self {
        Self {
            status: status.to_owned(),
            step: step.map(str::to_owned),
            attempt,
            reason: self.reason.clone(),
        }
    }

    fn after(self, entry: &Entry) -> Result<Self, String> {
        let step = entry.step.as_deref();
        let missing = |field| {
            let Entry { seq, event, .. } = entry;
            format!("log entry {seq} ({event}) has no {field}")
        };
        let attempt = || entry.details["attempt"].as_i64().ok_or(missing("attempt"));
        match entry.event.as_str() {
            "SAGA_STARTED" => Ok(self.at("RUNNING", None, 0)),
            "ACTION_SENT" => Ok(self.at("RUNNING", step, attempt()?)),
            "SAGA_COMPLETED" => Ok(self.at("COMPLETED", None, 0)),
            "COMPENSATION_STARTED" => {
                let reason = entry.details["reason"].as_str().ok_or(missing("reason"))?;
                let mut next = self.at("COMPENSATING", self.step.as_deref(), 0);
                next.reason = Some(reason.to_owned());
                Ok(next)
            }
            "COMPENSATION_SENT" => Ok(self.at("COMPENSATING", step, attempt()?)),
            "SAGA_COMPENSATED" => Ok(self.at("COMPENSATED", None, 0)),
            "SAGA_PARKED" => Ok(self.at("PARKED", step, 0)),
            "SAGA_QUARANTINED" => {
                // On its way forward, it has none.
                let mut next = self.at("PARKED", step, 0);
                next.reason = entry.details["reason"].as_str().map(str::to_owned);
                Ok(next)
            }
            // These tell why the next entry follows, and change nothing by themselves.
            "STEP_SUCCEEDED"
            | "STEP_REJECTED"
            | "STEP_UNDONE"
            | "ACTION_TIMED_OUT"
            | "COMPENSATION_TIMED_OUT"
            | "CANCEL_REQUESTED"
            | "RETRY_REQUESTED"
            | "SKIP_REQUESTED"
            | "COMPLETION_FORCED"
            | "COMPENSATION_FORCED"
            | "RESCHEDULED"
            | "SAGA_EXPIRED"
            | "LATE_REPLY"
            | "DEAD_LETTER_REDRIVEN"
            | "DEAD_LETTER_DELETED" => Ok(self),
            unknown => Err(format!(
                "log entry {} is {unknown}, which the audit does not know",
                entry.seq
            )),
        }
    }
}

/// What is wrong with a log whose saga's row says `state` and `version`; nothing, if it is right. `is_dropped`: it may
/// have lost its beginning to retention.
pub(super) fn problem(
    log: &[Entry],
    state: &State,
    version: i32,
    is_dropped: bool,
) -> Option<String> {
    let first = log.first().map_or(0, |entry| entry.seq);
    if is_dropped && first != 1 {
        return problem_of_rest(log, first, state, version);
    }
    if let Some(problem) = gap(log, 1).or_else(|| end(log, version)) {
        return Some(problem);
    }
    if log
        .first()
        .is_none_or(|entry| entry.event != "SAGA_STARTED")
    {
        return Some("the log does not begin with SAGA_STARTED".to_owned());
    }
    match log.iter().try_fold(State::default(), State::after) {
        Err(why) => Some(why),
        Ok(folded) => differs(&folded, state),
    }
}

/// What is wrong with the rest of a log, from entry `first` on. Only sagas that have ended lose their logs, so the rest
/// tells all that happened after the end.
fn problem_of_rest(log: &[Entry], first: i32, state: &State, version: i32) -> Option<String> {
    if log.is_empty() {
        let has_ended = matches!(state.status.as_str(), "COMPLETED" | "COMPENSATED");
        return (!has_ended).then(|| format!("it is {}, but its log was dropped", state.status));
    }
    if let Some(problem) = gap(log, first).or_else(|| end(log, version)) {
        return Some(problem);
    }
    match log.iter().try_fold(State::default(), State::after) {
        Err(why) => Some(why),
        // Nothing but late replies: they change nothing.
        Ok(folded) if folded.status.is_empty() => None,
        Ok(folded) => differs(&folded, state),
    }
}

fn gap(log: &[Entry], first: i32) -> Option<String> {
    let gap = (first..).zip(log).find(|(seq, entry)| *seq != entry.seq);
    gap.map(|(expected, entry)| {
        let seq = entry.seq;
        format!("the log has entry {seq} where entry {expected} should be")
    })
}

fn end(log: &[Entry], version: i32) -> Option<String> {
    let last = log.last().map_or(0, |entry| entry.seq);
    (last != version)
        .then(|| format!("the log ends with entry {last}, but the saga's version is {version}"))
}

fn differs(folded: &State, state: &State) -> Option<String> {
    (folded != state).then(|| {
        let (folded, state) = (shown(folded), shown(state));
        format!("the log adds up to {folded}, but the saga's row says {state}")
    })
}

fn shown(state: &State) -> String {
    let mut text = state.status.clone();
    if let Some(step) = &state.step {
        text += &format!(" at {step}, attempt {}", state.attempt);
    }
    if let Some(reason) = &state.reason {
        text += &format!(" for {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(entries: &[(&str, Option<&str>, Value)]) -> Vec<Entry> {
        let entry = |(seq, (event, step, details)): (i32, &(&str, Option<&str>, Value))| Entry {
            seq,
            event: (*event).to_owned(),
            step: step.map(str::to_owned),
            details: details.clone(),
        };
        (1..).zip(entries).map(entry).collect()
    }

    fn state(status: &str, step: Option<&str>, attempt: i64, reason: Option<&str>) -> State {
        State {
            status: status.to_owned(),
            step: step.map(str::to_owned),
            attempt,
            reason: reason.map(str::to_owned),
        }
    }

    /// Silent, undone in vain, parked, retried.
    fn long() -> Vec<Entry> {
        let payment = Some("payment");
        log(&[
            ("SAGA_STARTED", None, json!({})),
            ("ACTION_SENT", payment, json!({"attempt": 1})),
            ("ACTION_TIMED_OUT", payment, json!({"attempt": 1})),
            ("ACTION_SENT", payment, json!({"attempt": 2})),
            ("ACTION_TIMED_OUT", payment, json!({"attempt": 2})),
            ("COMPENSATION_STARTED", None, json!({"reason": "TIMEOUT"})),
            ("COMPENSATION_SENT", payment, json!({"attempt": 1})),
            ("COMPENSATION_TIMED_OUT", payment, json!({"attempt": 1})),
            ("SAGA_PARKED", payment, json!({})),
            ("RETRY_REQUESTED", payment, json!({"note": "again"})),
            ("COMPENSATION_SENT", payment, json!({"attempt": 1})),
            ("STEP_UNDONE", payment, json!({})),
            ("SAGA_COMPENSATED", None, json!({})),
        ])
    }

    #[test]
    fn every_prefix_adds_up() {
        let payment = Some("payment");
        let timeout = Some("TIMEOUT");
        for (length, expected) in [
            (2, state("RUNNING", payment, 1, None)),
            (4, state("RUNNING", payment, 2, None)),
            (7, state("COMPENSATING", payment, 1, timeout)),
            (9, state("PARKED", payment, 0, timeout)),
            (11, state("COMPENSATING", payment, 1, timeout)),
            (13, state("COMPENSATED", None, 0, timeout)),
        ] {
            let log = &long()[..length];
            let version = i32::try_from(length).unwrap();
            assert_eq!(
                problem(log, &expected, version, false),
                None,
                "{length} entries"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let done = state("COMPENSATED", None, 0, Some("TIMEOUT"));
        let found = |log: &[Entry], state: &State, version| {
            problem(log, state, version, false).unwrap_or_default()
        };
        let mut gap = long();
        gap.remove(4);
        assert!(found(&gap, &done, 13).contains("entry 6 where entry 5"));
        assert!(found(&long(), &done, 14).contains("version is 14"));
        assert!(found(&long()[..12], &done, 13).contains("ends with entry 12"));
        assert!(found(&[], &done, 0).contains("SAGA_STARTED"));
        let other = state("COMPENSATED", None, 0, Some("OPERATOR"));
        assert!(found(&long(), &other, 13).contains("row says COMPENSATED for OPERATOR"));
        let mut unknown = long();
        unknown[12].event = "SAGA_FORGOTTEN".to_owned();
        assert!(found(&unknown, &done, 13).contains("SAGA_FORGOTTEN"));
    }

    #[test]
    fn what_is_left_of_a_dropped_log_must_be_right() {
        let found = |log: &[Entry], state: &State, version| problem(log, state, version, true);
        let done = state("COMPENSATED", None, 0, Some("TIMEOUT"));
        assert_eq!(found(&[], &done, 13), None);
        assert_eq!(found(&long()[5..], &done, 13), None);
        assert_eq!(found(&long(), &done, 13), None);
        let open = state("COMPENSATING", Some("payment"), 1, Some("TIMEOUT"));
        assert!(found(&[], &open, 7).unwrap().contains("was dropped"));
        assert!(
            found(&long()[5..12], &done, 13)
                .unwrap()
                .contains("ends with entry 12")
        );
        let mut gap = long()[5..].to_vec();
        gap.remove(2);
        assert!(
            found(&gap, &done, 13)
                .unwrap()
                .contains("entry 9 where entry 8")
        );
        let other = state("COMPENSATED", None, 0, Some("OPERATOR"));
        assert!(
            found(&long()[5..], &other, 13)
                .unwrap()
                .contains("adds up to")
        );
        assert!(problem(&[], &done, 13, false).is_some());
    }
}
