//! The sagas of an order, and what must be true of each and of all together.

use anyhow::Result;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::types::chrono::{DateTime, Utc};
use uuid::Uuid;

use super::fold::{self, Entry, State};
use super::report::Rule;

/// The type of the saga that places an order. Every order has exactly one.
const CREATE: &str = "create_order";
/// The types of the sagas that may follow, and whether an order may have several of one type, also at once.
const FOLLOWING: [(&str, bool); 2] = [("ship_order", false), ("return_order", true)];

/// A saga as it is in `order_db`.
#[derive(Debug)]
pub(super) struct Saga {
    pub(super) id: Uuid,
    pub(super) state: State,
    pub(super) log: Vec<Entry>,
    /// An operator has skipped a step of it, or forced its end.
    pub(super) is_overruled: bool,
    kind: String,
    version: i32,
    /// Its log may have been dropped: it began on a day that no partition is kept of.
    log_is_dropped: bool,
    deadline_at: Option<DateTime<Utc>>,
    is_overdue: bool,
}

impl Saga {
    /// The saga of a row, if there is one in it.
    pub(super) fn read(row: &PgRow) -> Result<Option<Self>> {
        let Some(id) = row.try_get("saga")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            id,
            kind: row.try_get("saga_type")?,
            state: State {
                status: row.try_get("saga_status")?,
                step: row.try_get("current_step")?,
                attempt: row.try_get::<i32, _>("attempt")?.into(),
                reason: row.try_get("reason")?,
            },
            log: row.try_get::<Json<_>, _>("log")?.0,
            is_overruled: row.try_get("overruled")?,
            version: row.try_get("version")?,
            log_is_dropped: row.try_get("log_is_dropped")?,
            deadline_at: row.try_get("deadline_at")?,
            is_overdue: row.try_get("is_overdue")?,
        }))
    }

    /// What is wrong with it alone.
    fn judge(&self) -> impl Iterator<Item = (Rule, String)> {
        let log = fold::problem(&self.log, &self.state, self.version, self.log_is_dropped);
        let log = log.map(|problem| (Rule::Log, problem));
        let late = self.late().map(|problem| (Rule::Deadline, problem));
        log.into_iter().chain(late)
    }

    fn late(&self) -> Option<String> {
        let (kind, status) = (&self.kind, &self.state.status);
        match self.deadline_at {
            None if self.state.is_open() => {
                Some(format!("its saga {kind} is {status} without a deadline"))
            }
            Some(_) if !self.state.is_open() => {
                Some(format!("its saga {kind} is {status} with a deadline"))
            }
            Some(deadline) if self.is_overdue => Some(format!(
                "its saga {kind} is {status}, and nobody has looked at it since its deadline at {}",
                deadline.format("%F %T")
            )),
            _ => None,
        }
    }

    /// Whether it may still change the order.
    fn is_unfinished(&self) -> bool {
        self.state.is_open() || self.state.status == "PARKED"
    }
}

/// Whether a saga of this type has completed.
pub(super) fn has_completed(sagas: &[Saga], kind: &str) -> bool {
    let mut sagas = sagas.iter().filter(|saga| saga.kind == kind);
    sagas.any(|saga| saga.state.status == "COMPLETED")
}

/// The status of the saga of this type with this id.
pub(super) fn status_of<'s>(sagas: &'s [Saga], kind: &str, id: Uuid) -> Option<&'s str> {
    let mut sagas = sagas.iter().filter(|saga| saga.kind == kind);
    let found = sagas.find(|saga| saga.id == id)?;
    Some(found.state.status.as_str())
}

/// The ids of the sagas of this type.
pub(super) fn ids_of(sagas: &[Saga], kind: &str) -> impl Iterator<Item = Uuid> {
    let sagas = sagas.iter().filter(move |saga| saga.kind == kind);
    sagas.map(|saga| saga.id)
}

/// The saga that placed the order, which is the one that the order names; or why there is no such one.
pub(super) fn placing(sagas: &[Saga], named: Uuid) -> Result<&Saga, (Rule, String)> {
    let placing: Vec<_> = sagas.iter().filter(|saga| saga.kind == CREATE).collect();
    let problem = match placing.as_slice() {
        [saga] if saga.id == named => return Ok(saga),
        [] => format!("it has no saga {CREATE}"),
        [other] => format!(
            "it names saga {named}, but its saga {CREATE} is {}",
            other.id
        ),
        several => {
            let ids: Vec<_> = several.iter().map(|saga| saga.id.to_string()).collect();
            format!("it has {} sagas {CREATE}: {}", ids.len(), ids.join(", "))
        }
    };
    Err((Rule::OneSaga, problem))
}

/// What is wrong with the sagas of an order, each by itself and all together.
pub(super) fn judge(sagas: &[Saga]) -> Vec<(Rule, String)> {
    let mut found: Vec<_> = sagas.iter().flat_map(Saga::judge).collect();
    let strange = sagas
        .iter()
        .filter(|saga| saga.kind != CREATE && FOLLOWING.iter().all(|(kind, _)| *kind != saga.kind));
    found.extend(strange.map(|saga| {
        let text = format!(
            "its saga {} is a {}, which nobody knows",
            saga.id, saga.kind
        );
        (Rule::OneSaga, text)
    }));
    for (kind, _) in FOLLOWING.iter().filter(|(_, several)| !several) {
        let count = sagas.iter().filter(|saga| saga.kind == *kind).count();
        if count > 1 {
            found.push((Rule::OneSaga, format!("it has {count} sagas {kind}")));
        }
    }
    found.extend(at_once(sagas).map(|problem| (Rule::OneSaga, problem)));
    found
}

/// Sagas that exclude each other and are unfinished at once: any two, but for several of one type that may be.
fn at_once(sagas: &[Saga]) -> Option<String> {
    let unfinished: Vec<_> = sagas.iter().filter(|saga| saga.is_unfinished()).collect();
    let first = unfinished.first()?;
    let may_be_several = FOLLOWING.contains(&(first.kind.as_str(), true));
    let all_alike = unfinished.iter().all(|saga| saga.kind == first.kind);
    if unfinished.len() == 1 || (all_alike && may_be_several) {
        return None;
    }
    let kinds: Vec<_> = unfinished.iter().map(|saga| saga.kind.as_str()).collect();
    Some(format!(
        "sagas that exclude each other are open at once: {}",
        kinds.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saga whose own books are right: completed, or under way with a deadline.
    fn saga(kind: &str, is_open: bool) -> Saga {
        let step = Some("a".to_owned());
        let entry = |seq, event: &str, step| Entry {
            seq,
            event: event.to_owned(),
            step,
            details: serde_json::json!({ "attempt": 1 }),
        };
        let mut log = vec![
            entry(1, "SAGA_STARTED", None),
            entry(2, "ACTION_SENT", step.clone()),
        ];
        let mut state = State {
            status: "RUNNING".to_owned(),
            step,
            attempt: 1,
            reason: None,
        };
        if !is_open {
            log.push(entry(3, "SAGA_COMPLETED", None));
            (state.status, state.step, state.attempt) = ("COMPLETED".to_owned(), None, 0);
        }
        Saga {
            id: Uuid::now_v7(),
            kind: kind.to_owned(),
            version: i32::try_from(log.len()).unwrap(),
            is_overruled: false,
            state,
            log,
            log_is_dropped: false,
            deadline_at: is_open.then(Utc::now),
            is_overdue: false,
        }
    }

    fn found(sagas: &[(&str, bool)]) -> String {
        let sagas: Vec<_> = sagas.iter().map(|(kind, open)| saga(kind, *open)).collect();
        let problems = judge(&sagas);
        assert!(problems.iter().all(|(rule, _)| *rule == Rule::OneSaga));
        let texts: Vec<_> = problems.into_iter().map(|(_, text)| text).collect();
        texts.join("; ")
    }

    #[test]
    fn sagas_may_follow_each_other() {
        let (create, ship, back) = ("create_order", "ship_order", "return_order");
        for fine in [
            &[(create, true)][..],
            &[(create, false), (ship, true)],
            &[(create, false), (ship, false), (back, false), (back, true)],
            &[(create, false), (ship, false), (back, true), (back, true)],
        ] {
            assert_eq!(found(fine), "", "{fine:?}");
        }
    }

    #[test]
    fn sagas_that_exclude_each_other_are_found() {
        let (create, ship, back) = ("create_order", "ship_order", "return_order");
        let both = "open at once: ship_order, return_order";
        assert!(found(&[(create, false), (ship, true), (back, true)]).ends_with(both));
        let both = "open at once: create_order, ship_order";
        assert!(found(&[(create, true), (ship, true)]).ends_with(both));
        let two = "it has 2 sagas ship_order";
        assert_eq!(found(&[(create, false), (ship, false), (ship, false)]), two);
        let strange = "is a lose_order, which nobody knows";
        assert!(found(&[(create, false), ("lose_order", false)]).ends_with(strange));
    }

    #[test]
    fn an_order_is_placed_by_one_saga() {
        let (one, other) = (saga(CREATE, false), saga(CREATE, false));
        let (id, other_id) = (one.id, other.id);
        let why = |sagas: &[Saga], named| placing(sagas, named).map(|saga| saga.id);
        let both = [one, other];
        assert_eq!(why(&both[..1], id), Ok(id));
        let wrong = [
            (why(&both[..1], other_id), "it names saga"),
            (why(&both, id), "it has 2 sagas create_order"),
            (why(&[], id), "it has no saga create_order"),
        ];
        for (found, words) in wrong {
            let (rule, text) = found.unwrap_err();
            assert_eq!(rule, Rule::OneSaga);
            assert!(text.starts_with(words), "{text}");
        }
    }
}
