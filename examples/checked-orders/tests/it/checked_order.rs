//! The saga by itself: stories, and every run within bounds, without servers.

use std::time::Duration;

use checked_orders::{
    checked_order::{CHECKED_ORDER, SAGAS, check_fraud},
    messages::{CheckFraud, FRAUD_SUSPECTED, FraudPassed, FraudRefused},
};
use common::contract::{
    Money, OrderId, PaymentId, Reason,
    order::OrderItem,
    payment::{PaymentProcessed, PaymentRefunded},
};
use order_service::sagas::{
    CREATE_ORDER, PlacedOrder,
    create_order::{process_payment, refund_payment, reserve_stock},
    registry,
};
use saga::testing::{AfterRefund, Check, Scenario};

/// Two mugs for 39.98.
fn mugs() -> PlacedOrder {
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

#[test]
fn a_refused_order_leaves_nothing_to_undo() {
    let order = mugs();
    Scenario::of(&CHECKED_ORDER, &order)
        .expect_command(&check_fraud(&order))
        .reply(&FraudRefused {
            order_id: order.order_id,
            reason: FRAUD_SUSPECTED,
            detail: Some("the customer is known for fraud".to_owned()),
        })
        .expect_compensated(FRAUD_SUSPECTED);
}

#[test]
fn a_check_that_stays_silent_leaves_nothing_to_undo_either() {
    let order = mugs();
    let deadline = Duration::from_secs(30);
    Scenario::of(&CHECKED_ORDER, &order)
        .expect_command(&check_fraud(&order))
        .pass(deadline)
        .expect_command_again::<CheckFraud>()
        .pass(deadline)
        .expect_command_again::<CheckFraud>()
        .pass(deadline)
        .expect_compensated(Reason::TIMEOUT);
}

#[test]
fn undoing_stops_before_the_check() {
    let order = mugs();
    let (order_id, reason) = (order.order_id, Reason::CUSTOMER_REQUEST);
    let (amount, currency) = (order.total, order.currency.clone());
    let checked = Scenario::of(&CHECKED_ORDER, &order)
        .expect_command(&check_fraud(&order))
        .reply(&FraudPassed { order_id });
    let cancelled = checked
        .expect_command(&process_payment(&order))
        .cancel(reason)
        .expect_command(&refund_payment(&order, reason));
    cancelled
        .reply(&PaymentRefunded {
            order_id,
            payment_id: Some(PaymentId::generate()),
            amount: Some(amount),
            currency: Some(currency),
            reason,
        })
        .expect_compensated(reason);
}

/// Both versions are in the program, and a saga keeps to the one with which it began.
#[test]
fn an_order_that_is_under_way_is_not_checked() {
    let order = mugs();
    Scenario::of(&CREATE_ORDER, &order)
        .in_program(&registry(SAGAS.all).unwrap())
        .expect_command(&process_payment(&order))
        .reply(&PaymentProcessed {
            order_id: order.order_id,
            payment_id: PaymentId::generate(),
            amount: order.total,
            currency: order.currency.clone(),
        })
        .expect_command(&reserve_stock(&order));
}

/// The payment gateway is outside of its participant's database.
#[test]
fn every_run_keeps_the_guarantees() {
    let checked = Check::of(&CHECKED_ORDER);
    checked.gateway("payment", AfterRefund::Refuses).run();
}
