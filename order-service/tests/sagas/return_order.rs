//! Return goods of an order.

use common::contract::{
    Money, OrderId, PaymentId, Reason, ReturnId,
    inventory::{Restock, Restocked, StockItem},
    payment::{PartRefunded, RefundPart},
};
use order_service::{
    orders::Change,
    sagas::{RETURN_ORDER, ReturnedGoods, return_order::follow},
};
use saga::testing::{Scenario, check, find_mutants};

/// One mug for 19.99 comes back.
pub(crate) fn a_mug() -> ReturnedGoods {
    ReturnedGoods {
        return_id: ReturnId::generate(),
        order_id: OrderId::generate(),
        items: vec![StockItem {
            product_id: "mug".to_owned(),
            quantity: 1,
        }],
        amount: Money::from_minor(1999),
        currency: "USD".to_owned(),
    }
}

pub(crate) fn restock(goods: &ReturnedGoods) -> Restock {
    Restock {
        order_id: goods.order_id,
        return_id: goods.return_id,
        items: goods.items.clone(),
    }
}

pub(crate) fn restocked(goods: &ReturnedGoods) -> Restocked {
    Restocked {
        order_id: goods.order_id,
        return_id: goods.return_id,
        items: goods.items.clone(),
    }
}

pub(crate) fn refund(goods: &ReturnedGoods) -> RefundPart {
    RefundPart {
        order_id: goods.order_id,
        return_id: goods.return_id,
        amount: goods.amount,
        currency: goods.currency.clone(),
        reason: Reason::CUSTOMER_REQUEST,
    }
}

fn refunded(goods: &ReturnedGoods) -> PartRefunded {
    PartRefunded {
        order_id: goods.order_id,
        payment_id: PaymentId::generate(),
        return_id: goods.return_id,
        amount: goods.amount,
        currency: goods.currency.clone(),
        reason: Reason::CUSTOMER_REQUEST,
    }
}

/// The goods first, then exactly their price.
#[test]
fn goods_come_back_and_their_price_is_given_back() {
    let goods = a_mug();
    let scenario = Scenario::of(&RETURN_ORDER, &goods)
        .expect_command(&restock(&goods))
        .reply(&restocked(&goods))
        .expect_command(&refund(&goods))
        .reply(&refunded(&goods))
        .expect_completed();
    let end = scenario.decisions().last().unwrap();
    let last = &end.transition.log.last().unwrap().what;
    let change = follow(last, end).unwrap();
    let Some(Change::Returned { id, amount, .. }) = change else {
        panic!("the order learns what came back, not {change:?}");
    };
    assert_eq!((id, amount), (goods.return_id, goods.amount));
}

/// A reply that comes twice, which also means that its effect was there only once, counts once.
#[test]
fn a_refund_that_is_told_twice_counts_once() {
    let goods = a_mug();
    Scenario::of(&RETURN_ORDER, &goods)
        .expect_command(&restock(&goods))
        .reply(&restocked(&goods))
        .expect_command(&refund(&goods))
        .reply(&restocked(&goods))
        .expect_nothing()
        .reply(&refunded(&goods))
        .reply(&refunded(&goods))
        .expect_completed();
}

#[test]
fn every_run_keeps_the_guarantees() {
    check(&RETURN_ORDER);
}

/// A participant that gives the money back twice is among them: a refund of more than was returned.
#[test]
fn its_mutants_are_found() {
    find_mutants(&RETURN_ORDER);
}
