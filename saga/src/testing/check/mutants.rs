//! The check can fail: each [`Bug`] is found, by the guarantee that it breaks.

use crate::{
    bug::Bug,
    checks::{TWO_STEPS, bounded, breaks},
    properties::{ARMED, CLEAN, COMPLETE, GONE, MOVES, ONCE},
};

/// Asserts that `bug` is found by `guarantee`.
fn find(bug: Bug, guarantee: &'static str) {
    let mut model = bounded(&TWO_STEPS);
    model.bug = Some(bug);
    model.forgets_stale = false;
    breaks(&format!("{bug:?}"), model, guarantee);
}

#[test]
fn a_participant_without_tombstones_is_found() {
    find(Bug::NoTombstone, GONE);
}

#[test]
fn a_participant_that_does_not_remember_its_outcomes_is_found() {
    find(Bug::NoOutcome, ONCE);
}

#[test]
fn an_ack_before_the_commit_is_found() {
    find(Bug::AckBeforeCommit, MOVES);
}

#[test]
fn a_command_that_is_not_in_the_outbox_is_found() {
    find(Bug::NoOutbox, MOVES);
}

#[test]
fn a_reply_that_is_counted_before_it_is_decided_on_is_found() {
    find(Bug::CountedBeforeDecided, MOVES);
}

#[test]
fn undoing_from_the_step_before_a_silent_one_is_found() {
    find(Bug::UndoneFromTheStepBefore, CLEAN);
}

#[test]
fn a_late_success_that_counts_is_found() {
    find(Bug::LateSuccessCounts, COMPLETE);
}

#[test]
fn a_command_without_a_new_deadline_is_found() {
    find(Bug::NoDeadlineForTheSecondAttempt, ARMED);
}
