//! The checks: nothing that can happen within these bounds breaks a guarantee.

use std::{sync::LazyLock, time::Instant};

use order_service::saga::{
    Definition, Step,
    create_order::CREATE_ORDER,
    definition::{Action, Compensation},
};
use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    bug::Bug,
    model::OneSaga,
    participant::AfterRefund,
    properties::{self, CLEAN},
    world::Left,
};

/// [`CREATE_ORDER`] with two attempts each, which keeps the number of states finite and small.
pub(crate) static TWO_STEPS: LazyLock<Definition> = LazyLock::new(|| Definition {
    steps: leaked(CREATE_ORDER.steps.iter().map(hasty)),
    ..CREATE_ORDER
});

/// A saga with another step behind those of [`CREATE_ORDER`], so that there is one in the middle.
static THREE_STEPS: LazyLock<Definition> = LazyLock::new(|| {
    let shipment = Step {
        name: "shipment",
        participant: "shipment",
        ..hasty(CREATE_ORDER.last())
    };
    Definition {
        name: "ship_order",
        steps: leaked(CREATE_ORDER.steps.iter().map(hasty).chain([shipment])),
        ..CREATE_ORDER
    }
});

fn leaked(steps: impl Iterator<Item = Step>) -> &'static [Step] {
    steps.collect::<Vec<_>>().leak()
}

fn hasty(step: &Step) -> Step {
    Step {
        name: step.name,
        participant: step.participant,
        action: Action {
            attempts: 2,
            ..step.action
        },
        compensation: Compensation {
            attempts: 2,
            ..step.compensation
        },
    }
}

/// `saga` with any one fault, one cancellation and one retry, each at any moment.
pub(crate) const fn bounded(saga: &'static Definition) -> OneSaga {
    OneSaga {
        saga,
        gateway: AfterRefund::Refuses,
        loses: true,
        forgets_stale: true,
        left: Left {
            faults: 1,
            cancellations: 1,
            retries: 1,
        },
        bug: None,
    }
}

/// Visits all states, or those `until` something is found, and says how many there were.
pub(crate) fn explore(name: &str, model: OneSaga, until: HasDiscoveries) -> impl Checker<OneSaga> {
    let began = Instant::now();
    let checker = model
        .checker()
        .finish_when(until)
        .threads(2)
        .spawn_bfs()
        .join();
    println!(
        "{name}: {} states, reached in {} ways, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
    );
    checker
}

/// Visits all states, or those up to the first broken guarantee, and asserts that there is none.
fn holds(name: &str, model: OneSaga) {
    let guarantees = properties::guarantees();
    let broken = guarantees.iter().map(|guarantee| guarantee.name);
    explore(name, model, HasDiscoveries::AnyOf(broken.collect())).assert_properties();
}

/// Visits states until one breaks `guarantee`, asserts that there is one, and tells how it is reached.
pub(crate) fn breaks(name: &str, model: OneSaga, guarantee: &'static str) {
    let checker = explore(name, model, HasDiscoveries::AnyOf([guarantee].into()));
    println!("  breaks: {guarantee}");
    for action in checker.assert_any_discovery(guarantee).into_actions() {
        println!("    {action:?}");
    }
}

/// Three attempts forward and ten back, in which all that was ever sent may still be on its way.
#[test]
fn create_order_keeps_its_guarantees_with_all_its_attempts() {
    let mut model = bounded(&CREATE_ORDER);
    model.left = Left::default();
    holds("create_order as it is, no faults", model);
}

#[test]
fn create_order_keeps_its_guarantees() {
    holds(
        "create_order, any fault, cancelled, retried",
        bounded(&TWO_STEPS),
    );
}

#[test]
fn create_order_keeps_its_guarantees_when_two_things_go_wrong() {
    let mut model = bounded(&TWO_STEPS);
    model.left.faults = 2;
    model.left.retries = 0;
    holds("create_order, any two faults, cancelled", model);
}

#[test]
fn a_saga_of_three_steps_keeps_the_same_guarantees() {
    let mut model = bounded(&THREE_STEPS);
    model.left.retries = 0;
    holds("three steps, any fault, cancelled", model);
}

#[test]
fn a_parked_saga_of_three_steps_can_be_retried() {
    let mut model = bounded(&THREE_STEPS);
    model.left.faults = 0;
    holds("three steps, no faults, cancelled, retried", model);
}

/// Nothing is left out here, also where it changes nothing.
#[test]
fn messages_that_change_nothing_change_nothing() {
    let mut model = bounded(&TWO_STEPS);
    model.forgets_stale = false;
    model.left.retries = 0;
    holds("create_order, stale messages too", model);
}

/// The decision itself is safe from replies that count twice: they are late the second time. The idempotency table
/// keeps the log from saying so.
#[test]
fn a_reply_that_counts_twice_does_no_harm() {
    let mut model = bounded(&TWO_STEPS);
    model.bug = Some(Bug::CountedTwice);
    model.forgets_stale = false;
    model.left.retries = 0;
    model.left.cancellations = 0;
    holds("create_order, replies count twice", model);
}

/// A gateway may charge what it was asked to refund before, as long as RabbitMQ keeps the command in question: who
/// handles that finds the tombstone, and asks for the refund again.
#[test]
fn a_gateway_that_charges_after_the_refund_is_made_to_refund() {
    let mut model = bounded(&TWO_STEPS);
    model.gateway = AfterRefund::Charges;
    model.loses = false;
    model.left.retries = 0;
    holds("create_order, forgetful gateway", model);
}

/// What the guarantees do not cover: such a gateway is slower than the refund, the process dies before it can commit
/// the charge, and RabbitMQ loses the command. Nobody knows of the charge then.
#[test]
fn a_gateway_that_charges_after_the_refund_needs_a_broker_that_loses_nothing() {
    let mut model = bounded(&TWO_STEPS);
    model.gateway = AfterRefund::Charges;
    model.left.faults = 2;
    model.left.retries = 0;
    breaks("create_order, forgetful gateway and broker", model, CLEAN);
}
