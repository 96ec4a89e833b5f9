//! The logs that releases have written mean today what they meant then.
//!
//! A sample is never changed once its version is released. A new definition, or a new version of one, needs samples of
//! its own: `scenario.sample().to_json()` makes them.

use std::path::Path;

use order_service::sagas::{SAGAS, registry};
use saga::testing::{Scenario, replay};

use crate::{create_order as create, return_order as back, ship_order as ship};

#[test]
fn their_logs_add_up_to_their_states() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sagas/released");
    replay(&registry(SAGAS).unwrap(), samples);
}

/// What today's sagas write is what the samples have: so a change of what is written shows as a change here.
#[test]
fn todays_logs_are_like_the_samples() {
    let order = create::mugs();
    let completed = Scenario::of(&order_service::sagas::CREATE_ORDER, &order)
        .expect_command(&create::process(&order))
        .reply(&create::processed(&order))
        .expect_command(&create::reserve(&order))
        .reply(&create::reserved(&order))
        .expect_completed();
    is_sample("create_order_v1_completed", &completed);

    let shipped = ship::shipped();
    let leaving = Scenario::of(&order_service::sagas::SHIP_ORDER, &shipped)
        .expect_command(&ship::commit(&shipped))
        .reply(&ship::committed(&shipped))
        .expect_completed();
    is_sample("ship_order_v1_completed", &leaving);

    let goods = back::a_mug();
    let coming = Scenario::of(&order_service::sagas::RETURN_ORDER, &goods)
        .expect_command(&back::restock(&goods))
        .reply(&back::restocked(&goods))
        .expect_command(&back::refund(&goods));
    is_sample("return_order_v1_refunding", &coming);
}

#[track_caller]
fn is_sample(name: &str, scenario: &Scenario) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sagas/released")
        .join(format!("{name}.json"));
    let sample = std::fs::read_to_string(&file).unwrap_or_default();
    let today = scenario.sample().to_json();
    assert_eq!(sample, today, "{name}");
}
