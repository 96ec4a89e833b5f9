//! A definition that makes no sense is refused: in a constant by the compiler, which examples show, and else at once.

use std::time::Duration;

use saga::{Action, Compensation, Definition, ForwardAction, Step};

use crate::trip::{
    BookFlight, BookRoom, CancelFlight, CancelRoom, FlightBooked, FlightCancelled, FlightRefused,
    IssueTicket, RoomCancelled, RoomRefused, TicketIssued, Trip, book_flight, book_room,
    issue_ticket,
};

fn book(trip: &Trip) -> BookFlight {
    trip.into()
}

fn cancel(trip: &Trip, _: common::contract::Reason) -> CancelFlight {
    trip.into()
}

fn flight() -> Action<Trip> {
    Action::of::<BookFlight, FlightBooked, FlightRefused>(&book)
}

fn no_flight() -> Compensation<Trip> {
    Compensation::of::<CancelFlight, FlightCancelled>(&cancel)
}

fn ticket() -> ForwardAction<Trip> {
    ForwardAction::of::<IssueTicket, TicketIssued>(&|trip: &Trip| trip.into())
}

/// A definition of these steps, which lives as long as a constant would.
fn define(steps: Vec<Step<Trip>>) -> Definition<Trip> {
    Definition::new("trip", 1, steps.leak())
}

const ONE_SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_step_of_each_kind_is_accepted() {
    let passport = crate::trip::check_passport();
    let miles = crate::trip::credit_miles();
    define(vec![
        passport,
        book_flight(),
        book_room(),
        issue_ticket(),
        miles,
    ]);
}

#[test]
#[should_panic(expected = "a saga has a name")]
fn a_saga_without_a_name_is_refused() {
    let _ = Definition::new("", 1, vec![book_flight()].leak());
}

#[test]
#[should_panic(expected = "versions are counted from 1")]
fn a_saga_without_a_version_is_refused() {
    let _ = Definition::new("trip", 0, vec![book_flight()].leak());
}

#[test]
#[should_panic(expected = "a saga has at least one step")]
fn a_saga_without_steps_is_refused() {
    define(Vec::new());
}

#[test]
#[should_panic(expected = "two steps have one name")]
fn two_steps_of_one_name_are_refused() {
    define(vec![book_flight(), book_room(), book_flight()]);
}

#[test]
#[should_panic(expected = "behind a forward-only step, every step is forward-only")]
fn a_step_with_a_compensation_behind_a_forward_only_one_is_refused() {
    define(vec![issue_ticket(), book_flight()]);
}

#[test]
#[should_panic(expected = "behind a forward-only step, every step is forward-only")]
fn a_step_with_nothing_to_undo_behind_a_forward_only_one_is_refused() {
    define(vec![issue_ticket(), Step::new("flight", flight())]);
}

#[test]
#[should_panic(expected = "a saga needs some time")]
fn a_saga_without_time_is_refused() {
    let _ = define(vec![book_flight()]).expires_after(Duration::ZERO);
}

#[test]
#[should_panic(expected = "a forward-only step has no compensation")]
fn a_compensation_of_a_forward_only_step_is_refused() {
    let _ = Step::forward_only("ticket", ticket()).undone_by(no_flight());
}

#[test]
#[should_panic(expected = "a step is undone by the participant that did it")]
fn a_compensation_by_another_participant_is_refused() {
    let elsewhere = Compensation::of::<CancelRoom, RoomCancelled>(&|trip: &Trip, _| trip.into());
    let _ = Step::new("flight", flight()).undone_by(elsewhere);
}

#[test]
#[should_panic(expected = "a step has a name")]
fn a_step_without_a_name_is_refused() {
    define(vec![Step::new("", flight())]);
}

#[test]
#[should_panic(expected = "a command is sent at least once")]
fn an_action_that_is_never_sent_is_refused() {
    define(vec![Step::new("flight", flight().tried(ONE_SECOND, 0))]);
}

#[test]
#[should_panic(expected = "a command is sent at least once")]
fn a_compensation_that_is_never_sent_is_refused() {
    let never = no_flight().tried(ONE_SECOND, ONE_SECOND, 0);
    define(vec![Step::new("flight", flight()).undone_by(never)]);
}

#[test]
#[should_panic(expected = "a reply takes some time")]
fn a_reply_that_takes_no_time_is_refused() {
    define(vec![Step::new("flight", flight().tried(Duration::ZERO, 1))]);
}

#[test]
#[should_panic(expected = "later replies get no less time than the first")]
fn a_deadline_that_gets_shorter_is_refused() {
    let hasty = ticket().tried(2 * ONE_SECOND, ONE_SECOND, 2);
    define(vec![Step::forward_only("ticket", hasty)]);
}

#[test]
#[should_panic(expected = "two replies are of one type")]
fn a_refusal_that_looks_like_a_success_is_refused() {
    let unclear = Action::of::<BookRoom, RoomRefused, RoomRefused>(&|trip: &Trip| trip.into());
    define(vec![Step::new("room", unclear)]);
}

#[test]
#[should_panic(expected = "two replies are of one type")]
fn a_compensation_whose_reply_looks_like_the_success_is_refused() {
    let unclear = Compensation::of::<CancelFlight, FlightBooked>(&cancel);
    define(vec![Step::new("flight", flight()).undone_by(unclear)]);
}

#[test]
#[should_panic(expected = "two replies are of one type")]
fn a_compensation_whose_reply_looks_like_the_refusal_is_refused() {
    let unclear = Compensation::of::<CancelFlight, FlightRefused>(&cancel);
    define(vec![Step::new("flight", flight()).undone_by(unclear)]);
}
