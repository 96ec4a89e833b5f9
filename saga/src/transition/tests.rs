//! The decision, as a table and as properties.

use common::contract::{inventory::OUT_OF_STOCK, payment::PAYMENT_DECLINED};
use proptest::prelude::*;

use super::*;
use crate::saga::create_order::CREATE_ORDER;

const PAYMENT: &str = "payment";
const INVENTORY: &str = "inventory";

/// An event in a state, and what the log then says.
fn decide(state: State, event: &Event) -> Transition {
    transition(&CREATE_ORDER, state, event).unwrap()
}

fn running(step: &'static str, attempt: u32) -> State {
    State::Running { step, attempt }
}

fn compensating(step: &'static str, attempt: u32, reason: Reason) -> State {
    State::Compensating {
        step,
        attempt,
        reason,
    }
}

fn rejected(step: &'static str, reason: Reason) -> Event {
    Event::Rejected {
        step,
        reason,
        detail: None,
    }
}

fn cancel() -> Event {
    Event::CancelRequested {
        reason: Reason::CUSTOMER_REQUEST,
        note: None,
    }
}

fn retry() -> Event {
    Event::RetryRequested { note: None }
}

/// What is sent, in a word: `payment`, or `undo payment`.
fn sent(transition: &Transition) -> String {
    match transition.send {
        Some(Send::Action(step)) => step.name.to_owned(),
        Some(Send::Compensation(step, _)) => format!("undo {}", step.name),
        None => String::new(),
    }
}

#[test]
fn every_event_in_every_state() {
    use Event::{DeadlinePassed, Succeeded, Undone};
    let completed = State::Completed;
    let compensated = State::Compensated {
        reason: OUT_OF_STOCK,
    };
    let undoing_payment = compensating(PAYMENT, 1, OUT_OF_STOCK);
    let undoing_inventory = compensating(INVENTORY, 1, Reason::CUSTOMER_REQUEST);
    let parked = State::Parked {
        step: PAYMENT,
        reason: OUT_OF_STOCK,
    };
    // given, when, then, command
    let table = [
        (
            running(PAYMENT, 1),
            Succeeded(PAYMENT),
            running(INVENTORY, 1),
            "inventory",
        ),
        (running(INVENTORY, 2), Succeeded(INVENTORY), completed, ""),
        (
            running(PAYMENT, 1),
            rejected(PAYMENT, PAYMENT_DECLINED),
            State::Compensated {
                reason: PAYMENT_DECLINED,
            },
            "",
        ),
        (
            running(INVENTORY, 1),
            rejected(INVENTORY, OUT_OF_STOCK),
            undoing_payment,
            "undo payment",
        ),
        (
            running(PAYMENT, 1),
            DeadlinePassed,
            running(PAYMENT, 2),
            "payment",
        ),
        (
            running(PAYMENT, 3),
            DeadlinePassed,
            compensating(PAYMENT, 1, Reason::TIMEOUT),
            "undo payment",
        ),
        (
            running(INVENTORY, 3),
            DeadlinePassed,
            compensating(INVENTORY, 1, Reason::TIMEOUT),
            "undo inventory",
        ),
        (
            running(PAYMENT, 1),
            cancel(),
            compensating(PAYMENT, 1, Reason::CUSTOMER_REQUEST),
            "undo payment",
        ),
        (
            running(INVENTORY, 1),
            cancel(),
            undoing_inventory,
            "undo inventory",
        ),
        (completed, cancel(), undoing_inventory, "undo inventory"),
        (
            undoing_inventory,
            Undone(INVENTORY),
            compensating(PAYMENT, 1, Reason::CUSTOMER_REQUEST),
            "undo payment",
        ),
        (undoing_payment, Undone(PAYMENT), compensated, ""),
        (
            undoing_payment,
            DeadlinePassed,
            compensating(PAYMENT, 2, OUT_OF_STOCK),
            "undo payment",
        ),
        (
            compensating(PAYMENT, 10, OUT_OF_STOCK),
            DeadlinePassed,
            parked,
            "",
        ),
        (parked, retry(), undoing_payment, "undo payment"),
        (parked, Undone(PAYMENT), compensated, ""),
        // Too late, or twice: noted, and nothing changes.
        (
            running(INVENTORY, 1),
            Succeeded(PAYMENT),
            running(INVENTORY, 1),
            "",
        ),
        (undoing_payment, Succeeded(PAYMENT), undoing_payment, ""),
        (
            undoing_payment,
            rejected(PAYMENT, PAYMENT_DECLINED),
            undoing_payment,
            "",
        ),
        (undoing_payment, Undone(INVENTORY), undoing_payment, ""),
        (compensated, Succeeded(INVENTORY), compensated, ""),
        (compensated, Undone(PAYMENT), compensated, ""),
        (completed, Succeeded(INVENTORY), completed, ""),
        (parked, Succeeded(PAYMENT), parked, ""),
        (undoing_payment, cancel(), undoing_payment, ""),
        (compensated, cancel(), compensated, ""),
        (parked, cancel(), parked, ""),
        (completed, DeadlinePassed, completed, ""),
        (compensated, DeadlinePassed, compensated, ""),
        (parked, DeadlinePassed, parked, ""),
    ];
    for (given, when, then, command) in table {
        let transition = decide(given, &when);
        assert_eq!(transition.state, then, "{given:?} {when:?}");
        assert_eq!(sent(&transition), command, "{given:?} {when:?}");
    }
    for state in [running(PAYMENT, 1), completed, undoing_payment, compensated] {
        assert!(
            transition(&CREATE_ORDER, state, &retry()).is_err(),
            "{state:?}"
        );
    }
}

#[test]
fn a_late_reply_is_noted_and_leaves_the_deadline_alone() {
    let state = compensating(PAYMENT, 1, Reason::TIMEOUT);
    let transition = decide(state, &Event::Succeeded(PAYMENT));
    let reply = "payment.processed.v1".to_owned();
    assert_eq!(
        transition.log,
        [Entry::of(PAYMENT, What::LateReply { reply })]
    );
    assert_eq!(transition.deadline, Deadline::Unchanged);
}

#[test]
fn compensations_wait_longer_each_time_up_to_a_limit() {
    let deadline = |attempt| {
        decide(
            compensating(PAYMENT, attempt, Reason::TIMEOUT),
            &Event::DeadlinePassed,
        )
        .deadline
    };
    let seconds = |s| Deadline::In(Duration::from_secs(s));
    assert_eq!(
        [deadline(1), deadline(2), deadline(9)],
        [seconds(60), seconds(120), seconds(300)]
    );
}

#[test]
fn entries_survive_their_columns() {
    let mut log = start(&CREATE_ORDER).log;
    let reason = OUT_OF_STOCK;
    let detail = Some("prod-1".to_owned());
    log.push(Entry::of(INVENTORY, What::StepRejected { reason, detail }));
    log.push(Entry::whole(What::CompensationStarted { reason }));
    for entry in log {
        let (event, details) = entry.to_columns();
        let details = serde_json::from_str(&details).unwrap();
        let read = Entry::from_columns(&CREATE_ORDER, &event, entry.step, &details).unwrap();
        assert_eq!(read, entry);
    }
    let start = Entry::whole(What::SagaStarted {}).to_columns();
    assert_eq!(start, ("SAGA_STARTED".to_owned(), "{}".to_owned()));
    let unknown = Entry::from_columns(
        &CREATE_ORDER,
        "SAGA_TELEPORTED",
        None,
        &serde_json::json!({}),
    );
    assert!(unknown.is_err());
}

fn any_event() -> impl Strategy<Value = Event> {
    let step = || prop_oneof![Just(PAYMENT), Just(INVENTORY)];
    prop_oneof![
        4 => step().prop_map(Event::Succeeded),
        2 => step().prop_map(|step| rejected(step, OUT_OF_STOCK)),
        3 => step().prop_map(Event::Undone),
        3 => Just(Event::DeadlinePassed),
        1 => Just(cancel()),
        1 => Just(retry()),
    ]
}

proptest! {
    /// Whatever happens, in any order, repeated or late.
    #[test]
    fn the_state_is_the_fold_of_the_log(events in prop::collection::vec(any_event(), 0..60)) {
        let first = start(&CREATE_ORDER);
        let mut log = first.log;
        let mut state = first.state;
        for event in &events {
            if let Ok(transition) = transition(&CREATE_ORDER, state, event) {
                log.extend(transition.log);
                state = transition.state;
            }
            prop_assert_eq!(State::fold(&CREATE_ORDER, &log), Some(state));
        }
    }

    /// An open saga gets a deadline with every command, so that it can never be stuck; others have none.
    #[test]
    fn every_open_saga_has_a_deadline(events in prop::collection::vec(any_event(), 0..60)) {
        let first = start(&CREATE_ORDER);
        let mut armed = matches!(first.deadline, Deadline::In(_));
        let mut state = first.state;
        for event in &events {
            if let Ok(transition) = transition(&CREATE_ORDER, state, event) {
                armed = match transition.deadline {
                    Deadline::In(_) => true,
                    Deadline::Unchanged => armed,
                    Deadline::None => false,
                };
                prop_assert_eq!(transition.send.is_some(), matches!(transition.deadline, Deadline::In(_)));
                state = transition.state;
            }
            prop_assert_eq!(armed, state.is_open());
        }
    }

    /// When no reply comes any more, deadlines alone bring every saga to an end or to an operator.
    #[test]
    fn silence_ends_too(events in prop::collection::vec(any_event(), 0..30)) {
        let mut state = start(&CREATE_ORDER).state;
        for event in &events {
            if let Ok(transition) = transition(&CREATE_ORDER, state, event) {
                state = transition.state;
            }
        }
        for _ in 0..50 {
            state = decide(state, &Event::DeadlinePassed).state;
        }
        prop_assert!(!state.is_open());
    }

    /// A step is undone if its command was ever sent and it was not rejected; each before the one in front of it.
    #[test]
    fn what_was_sent_is_undone_unless_it_was_refused(events in prop::collection::vec(any_event(), 0..60)) {
        let first = start(&CREATE_ORDER);
        let (mut log, mut state) = (first.log, first.state);
        for event in &events {
            if let Ok(transition) = transition(&CREATE_ORDER, state, event) {
                log.extend(transition.log);
                state = transition.state;
            }
        }
        if matches!(state, State::Compensated { .. }) {
            let about = |step: &'static str, is: fn(&What) -> bool| {
                log.iter().rposition(|entry| entry.step == Some(step) && is(&entry.what))
            };
            let is_sent = |what: &What| matches!(what, What::ActionSent { .. });
            let is_refused = |what: &What| matches!(what, What::StepRejected { .. });
            let is_undone = |what: &What| matches!(what, What::StepUndone {});
            for step in [PAYMENT, INVENTORY] {
                let left_something = about(step, is_sent).is_some() && about(step, is_refused).is_none();
                prop_assert_eq!(left_something, about(step, is_undone).is_some());
            }
            if let (Some(inventory), Some(payment)) = (about(INVENTORY, is_undone), about(PAYMENT, is_undone)) {
                prop_assert!(inventory < payment);
            }
        }
    }
}
