//! What becomes of a saga that nobody answers.

use std::time::Duration;

use common::contract::Reason;
use saga::{
    Definition, Event, State, Table,
    outlook::{Then, outlook},
    transition,
};

use crate::trip::{Trip, book_flight, issue_ticket};

const ONE_WAY: Definition<Trip> = Definition::new("book_trip", 1, &[book_flight(), issue_ticket()])
    .expires_after(Duration::from_secs(60));

#[test]
fn it_says_what_the_decisions_turn_out_to_be() {
    let table: &dyn Table = &ONE_WAY;
    let mut states = vec![State::begin(table)];
    for step in ["flight", "ticket"] {
        states.push(State::Running { step, attempt: 1 });
    }
    let reason = Reason::TIMEOUT;
    states.push(State::Compensating {
        step: "flight",
        attempt: 2,
        reason,
    });
    for begun in states {
        for expires in [false, true] {
            let said = outlook(table, begun, expires).unwrap();
            // And this is what happens.
            let (mut state, mut again) = (begun, 0);
            let mut event = match (begun, expires) {
                (State::Running { .. }, true) => Event::Expired,
                _ => Event::DeadlinePassed,
            };
            let next = transition(table, state, &event).unwrap();
            assert_eq!(next.log, said.next);
            let is_on = |state: &State| (state.step(), state.reason());
            loop {
                let next = transition(table, state, &event).unwrap().state;
                if is_on(&next) != is_on(&begun) || next.attempt() <= state.attempt() {
                    state = next;
                    break;
                }
                (state, again) = (next, again + 1);
                event = Event::DeadlinePassed;
            }
            assert_eq!(again, said.again, "{begun:?}");
            let mut undone = Vec::new();
            while let State::Compensating { step, .. } = state {
                undone.push(step);
                state = transition(table, state, &Event::Undone(step))
                    .unwrap()
                    .state;
            }
            let then = match state {
                State::Parked { .. } => Then::Park,
                _ => Then::Undo(undone),
            };
            assert_eq!(then, said.then, "{begun:?}");
        }
    }
    assert_eq!(outlook(table, State::Completed, false), None);
}
