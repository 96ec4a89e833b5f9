//! Logs of released versions are folded by today's code, and versions stand side by side.

use std::path::Path;

use saga::{
    Definition, Registry, retrace,
    testing::{Scenario, replay},
};

use crate::trip::{
    BOOKED_UP, BookFlight, BookRoom, CancelFlight, CheckPassport, FlightBooked, FlightCancelled,
    IssueTicket, PassportValid, RoomRefused, TicketIssued, Trip, book_flight, book_room,
    check_passport, issue_ticket,
};

/// As it was released first.
const V1: Definition<Trip> = Definition::new("book_trip", 1, &[book_flight(), issue_ticket()]);
/// With the passport, and a room.
const V2: Definition<Trip> = Definition::new(
    "book_trip",
    2,
    &[check_passport(), book_flight(), book_room(), issue_ticket()],
);

fn ada() -> Trip {
    Trip {
        traveller: "Ada".to_owned(),
    }
}

fn about<M: for<'t> From<&'t Trip>>() -> M {
    (&ada()).into()
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples")
}

#[test]
fn released_logs_are_understood() {
    replay(&Registry::new(&[&V1, &V2]).unwrap(), folder());
}

#[test]
#[should_panic(expected = "there is no definition book_trip v1 any more")]
fn a_version_that_is_gone_is_noticed() {
    replay(&Registry::new(&[&V2]).unwrap(), folder());
}

#[test]
#[should_panic(expected = "is a log of journey v1")]
fn a_definition_without_samples_is_noticed() {
    const JOURNEY: Definition<Trip> = Definition::new("journey", 1, &[book_flight()]);
    replay(&Registry::new(&[&V1, &V2, &JOURNEY]).unwrap(), folder());
}

#[test]
#[should_panic(expected = "the definition has no such step")]
fn a_step_that_is_gone_is_noticed() {
    const V2_WITHOUT_PASSPORT: Definition<Trip> = Definition::new(
        "book_trip",
        2,
        &[book_flight(), book_room(), issue_ticket()],
    );
    replay(
        &Registry::new(&[&V1, &V2_WITHOUT_PASSPORT]).unwrap(),
        folder(),
    );
}

#[test]
#[should_panic(expected = "its log adds up to")]
fn a_log_that_adds_up_to_something_else_is_noticed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples/wrong");
    replay(&Registry::new(&[&V1]).unwrap(), folder);
}

/// What is written today is what is committed.
#[test]
fn samples_are_made_by_stories() {
    let story = first_of_v1()
        .reply(&about::<TicketIssued>())
        .expect_completed();
    let committed = std::fs::read_to_string(folder().join("book_trip_v1_completed.json"));
    assert_eq!(story.sample().to_json(), committed.unwrap());
    let story = second_of_v2();
    let committed = std::fs::read_to_string(folder().join("book_trip_v2_compensated.json"));
    assert_eq!(story.sample().to_json(), committed.unwrap());
}

/// Its log can be folded all the same: only who decides again notices.
#[test]
fn a_definition_that_was_changed_under_its_version_parts() {
    const CHANGED: Definition<Trip> = Definition::new(
        "book_trip",
        1,
        &[book_flight(), book_room(), issue_ticket()],
    );
    let story = first_of_v1();
    assert_eq!(retrace(&V1, story.log()), Ok(story.state()));
    let parting = retrace(&CHANGED, story.log()).unwrap_err();
    assert_eq!(parting.at, 3);
    let why = "ACTION_SENT room {\"attempt\":1} is decided here, and the log says ACTION_SENT ticket {\"attempt\":1}";
    assert_eq!(parting.to_string(), why);
    let cut = &story.log()[..3];
    let why = "ACTION_SENT ticket {\"attempt\":1} is decided here, and the log ends";
    assert_eq!(retrace(&V1, cut).unwrap_err().to_string(), why);
}

/// A saga of the first version is under way while one of the second begins.
#[test]
fn two_versions_run_side_by_side() {
    let program = Registry::new(&[&V1, &V2]).unwrap();
    let old = first_of_v1().in_program(&program);
    let new = Scenario::of(&V2, &ada())
        .in_program(&program)
        .expect_command(&about::<CheckPassport>());
    let old = old.reply(&about::<TicketIssued>()).expect_completed();
    let new = new
        .reply(&about::<PassportValid>())
        .expect_command(&about::<BookFlight>());
    assert_ne!(old.state(), new.state());
}

fn first_of_v1() -> Scenario {
    Scenario::of(&V1, &ada())
        .expect_command(&about::<BookFlight>())
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<IssueTicket>())
}

fn second_of_v2() -> Scenario {
    Scenario::of(&V2, &ada())
        .expect_command(&about::<CheckPassport>())
        .reply(&about::<PassportValid>())
        .expect_command(&about::<BookFlight>())
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<BookRoom>())
        .reply(&RoomRefused { reason: BOOKED_UP })
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(BOOKED_UP)
}
