//! The test kit tells stories of trips, and fails where they go on in another way.

use std::time::Duration;

use common::contract::Reason;
use saga::{Definition, Entry, IllegalEvent, Status, Verb, What, testing::Scenario};

use crate::trip::{
    BOOKED_UP, BookFlight, BookRoom, CancelFlight, CancelRoom, CheckPassport, FlightBooked,
    FlightCancelled, FlightRefused, IssueTicket, PassportInvalid, PassportValid, RoomBooked,
    RoomCancelled, RoomRefused, TicketIssued, Trip, book_flight, book_room, check_passport,
    issue_ticket,
};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// A journey that can be undone at its end.
const JOURNEY: Definition<Trip> = Definition::new("journey", 1, &[book_flight(), book_room()]);
/// A trip with a step of each kind, in an hour at most.
const BOOK_TRIP: Definition<Trip> = Definition::new(
    "book_trip",
    1,
    &[check_passport(), book_flight(), issue_ticket()],
)
.expires_after(AN_HOUR);

fn ada() -> Trip {
    Trip {
        traveller: "Ada".to_owned(),
    }
}

/// A message about Ada.
fn about<M: for<'t> From<&'t Trip>>() -> M {
    (&ada()).into()
}

fn journey() -> Scenario {
    Scenario::of(&JOURNEY, &ada()).expect_command(&about::<BookFlight>())
}

fn trip() -> Scenario {
    Scenario::of(&BOOK_TRIP, &ada()).expect_command(&about::<CheckPassport>())
}

/// A trip whose ticket is asked for.
fn trip_past_return() -> Scenario {
    trip()
        .reply(&about::<PassportValid>())
        .expect_command(&about::<BookFlight>())
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<IssueTicket>())
}

#[test]
fn a_trip_is_booked() {
    trip_past_return()
        .reply(&about::<TicketIssued>())
        .expect_completed();
}

#[test]
fn a_trip_without_a_passport_leaves_nothing_to_undo() {
    trip()
        .reply(&PassportInvalid { reason: BOOKED_UP })
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_full_flight_passes_over_what_there_is_nothing_to_undo_of() {
    trip()
        .reply(&about::<PassportValid>())
        .expect_command(&about::<BookFlight>())
        .reply(&FlightRefused { reason: BOOKED_UP })
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_full_house_cancels_the_flight() {
    journey()
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<BookRoom>())
        .pass(HALF_A_MINUTE)
        .expect_command_again::<BookRoom>()
        .reply(&RoomRefused { reason: BOOKED_UP })
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_silent_airline_is_asked_three_times() {
    journey()
        .pass(HALF_A_MINUTE - Duration::from_millis(1))
        .expect_nothing()
        .pass(Duration::from_millis(1))
        .expect_command_again::<BookFlight>()
        .pass(HALF_A_MINUTE)
        .expect_command_again::<BookFlight>()
        .pass(HALF_A_MINUTE)
        .expect_command(&about::<CancelFlight>())
        // It has done it all the same: that changes nothing.
        .reply(&about::<FlightBooked>())
        .expect_nothing()
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::TIMEOUT);
}

#[test]
fn a_journey_is_cancelled_after_its_end() {
    journey()
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<BookRoom>())
        .reply(&about::<RoomBooked>())
        .expect_completed()
        .cancel(Reason::CUSTOMER_REQUEST)
        .expect_command(&about::<CancelRoom>())
        .reply(&about::<RoomCancelled>())
        .expect_command(&about::<CancelFlight>())
        // Twice is once.
        .reply(&about::<RoomCancelled>())
        .expect_nothing()
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::CUSTOMER_REQUEST);
}

#[test]
fn a_compensation_that_nobody_answers_is_parked_and_retried() {
    let mut parked = journey()
        .cancel(Reason::CUSTOMER_REQUEST)
        .expect_command(&about::<CancelFlight>());
    for minutes in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0] {
        let pause = Duration::from_secs_f64(60.0 * minutes);
        parked = parked.pass(pause).expect_command_again::<CancelFlight>();
    }
    parked
        .pass(AN_HOUR)
        .expect_parked("flight", Some(Reason::CUSTOMER_REQUEST))
        .retry()
        .expect_command_again::<CancelFlight>()
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::CUSTOMER_REQUEST);
}

#[test]
fn a_trip_that_takes_too_long_is_undone() {
    trip()
        .reply(&about::<PassportValid>())
        .expect_command(&about::<BookFlight>())
        .expire()
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::TIMEOUT);
}

#[test]
fn a_trip_that_takes_too_long_behind_the_point_of_no_return_is_parked() {
    trip_past_return()
        .expire()
        .expect_parked("ticket", None)
        .cancel(Reason::CUSTOMER_REQUEST)
        .expect_refused(IllegalEvent::NoWayBack(Status::Parked))
        .retry()
        .expect_command_again::<IssueTicket>()
        // Its time is over only once.
        .pass(HALF_A_MINUTE)
        .expect_command_again::<IssueTicket>()
        .reply(&about::<TicketIssued>())
        .expect_completed();
}

/// The deadline of the whole comes before that of the step.
#[test]
fn time_passes_for_the_whole_saga_too() {
    const SHORT: Definition<Trip> =
        Definition::new("short", 1, &[book_flight()]).expires_after(Duration::from_secs(40));
    Scenario::of(&SHORT, &ada())
        .expect_command(&about::<BookFlight>())
        .pass(HALF_A_MINUTE)
        .expect_command_again::<BookFlight>()
        .pass(Duration::from_secs(10))
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::TIMEOUT);
}

fn not_parked() -> IllegalEvent {
    IllegalEvent::Senseless {
        verb: Verb::Retry,
        status: Status::Running,
        verbs: vec![
            Verb::Skip,
            Verb::ForceComplete,
            Verb::Abort,
            Verb::Reschedule(Duration::ZERO),
        ],
    }
}

#[test]
fn a_saga_that_runs_cannot_be_retried() {
    journey()
        .retry()
        .expect_refused(not_parked())
        .cancel(BOOKED_UP)
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_skipped_step_is_taken_for_done_and_undone_like_any_other() {
    journey()
        .intervene(Verb::Skip)
        .expect_command(&about::<BookRoom>())
        // It has happened after all, and nothing follows from that.
        .reply(&about::<FlightBooked>())
        .reply(&RoomRefused { reason: BOOKED_UP })
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_compensation_that_is_skipped_is_taken_for_done() {
    journey()
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<BookRoom>())
        .intervene(Verb::Abort)
        .expect_command(&about::<CancelRoom>())
        .intervene(Verb::Skip)
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .reply(&about::<RoomCancelled>())
        .expect_compensated(Reason::OPERATOR);
}

#[test]
fn what_is_forced_stays_whatever_comes_afterwards() {
    journey()
        .intervene(Verb::ForceComplete)
        .reply(&FlightRefused { reason: BOOKED_UP })
        .expect_completed();
    journey()
        .cancel(BOOKED_UP)
        .expect_command(&about::<CancelFlight>())
        .intervene(Verb::ForceCompensated)
        .reply(&about::<FlightCancelled>())
        .reply(&about::<FlightBooked>())
        .expect_compensated(BOOKED_UP);
}

#[test]
fn a_saga_that_was_forced_to_its_end_can_still_be_undone() {
    journey()
        .intervene(Verb::ForceComplete)
        .intervene(Verb::Abort)
        .expect_command(&about::<CancelRoom>())
        .reply(&about::<RoomCancelled>())
        .expect_command(&about::<CancelFlight>())
        .reply(&about::<FlightCancelled>())
        .expect_compensated(Reason::OPERATOR);
}

#[test]
fn who_reschedules_asks_sooner_or_later() {
    journey()
        .intervene(Verb::Reschedule(Duration::from_secs(5)))
        .pass(Duration::from_secs(5))
        .expect_command_again::<BookFlight>()
        .intervene(Verb::Reschedule(AN_HOUR))
        .pass(AN_HOUR - HALF_A_MINUTE)
        .reply(&about::<FlightBooked>())
        .expect_command(&about::<BookRoom>())
        .reply(&about::<RoomBooked>())
        .expect_completed();
}

#[test]
fn a_forward_only_step_that_cannot_be_done_is_skipped() {
    trip_past_return()
        .intervene(Verb::Skip)
        .reply(&about::<TicketIssued>())
        .expect_completed();
}

/// For the function by which a program follows its sagas.
#[test]
fn the_log_and_the_decisions_can_be_looked_at() {
    let story = journey().reply(&FlightRefused { reason: BOOKED_UP });
    let last: Vec<_> = story.log().iter().rev().take(2).rev().collect();
    let started = Entry::whole(What::CompensationStarted { reason: BOOKED_UP });
    assert_eq!(last, [&started, &Entry::whole(What::SagaCompensated {})]);
    let decisions = story.decisions();
    assert_eq!(decisions.len(), 2);
    assert_eq!(decisions[1].transition.state, story.state());
    assert_eq!(decisions[1].data::<Trip>().unwrap().traveller, "Ada");
}

#[test]
#[should_panic(expected = "the command room.book.v1 to hotel")]
fn another_command_is_noticed() {
    let _ = Scenario::of(&JOURNEY, &ada()).expect_command(&about::<BookRoom>());
}

#[test]
#[should_panic(expected = r#"came     the command flight.book.v1 to airline: {"traveller":"Ada"}"#)]
fn other_data_is_noticed() {
    let bob = BookFlight {
        traveller: "Bob".to_owned(),
    };
    let _ = Scenario::of(&JOURNEY, &ada()).expect_command(&bob);
}

#[test]
#[should_panic(expected = "came     no command\nthe log of journey v1:")]
fn a_command_that_is_not_sent_is_noticed() {
    let _ = journey().expect_command_again::<BookFlight>();
}

#[test]
#[should_panic(expected = "expected that it goes on with no command")]
fn a_command_that_nobody_expected_is_noticed() {
    let _ = journey().pass(HALF_A_MINUTE).expect_nothing();
}

#[test]
#[should_panic(expected = "expected that it goes on with no command")]
fn a_command_that_nobody_expected_is_noticed_at_the_end() {
    drop(journey().reply(&about::<FlightBooked>()));
}

#[test]
#[should_panic(expected = "expected that it goes on with no refusal")]
fn a_refusal_that_nobody_expected_is_noticed() {
    let _ = journey().retry();
}

#[test]
#[should_panic(expected = "expected the refusal")]
fn a_refusal_that_does_not_come_is_noticed() {
    let _ = journey().expect_refused(not_parked());
}

#[test]
#[should_panic(expected = "expected a command that is answered with room.booked.v1")]
fn an_answer_to_nothing_is_noticed() {
    let _ = journey().reply(&about::<RoomBooked>());
}

#[test]
#[should_panic(expected = "expected the state Completed")]
fn another_end_is_noticed() {
    let _ = journey().expect_completed();
}
