//! Returns: what came back of an order, and what was given back for it.

use std::collections::BTreeMap;

use common::contract::{Money, inventory::StockItem, order::OrderItem};
use serde::Deserialize;
use uuid::Uuid;

use super::orders::Order;
use super::participants::{Participants, Payment, by_product};
use super::sagas;

/// The type of the saga of a return.
const RETURN: &str = "return_order";

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

    fn amount(&self) -> Money {
        Money::from_minor(self.amount_minor)
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
    found.extend(sagas_of_nothing(order));
    found.extend(strangers(order, participants));
    found.extend(status(order));
    found.extend(no_more_than_bought(order));
    found.extend(given_back(order, participants));
    found
}

/// A return is done when its saga is.
fn saga(order: &Order, one: &Return) -> Option<String> {
    let (id, status) = (one.id, &one.status);
    let saga = sagas::status_of(&order.sagas, RETURN, one.saga_id);
    match (one.is_completed(), saga) {
        (true, Some("COMPLETED")) | (false, Some("RUNNING" | "PARKED")) => None,
        (_, Some(saga)) => Some(format!(
            "its return {id} is {status}, but the saga of it is {saga}"
        )),
        (_, None) => Some(format!("its return {id} has no saga")),
    }
}

/// Sagas that return what nobody sent back.
fn sagas_of_nothing(order: &Order) -> impl Iterator<Item = String> {
    let is_known = |saga: &Uuid| order.returns.iter().any(|one| one.saga_id == *saga);
    sagas::ids_of(&order.sagas, RETURN)
        .filter(move |saga| !is_known(saga))
        .map(|saga| format!("its saga {RETURN} {saga} is of no return"))
}

fn refunded(one: &Return, participants: &Participants) -> Option<String> {
    let amount = one.amount();
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

/// Only what was delivered comes back, and an order is RETURNED with its last piece.
fn status(order: &Order) -> Option<String> {
    let status = &order.status;
    if !order.returns.is_empty() && !matches!(status.as_str(), "DELIVERED" | "RETURNED") {
        return Some(format!("it is {status}, but there are returns of it"));
    }
    let completed = order.returns.iter().filter(|one| one.is_completed());
    let all_back = pieces(completed) == order.pieces();
    if all_back == (status == "RETURNED") {
        return None;
    }
    let how = if all_back { "all" } else { "not all" };
    Some(format!("it is {status}, but {how} of it came back"))
}

/// No more comes back than was bought, and it is worth what was paid for it.
fn no_more_than_bought(order: &Order) -> Vec<String> {
    let (back, sold) = (pieces(order.returns.iter()), order.pieces());
    let too_many = back.iter().filter_map(|(product, quantity)| {
        let bought = sold.get(product).copied().unwrap_or(0);
        let text = format!("{quantity} of {product} come back, but {bought} were bought");
        (*quantity > bought).then_some(text)
    });
    let too_many: Vec<_> = too_many.collect();
    if !too_many.is_empty() {
        return too_many;
    }
    let worth: Money = order.returns.iter().map(|one| one.amount()).sum();
    let paid = price(&order.items, back);
    if worth == paid {
        return Vec::new();
    }
    vec![format!(
        "its returns are worth {worth}, but {paid} was paid for what comes back"
    )]
}

/// What was paid for these pieces: where a product has lines of different prices, the pieces of the first line come
/// back first.
fn price(items: &[OrderItem], mut back: BTreeMap<String, u64>) -> Money {
    let of_line = |item: &OrderItem| {
        let left = back.get_mut(&item.product_id)?;
        let taken = u32::try_from(*left).unwrap_or(u32::MAX).min(item.quantity);
        *left -= u64::from(taken);
        item.unit_price.times(taken)
    };
    items.iter().filter_map(of_line).sum()
}

fn pieces<'r>(returns: impl Iterator<Item = &'r Return>) -> BTreeMap<String, u64> {
    let items: Vec<_> = returns.flat_map(|one| one.items.clone()).collect();
    by_product(&items)
}

/// A payment says how much of it was given back: the sum of the refunds, or all of it where it was undone.
fn given_back(order: &Order, participants: &Participants) -> Vec<String> {
    let mut found = Vec::new();
    for payment in &participants.payments {
        let is_all = payment.refunded == payment.amount;
        if payment.is_refunded() != is_all {
            let back = payment.refunded;
            found.push(format!("{payment}, but {back} of it was given back"));
        }
    }
    let came_back = !order.returns.is_empty();
    let counts = |payment: &&Payment| payment.is_captured() || came_back && payment.is_refunded();
    let noted = participants.payments.iter().filter(counts);
    let noted: Money = noted.map(|payment| payment.refunded).sum();
    let parts = participants.refunds.iter().map(|refund| refund.amount);
    let parts: Money = parts.sum();
    if noted != parts {
        found.push(format!(
            "its payment says that {noted} was given back, but the refunds add up to {parts}"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_first_line_come_back_first() {
        let line = |quantity, minor| OrderItem {
            product_id: "mug".to_owned(),
            quantity,
            unit_price: Money::from_minor(minor),
        };
        let items = [line(2, 1000), line(1, 700)];
        for (pieces, minor) in [(0, 0), (1, 1000), (2, 2000), (3, 2700)] {
            let back = BTreeMap::from([("mug".to_owned(), pieces)]);
            assert_eq!(price(&items, back), Money::from_minor(minor), "{pieces}");
        }
    }
}
