//! Ship an order.

use std::time::Duration;

use common::contract::{
    OrderId, Reason,
    inventory::{CommitStock, StockCommitted},
};
use order_service::sagas::{SHIP_ORDER, ShippedOrder};
use saga::{
    IllegalEvent, Status,
    testing::{Scenario, check, find_mutants},
};

pub(crate) fn shipped() -> ShippedOrder {
    ShippedOrder {
        order_id: OrderId::generate(),
    }
}

pub(crate) fn commit(order: &ShippedOrder) -> CommitStock {
    CommitStock {
        order_id: order.order_id,
    }
}

pub(crate) fn committed(order: &ShippedOrder) -> StockCommitted {
    StockCommitted {
        order_id: order.order_id,
        items: Vec::new(),
    }
}

#[test]
fn the_goods_leave() {
    let order = shipped();
    Scenario::of(&SHIP_ORDER, &order)
        .expect_command(&commit(&order))
        .reply(&committed(&order))
        .expect_completed();
}

#[test]
fn a_warehouse_that_is_silent_is_asked_until_an_operator_has_to_look() {
    let order = shipped();
    let mut scenario = Scenario::of(&SHIP_ORDER, &order).expect_command(&commit(&order));
    for minutes in [30, 60, 120, 240, 300, 300, 300, 300, 300] {
        scenario = scenario
            .pass(Duration::from_secs(minutes))
            .expect_command_again::<CommitStock>();
    }
    scenario
        .pass(Duration::from_secs(300))
        .expect_parked("inventory", None)
        .retry()
        .expect_command_again::<CommitStock>()
        .reply(&committed(&order))
        .expect_completed();
}

#[test]
fn what_is_leaving_is_not_cancelled() {
    let order = shipped();
    Scenario::of(&SHIP_ORDER, &order)
        .expect_command(&commit(&order))
        .cancel(Reason::CUSTOMER_REQUEST)
        .expect_refused(IllegalEvent::NoWayBack(Status::Running))
        .reply(&committed(&order))
        .expect_completed();
}

#[test]
fn every_run_keeps_the_guarantees() {
    check(&SHIP_ORDER);
}

#[test]
fn its_mutants_are_found() {
    find_mutants(&SHIP_ORDER);
}
