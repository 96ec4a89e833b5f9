//! Which definitions can be together in one program, and what they mean to each other.

use saga::{Action, Conflict, Definition, Registry, Step};

use crate::trip::{
    BookFlight, FlightBooked, FlightRefused, Trip, book_flight, book_room, issue_ticket,
};

const FLY: Definition<Trip> = Definition::new("fly", 1, &[book_flight()]);
const FLY_V2: Definition<Trip> = Definition::new("fly", 2, &[book_flight(), book_room()]);
const BUY: Definition<Trip> = Definition::new("buy", 1, &[issue_ticket()]).excludes(&["fly"]);
const STAY: Definition<Trip> = Definition::new("stay", 1, &[book_room()]);

fn command(trip: &Trip) -> BookFlight {
    trip.into()
}

#[test]
fn a_definition_is_found_by_its_name_and_version() {
    let registry = Registry::new(&[&FLY, &FLY_V2, &STAY]).unwrap();
    let steps = |name, version| registry.find(name, version).map(|found| found.length());
    assert_eq!(steps("fly", 1), Some(1));
    assert_eq!(steps("fly", 2), Some(2));
    assert_eq!(steps("fly", 3), None);
    assert_eq!(steps("sail", 1), None);
    assert_eq!(registry.definitions().count(), 3);
}

#[test]
fn two_definitions_of_one_name_and_version_are_a_conflict() {
    let conflict = Registry::new(&[&FLY, &STAY, &FLY]).unwrap_err();
    assert_eq!(conflict, Conflict::Twice("fly", 1));
}

#[test]
fn a_rival_that_does_not_exist_is_a_conflict() {
    let conflict = Registry::new(&[&BUY, &STAY]).unwrap_err();
    assert_eq!(conflict, Conflict::Unknown("buy", "fly"));
}

#[test]
fn a_reply_that_means_two_things_to_steps_of_one_name_is_a_conflict() {
    // What is a success there is a refusal here.
    const TURNED: Definition<Trip> = Definition::new(
        "turned",
        1,
        &[Step::new(
            "flight",
            Action::of::<BookFlight, crate::trip::FlightCancelled, FlightRefused>(&command),
        )],
    );
    let conflict = Registry::new(&[&FLY, &TURNED]).unwrap_err();
    let reply = "flight.cancelled.v1";
    assert_eq!(
        conflict,
        Conflict::Ambiguous {
            step: "flight",
            reply
        }
    );
}

#[test]
fn a_reply_may_mean_two_things_to_steps_of_other_names() {
    const ELSEWHERE: Definition<Trip> = Definition::new(
        "elsewhere",
        1,
        &[Step::new(
            "return flight",
            Action::of::<BookFlight, FlightBooked, FlightRefused>(&command),
        )],
    );
    assert!(Registry::new(&[&FLY, &ELSEWHERE]).is_ok());
}

#[test]
fn rivals_exclude_each_other_whoever_says_so() {
    let registry = Registry::new(&[&FLY, &BUY, &STAY]).unwrap();
    assert_eq!(registry.rivals(&BUY), ["fly"]);
    assert_eq!(registry.rivals(&FLY), ["buy"]);
    assert!(registry.rivals(&STAY).is_empty());
}

#[test]
fn rivals_that_both_say_so_are_named_once() {
    const FLY_TOO: Definition<Trip> =
        Definition::new("fly", 1, &[book_flight()]).excludes(&["buy"]);
    let registry = Registry::new(&[&FLY_TOO, &BUY]).unwrap();
    assert_eq!(registry.rivals(&BUY), ["fly"]);
    assert_eq!(registry.rivals(&FLY_TOO), ["buy"]);
}
