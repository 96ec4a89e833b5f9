//! The saga log: what it adds up to, and what it refuses to.

use common::contract::Reason;
use saga::{Definition, Entry, Intervention, State, Status, Table, What};
use serde_json::json;

use crate::trip::{Trip, book_flight, issue_ticket};

const BOOK_TRIP: Definition<Trip> =
    Definition::new("book_trip", 1, &[book_flight(), issue_ticket()]);
const WHY: Reason = Reason::new("WHY");

fn table() -> &'static dyn Table {
    &BOOK_TRIP
}

fn by() -> Intervention {
    Intervention {
        note: Some("the bank says so".to_owned()),
        actor: Some("ada".to_owned()),
        idempotency_key: Some("k1".to_owned()),
    }
}

/// An entry of each kind.
fn every_entry() -> Vec<Entry> {
    let flight = |what| Entry::of("flight", what);
    let reason = WHY;
    let note = Some("please".to_owned());
    vec![
        Entry::whole(What::SagaStarted {}),
        flight(What::ActionSent { attempt: 1 }),
        flight(What::StepSucceeded {}),
        flight(What::StepRejected {
            reason,
            detail: note.clone(),
        }),
        flight(What::ActionTimedOut { attempt: 3 }),
        Entry::whole(What::CancelRequested {
            reason,
            by: Intervention::of(note.clone()),
        }),
        Entry::whole(What::CompensationStarted { reason }),
        flight(What::CompensationSent { attempt: 1 }),
        flight(What::CompensationTimedOut { attempt: 1 }),
        flight(What::StepUndone {}),
        Entry::whole(What::SagaExpired {}),
        flight(What::LateReply {
            reply: "flight.booked.v1".to_owned(),
        }),
        Entry::whole(What::SagaCompleted {}),
        Entry::whole(What::SagaCompensated {}),
        flight(What::SagaParked {}),
        flight(What::SagaQuarantined {
            reason: Some(reason),
            problem: "nonsense".to_owned(),
        }),
        flight(What::RetryRequested {
            by: Intervention::of(note),
        }),
        flight(What::SkipRequested { by: by() }),
        Entry::whole(What::CompletionForced { by: by() }),
        Entry::whole(What::CompensationForced { by: by() }),
        flight(What::Rescheduled {
            delay_seconds: 600,
            by: by(),
        }),
    ]
}

/// A state of each kind, behind the flight and before the ticket.
fn every_state() -> [State; 6] {
    let step = "flight";
    [
        State::Running { step, attempt: 1 },
        State::Completed,
        State::Compensating {
            step,
            attempt: 1,
            reason: WHY,
        },
        State::Compensated { reason: WHY },
        State::Parked { step, reason: None },
        State::Parked {
            step,
            reason: Some(WHY),
        },
    ]
}

#[test]
fn entries_survive_their_columns() {
    for entry in every_entry() {
        let (event, details) = entry.to_columns();
        let details = serde_json::from_str(&details).unwrap();
        let read = Entry::from_columns(table(), &event, entry.step, &details).unwrap();
        assert_eq!(read, entry);
    }
    let start = Entry::whole(What::SagaStarted {}).to_columns();
    assert_eq!(start, ("SAGA_STARTED".to_owned(), "{}".to_owned()));
}

#[test]
fn an_entry_that_this_program_does_not_know_is_unreadable() {
    let read = |event, step, details| Entry::from_columns(table(), event, step, &details);
    let sent = json!({ "attempt": 1 });
    assert!(read("ACTION_SENT", Some("flight"), sent.clone()).is_ok());
    let unknown = [
        read("SAGA_TELEPORTED", None, json!({})),
        read("ACTION_SENT", Some("cruise"), sent),
        read("ACTION_SENT", Some("flight"), json!({})),
        read("ACTION_SENT", Some("flight"), json!({ "attempt": -1 })),
        read(
            "STEP_REJECTED",
            Some("flight"),
            json!({ "reason": "not a reason" }),
        ),
    ];
    for entry in unknown {
        let error = entry.unwrap_err().to_string();
        assert!(error.starts_with("unreadable saga log entry"), "{error}");
    }
}

#[test]
fn an_empty_log_has_no_state() {
    assert_eq!(State::fold(table(), &[]), Ok(None));
}

#[test]
fn a_log_begins_with_the_beginning() {
    for entry in every_entry().into_iter().skip(1) {
        assert!(State::fold(table(), &[entry]).is_err());
    }
}

#[test]
fn a_log_that_begins_twice_is_refused() {
    let entries = every_entry();
    let (begins, sent) = (&entries[0], &entries[1]);
    let folded = State::fold(table(), [begins, sent, begins]);
    let error = folded.unwrap_err().to_string();
    assert!(error.contains("cannot follow on"), "{error}");
}

/// In the order of [`every_state`]: whether an entry of each kind can follow.
#[test]
fn an_entry_follows_only_where_it_fits() {
    const FITS: [(&str, &str); 17] = [
        ("SAGA_STARTED", "------"),
        ("ACTION_SENT", "x---x-"),
        ("STEP_SUCCEEDED", "x---x-"),
        ("STEP_REJECTED", "x---x-"),
        ("ACTION_TIMED_OUT", "x-----"),
        ("CANCEL_REQUESTED", "xx--x-"),
        ("COMPENSATION_STARTED", "xx--x-"),
        ("COMPENSATION_SENT", "--x--x"),
        ("COMPENSATION_TIMED_OUT", "--x---"),
        ("STEP_UNDONE", "--x--x"),
        ("SAGA_EXPIRED", "x-----"),
        ("LATE_REPLY", "xxxxxx"),
        ("SAGA_COMPLETED", "x---x-"),
        ("SAGA_COMPENSATED", "--x--x"),
        ("SAGA_PARKED", "x-x---"),
        ("SAGA_QUARANTINED", "xxxxxx"),
        ("RETRY_REQUESTED", "----xx"),
    ];
    for (entry, (event, expected)) in every_entry().iter().zip(FITS) {
        assert_eq!(entry.to_columns().0, event);
        let states = every_state().into_iter();
        let fits = states.map(|state| state.after(table(), entry).is_ok());
        let fits: String = fits.map(|fits| if fits { 'x' } else { '-' }).collect();
        assert_eq!(fits, expected, "{event}");
    }
}

#[test]
fn an_entry_that_needs_a_step_is_refused_without_one() {
    let sent = Entry::whole(What::ActionSent { attempt: 1 });
    let quarantined = Entry::whole(What::SagaQuarantined {
        reason: None,
        problem: "nonsense".to_owned(),
    });
    // Where the saga is at a step, that is the one.
    let running = every_state()[0];
    assert!(running.after(table(), &sent).is_ok());
    assert!(State::Completed.after(table(), &quarantined).is_err());
}

#[test]
fn states_survive_their_columns() {
    for state in every_state() {
        let read = State::from_columns(
            table(),
            state.status(),
            state.step(),
            state.attempt(),
            state.reason(),
        );
        assert_eq!(read, Some(state));
    }
}

#[test]
fn columns_that_do_not_fit_together_are_no_state() {
    let read = |status, step, reason| State::from_columns(table(), status, step, 1, reason);
    let nonsense = [
        read(Status::Running, None, None),
        read(Status::Running, Some("cruise"), None),
        read(Status::Running, Some("flight"), Some(WHY)),
        read(Status::Completed, Some("flight"), None),
        read(Status::Compensating, Some("flight"), None),
        read(Status::Compensated, None, None),
        read(Status::Parked, None, Some(WHY)),
        // Nothing undoes it, so nothing before it can be undone any more.
        read(Status::Compensating, Some("ticket"), Some(WHY)),
        read(Status::Parked, Some("ticket"), Some(WHY)),
    ];
    assert_eq!(nonsense, [None; 9]);
}
