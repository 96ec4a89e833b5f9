//! Create an order.

use std::time::Duration;

use common::contract::{
    Money, OrderId, PaymentId, Reason,
    inventory::{
        OUT_OF_STOCK, ReleaseStock, ReserveStock, StockItem, StockReleased, StockReservationFailed,
        StockReserved,
    },
    order::OrderItem,
    payment::{
        PAYMENT_DECLINED, PaymentFailed, PaymentProcessed, PaymentRefunded, ProcessPayment,
        RefundPayment,
    },
};
use order_service::{
    orders::Change,
    sagas::{CREATE_ORDER, PlacedOrder, create_order::follow},
};
use saga::testing::{AfterRefund, Check, Scenario};

/// Two mugs for 39.98.
pub(crate) fn mugs() -> PlacedOrder {
    PlacedOrder {
        order_id: OrderId::generate(),
        customer_id: "customer-1".to_owned(),
        items: vec![OrderItem {
            product_id: "mug".to_owned(),
            quantity: 2,
            unit_price: Money::from_minor(1999),
        }],
        currency: "USD".to_owned(),
        total: Money::from_minor(3998),
        payment_method: None,
    }
}

pub(crate) fn process(order: &PlacedOrder) -> ProcessPayment {
    ProcessPayment {
        order_id: order.order_id,
        customer_id: order.customer_id.clone(),
        amount: order.total,
        currency: order.currency.clone(),
        payment_method: None,
    }
}

pub(crate) fn processed(order: &PlacedOrder) -> PaymentProcessed {
    PaymentProcessed {
        order_id: order.order_id,
        payment_id: PaymentId::generate(),
        amount: order.total,
        currency: order.currency.clone(),
    }
}

fn items(order: &PlacedOrder) -> Vec<StockItem> {
    let item = |item: &OrderItem| StockItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
    };
    order.items.iter().map(item).collect()
}

pub(crate) fn reserve(order: &PlacedOrder) -> ReserveStock {
    ReserveStock {
        order_id: order.order_id,
        items: items(order),
    }
}

pub(crate) fn reserved(order: &PlacedOrder) -> StockReserved {
    StockReserved {
        order_id: order.order_id,
        items: items(order),
    }
}

pub(crate) fn refund(order: &PlacedOrder, reason: Reason) -> RefundPayment {
    let order_id = order.order_id;
    RefundPayment { order_id, reason }
}

pub(crate) fn refunded(order: &PlacedOrder, reason: Reason) -> PaymentRefunded {
    PaymentRefunded {
        order_id: order.order_id,
        payment_id: None,
        amount: Some(order.total),
        currency: Some(order.currency.clone()),
        reason,
    }
}

fn release(order: &PlacedOrder, reason: Reason) -> ReleaseStock {
    let order_id = order.order_id;
    ReleaseStock { order_id, reason }
}

fn released(order: &PlacedOrder, reason: Reason) -> StockReleased {
    StockReleased {
        order_id: order.order_id,
        items: items(order),
        reason,
    }
}

/// What becomes of the order, from the whole log.
fn changes(scenario: &Scenario) -> Vec<Change> {
    let mut changes = Vec::new();
    for decision in scenario.decisions() {
        for entry in &decision.transition.log {
            changes.extend(follow(&entry.what, decision).unwrap());
        }
    }
    changes
}

#[test]
fn an_order_is_paid_and_its_stock_is_held() {
    let order = mugs();
    let scenario = Scenario::of(&CREATE_ORDER, &order)
        .expect_command(&process(&order))
        .reply(&processed(&order))
        .expect_command(&reserve(&order))
        .reply(&reserved(&order))
        .expect_completed();
    assert!(matches!(changes(&scenario)[..], [Change::Completed]));
}

#[test]
fn a_declined_payment_leaves_nothing_to_undo() {
    let order = mugs();
    let scenario = Scenario::of(&CREATE_ORDER, &order)
        .expect_command(&process(&order))
        .reply(&PaymentFailed {
            order_id: order.order_id,
            payment_id: None,
            amount: None,
            currency: None,
            reason: PAYMENT_DECLINED,
            detail: Some("insufficient_funds".to_owned()),
        })
        .expect_compensated(PAYMENT_DECLINED);
    let cancelled = [Change::Undoing(PAYMENT_DECLINED), Change::Cancelled];
    assert_eq!(
        format!("{:?}", changes(&scenario)),
        format!("{cancelled:?}")
    );
}

#[test]
fn what_is_out_of_stock_is_paid_back() {
    let order = mugs();
    Scenario::of(&CREATE_ORDER, &order)
        .expect_command(&process(&order))
        .reply(&processed(&order))
        .expect_command(&reserve(&order))
        .pass(Duration::from_secs(30))
        .expect_command_again::<ReserveStock>()
        .reply(&StockReservationFailed {
            order_id: order.order_id,
            items: items(&order),
            reason: OUT_OF_STOCK,
            detail: Some("mug".to_owned()),
        })
        .expect_command(&refund(&order, OUT_OF_STOCK))
        .reply(&refunded(&order, OUT_OF_STOCK))
        .expect_compensated(OUT_OF_STOCK);
}

#[test]
fn a_step_that_stays_silent_may_have_run() {
    let order = mugs();
    let timeout = Reason::TIMEOUT;
    Scenario::of(&CREATE_ORDER, &order)
        .expect_command(&process(&order))
        .reply(&processed(&order))
        .expect_command(&reserve(&order))
        .pass(Duration::from_secs(30))
        .expect_command_again::<ReserveStock>()
        .pass(Duration::from_secs(30))
        .expect_command_again::<ReserveStock>()
        .pass(Duration::from_secs(30))
        .expect_command(&release(&order, timeout))
        .reply(&released(&order, timeout))
        .expect_command(&refund(&order, timeout))
        .reply(&refunded(&order, timeout))
        .expect_compensated(timeout);
}

#[test]
fn a_completed_order_can_be_cancelled() {
    let order = mugs();
    let reason = Reason::CUSTOMER_REQUEST;
    Scenario::of(&CREATE_ORDER, &order)
        .expect_command(&process(&order))
        .reply(&processed(&order))
        .expect_command(&reserve(&order))
        .reply(&reserved(&order))
        .cancel(reason)
        .expect_command(&release(&order, reason))
        .reply(&released(&order, reason))
        .expect_command(&refund(&order, reason))
        .reply(&refunded(&order, reason))
        .expect_compensated(reason);
}

/// The payment gateway is outside of its participant's database.
fn every_run() -> Check {
    Check::of(&CREATE_ORDER).gateway("payment", AfterRefund::Refuses)
}

#[test]
fn every_run_keeps_the_guarantees() {
    every_run().run();
}

#[test]
fn two_faults_break_nothing_either() {
    every_run()
        .faults(2)
        .cancellations(0)
        .interventions(0)
        .run();
}

#[test]
fn its_mutants_are_found() {
    every_run().find_mutants();
}

/// With a payment gateway that charges also after the refund.
fn at_a_forgetful_gateway() -> Check {
    Check::of(&CREATE_ORDER).gateway("payment", AfterRefund::Charges)
}

#[test]
fn a_gateway_that_charges_after_the_refund_keeps_no_money() {
    at_a_forgetful_gateway().interventions(0).run();
}

#[test]
fn its_mutants_at_a_forgetful_gateway_are_found() {
    at_a_forgetful_gateway().interventions(0).find_mutants();
}
