//! Returns: what came back of an order, and what was given back for it.

use std::collections::BTreeMap;

use common::contract::{Money, inventory::StockItem};
use serde::Deserialize;
use uuid::Uuid;

use super::orders::Order;
use super::participants::{Participants, by_product};
use super::sagas;

/// A return as it is in `order_db`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Return {
    id: Uuid,
    saga_id: Uuid,
    items: Vec<StockItem>,
    amount_minor: i64,
    status: String,
}

impl Return {
    fn is_completed(&self) -> bool {
        self.status == "COMPLETED"
    }
}

/// All that is wrong with the returns of an order.
pub(super) fn judge(order: &Order, participants: &Participants) -> Vec<String> {
    let mut found = Vec::new();
    for one in &order.returns {
        found.extend(saga(order, one));
        if one.is_completed() {
            found.extend(refunded(one, participants));
            found.extend(restocked(one, participants));
        }
    }
    found.extend(strangers(order, participants));
    found.extend(no_more_than_bought(order));
    found.extend(given_back(participants));
    found
}

/// A return is done when its saga is.
fn saga(order: &Order, one: &Return) -> Option<String> {
    let (id, status) = (one.id, &one.status);
    let saga = sagas::status_of(&order.sagas, "return_order", one.saga_id);
    match (one.is_completed(), saga) {
        (true, Some("COMPLETED")) | (false, Some("RUNNING" | "PARKED")) => None,
        (_, Some(saga)) => Some(format!(
            "its return {id} is {status}, but the saga of it is {saga}"
        )),
        (_, None) => Some(format!("its return {id} has no saga")),
    }
}

fn refunded(one: &Return, participants: &Participants) -> Option<String> {
    let amount = Money::from_minor(one.amount_minor);
    let refunds = participants
        .refunds
        .iter()
        .filter(|refund| refund.return_id == one.id);
    let amounts: Vec<_> = refunds.map(|refund| refund.amount).collect();
    (amounts != [amount]).then(|| {
        let given: Vec<_> = amounts.iter().map(Money::to_string).collect();
        format!(
            "its return {} is worth {amount}, but [{}] was given back",
            one.id,
            given.join(", ")
        )
    })
}

fn restocked(one: &Return, participants: &Participants) -> Option<String> {
    let items = by_product(&one.items);
    let restocks = participants
        .restocks
        .iter()
        .filter(|restock| restock.return_id == one.id);
    let shelved: Vec<_> = restocks.map(|restock| &restock.items).collect();
    (shelved != [&items]).then(|| {
        format!(
            "its return {} is of {items:?}, but on the shelf are {shelved:?}",
            one.id
        )
    })
}

/// What was given back or put on the shelf for no return of this order.
fn strangers(order: &Order, participants: &Participants) -> Vec<String> {
    let is_known = |id: Uuid| order.returns.iter().any(|one| one.id == id);
    let refunds = participants
        .refunds
        .iter()
        .filter(|refund| !is_known(refund.return_id));
    let refunds =
        refunds.map(|refund| format!("{} was given back for no return of it", refund.amount));
    let restocks = participants
        .restocks
        .iter()
        .filter(|restock| !is_known(restock.return_id));
    let restocks =
        restocks.map(|restock| format!("{:?} came back with no return of it", restock.items));
    refunds.chain(restocks).collect()
}

fn no_more_than_bought(order: &Order) -> Vec<String> {
    let mut found = Vec::new();
    let mut sold: BTreeMap<String, u64> = BTreeMap::new();
    for item in &order.items {
        *sold.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
    }
    let back = |returns: &mut dyn Iterator<Item = &Return>| {
        let items: Vec<_> = returns.flat_map(|one| one.items.clone()).collect();
        by_product(&items)
    };
    for (product, quantity) in back(&mut order.returns.iter()) {
        let bought = sold.get(&product).copied().unwrap_or(0);
        if quantity > bought {
            found.push(format!(
                "{quantity} of {product} come back, but {bought} were bought"
            ));
        }
    }
    let all_back = back(&mut order.returns.iter().filter(|one| one.is_completed())) == sold;
    if all_back != (order.status == "RETURNED") {
        let how = if all_back { "all" } else { "not all" };
        found.push(format!("it is {}, but {how} of it came back", order.status));
    }
    let worth: i64 = order.returns.iter().map(|one| one.amount_minor).sum();
    if all_back && worth != order.total.minor() {
        let worth = Money::from_minor(worth);
        found.push(format!(
            "it cost {}, but its returns are worth {worth}",
            order.total
        ));
    }
    found
}

/// The sum of its refunds is what a payment says was given back; undone, it gave all of it back.
fn given_back(participants: &Participants) -> Option<String> {
    let parts: i64 = participants
        .refunds
        .iter()
        .map(|refund| refund.amount.minor())
        .sum();
    let taken = participants
        .payments
        .iter()
        .filter(|payment| payment.is_captured());
    let noted: i64 = taken.clone().map(|payment| payment.refunded.minor()).sum();
    (taken.count() > 0 && noted != parts).then(|| {
        let (noted, parts) = (Money::from_minor(noted), Money::from_minor(parts));
        format!("its payment says that {noted} was given back, but the refunds add up to {parts}")
    })
}
