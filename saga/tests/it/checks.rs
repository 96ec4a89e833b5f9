//! The model check on sagas of every shape.

use std::time::Duration;

use saga::{
    Definition,
    testing::{
        self, Check,
        check::{AfterRefund, Bug, guarantees::GONE},
    },
};

use crate::trip::{Trip, book_flight, book_room, check_passport, credit_miles, issue_ticket};

/// One step that is undone.
const FLY: Definition<Trip> = Definition::new("fly", 1, &[book_flight()]);
/// Two steps that are undone.
const RESERVE: Definition<Trip> = Definition::new("reserve", 1, &[book_flight(), book_room()]);
/// A step of each kind, in an hour at most.
const BOOK_TRIP: Definition<Trip> = Definition::new(
    "book_trip",
    1,
    &[check_passport(), book_flight(), issue_ticket()],
)
.expires_after(Duration::from_secs(3600));
/// One forward-only step.
const BUY: Definition<Trip> = Definition::new("buy", 1, &[issue_ticket()]);
/// Two forward-only steps.
const BUY_WITH_MILES: Definition<Trip> =
    Definition::new("buy_with_miles", 1, &[issue_ticket(), credit_miles()]);
/// Nothing to undo at all.
const ENTER: Definition<Trip> = Definition::new("enter", 1, &[check_passport()]);
/// As many steps before its end as take two visits.
const CHECKED: Definition<Trip> = Definition::new(
    "checked",
    1,
    &[check_passport(), book_flight(), book_room()],
);
/// A step in the middle.
const TRAVEL: Definition<Trip> =
    Definition::new("travel", 1, &[book_flight(), book_room(), issue_ticket()]);

/// With the airline's effect at a gateway.
fn reserve() -> Check {
    Check::of(&RESERVE).gateway("flight", AfterRefund::Refuses)
}

#[test]
fn a_saga_that_can_be_undone_keeps_its_guarantees() {
    reserve().run();
}

#[test]
fn a_saga_with_a_step_of_each_kind_keeps_its_guarantees() {
    testing::check(&BOOK_TRIP);
}

#[test]
fn a_saga_of_one_forward_only_step_keeps_its_guarantees() {
    testing::check(&BUY);
}

#[test]
fn a_saga_of_two_forward_only_steps_keeps_its_guarantees() {
    testing::check(&BUY_WITH_MILES);
}

#[test]
fn a_saga_with_nothing_to_undo_keeps_its_guarantees() {
    testing::check(&ENTER);
}

#[test]
fn a_saga_of_three_steps_keeps_its_guarantees() {
    testing::check(&TRAVEL);
}

/// It is visited in two parts.
#[test]
fn a_saga_of_three_steps_that_can_be_undone_keeps_its_guarantees() {
    testing::check(&CHECKED);
}

#[test]
fn guarantees_are_kept_when_two_things_go_wrong() {
    Check::of(&RESERVE).faults(2).interventions(0).run();
}

/// In all attempts, forward and back, all that was ever sent may still be on its way.
#[test]
fn guarantees_are_kept_with_all_attempts() {
    let check = Check::of(&BOOK_TRIP).all_attempts();
    check.faults(0).cancellations(0).interventions(0).run();
}

/// Nothing is left out here, also where it changes nothing.
#[test]
fn messages_that_change_nothing_change_nothing() {
    let check = Check::of(&RESERVE).interventions(0);
    check.stale_messages_too().run();
}

/// The decision itself is safe from replies that count twice: they are late the second time. The idempotency table
/// keeps the log from saying so.
#[test]
fn a_reply_that_counts_twice_does_no_harm() {
    let check = Check::of(&RESERVE).with(Bug::CountedTwice);
    let check = check.stale_messages_too();
    check.cancellations(0).interventions(0).run();
}

/// With the airline's effect at a gateway that does also what was undone before it came.
fn forgetful() -> Check {
    Check::of(&FLY).gateway("flight", AfterRefund::Charges)
}

#[test]
fn intents_keep_the_guarantees_at_a_gateway_that_acts_after_the_compensation() {
    let check = forgetful().faults(2);
    check.cancellations(0).interventions(0).run();
}

#[test]
fn intents_that_are_missing_or_not_looked_at_are_found() {
    for bug in [Bug::NoIntent, Bug::NotClosed, Bug::IntentUnchecked] {
        forgetful().with(bug).breaks(GONE);
    }
}

#[test]
fn mutants_are_found_in_a_saga_that_can_be_undone() {
    reserve().find_mutants();
}

#[test]
fn mutants_are_found_in_a_saga_with_a_step_of_each_kind() {
    testing::find_mutants(&BOOK_TRIP);
}

#[test]
fn mutants_are_found_in_a_saga_of_one_forward_only_step() {
    testing::find_mutants(&BUY);
}

#[test]
fn mutants_are_found_in_a_saga_of_two_forward_only_steps() {
    testing::find_mutants(&BUY_WITH_MILES);
}

#[test]
fn mutants_are_found_in_a_saga_with_nothing_to_undo() {
    testing::find_mutants(&ENTER);
}
