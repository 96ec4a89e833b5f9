//! What orders get, by example and by property.

use proptest::{collection::vec, prelude::*};

use super::*;

fn shelf(quantity: i64, reserved: i64) -> Item {
    Item {
        quantity,
        reserved,
        low_stock_threshold: 10,
        version: 7,
    }
}

fn stock(items: &[(&str, Item)]) -> Stock {
    Stock::new(
        items
            .iter()
            .map(|(id, item)| ((*id).to_owned(), item.clone())),
    )
}

fn items(wanted: &[(&str, u32)]) -> Vec<StockItem> {
    let item = |&(product_id, quantity): &(&str, u32)| StockItem {
        product_id: product_id.to_owned(),
        quantity,
    };
    wanted.iter().map(item).collect()
}

fn refusal(reason: Reason, product_id: &str) -> Result<(), Refusal> {
    Err(Refusal {
        reason,
        product_id: product_id.to_owned(),
    })
}

/// (type, sequence, available) of each event of the only change.
fn events(stock: &Stock) -> Vec<(String, i32, u64)> {
    let changes = stock.changes();
    let [change] = &changes[..] else {
        panic!("one product changed, not {changes:?}");
    };
    let read = |event: &common::contract::Envelope| {
        let level: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
        let available = level["availableQuantity"].as_u64().unwrap();
        (event.kind.clone(), event.sequence.unwrap(), available)
    };
    change.events.iter().map(read).collect()
}

#[test]
fn an_order_gets_all_of_its_items_or_none() {
    let mut stock = stock(&[("a", shelf(50, 0)), ("b", shelf(1, 0))]);
    let refused = stock.reserve(&items(&[("a", 1), ("b", 2)]));
    assert_eq!(refused, refusal(OUT_OF_STOCK, "b"));
    assert!(stock.changes().is_empty());
    assert_eq!(stock.reserve(&items(&[("a", 1), ("b", 1)])), Ok(()));
    assert_eq!(stock.get("b").map(Item::available), Some(0));
}

#[test]
fn an_unknown_product_is_named_before_one_that_is_short() {
    let mut stock = stock(&[("a", shelf(0, 0))]);
    let refused = stock.reserve(&items(&[("a", 1), ("x", 1)]));
    assert_eq!(refused, refusal(UNKNOWN_PRODUCT, "x"));
}

#[test]
fn who_comes_first_is_served_first_and_what_is_given_back_serves_the_next() {
    let mut stock = stock(&[("a", shelf(3, 0))]);
    assert_eq!(stock.reserve(&items(&[("a", 2)])), Ok(()));
    let refused = stock.reserve(&items(&[("a", 2)]));
    assert_eq!(refused, refusal(OUT_OF_STOCK, "a"));
    assert_eq!(stock.release(&items(&[("a", 2)])), Ok(()));
    assert_eq!(stock.reserve(&items(&[("a", 3)])), Ok(()));
}

#[test]
fn shipped_goods_leave_the_warehouse_and_nothing_becomes_available() {
    let mut stock = stock(&[("a", shelf(20, 5))]);
    assert_eq!(stock.ship(&items(&[("a", 5)])), Ok(()));
    assert_eq!(stock.get("a"), Some(&shelf(15, 0)));
    assert_eq!(events(&stock), [("inventory.updated.v1".to_owned(), 8, 15)]);
}

#[test]
fn goods_that_came_back_are_told_of_and_can_be_ordered() {
    let mut stock = stock(&[("a", shelf(0, 0))]);
    assert_eq!(stock.restock(&items(&[("a", 3)])), Ok(()));
    assert_eq!(stock.get("a"), Some(&shelf(3, 0)));
    let told = events(&stock);
    assert_eq!(told[0], ("inventory.updated.v1".to_owned(), 8, 3));
    assert_eq!(told[1], ("inventory.back_in_stock.v1".to_owned(), 9, 3));
    let unknown = stock.restock(&items(&[("x", 1)]));
    assert_eq!(unknown, Err(Error::Missing("x".to_owned())));
}

#[test]
fn books_that_do_not_balance_are_an_error() {
    let mut stock = stock(&[("a", shelf(20, 5))]);
    let held = items(&[("a", 6)]);
    assert!(matches!(
        stock.release(&held),
        Err(Error::Unbalanced { .. })
    ));
    assert!(matches!(stock.ship(&held), Err(Error::Unbalanced { .. })));
    let gone = stock.release(&items(&[("x", 1)]));
    assert_eq!(gone, Err(Error::Missing("x".to_owned())));
}

#[test]
fn low_stock_is_told_once_on_the_way_down() {
    let mut stock = stock(&[("a", shelf(12, 0))]);
    stock.reserve(&items(&[("a", 2)])).unwrap();
    assert!(events(&stock).is_empty(), "10 is not fewer than 10");
    stock.reserve(&items(&[("a", 1)])).unwrap();
    stock.reserve(&items(&[("a", 1)])).unwrap();
    assert_eq!(
        events(&stock),
        [("inventory.low_stock.v1".to_owned(), 8, 8)]
    );
    let mut low = Stock::new([("a".to_owned(), shelf(9, 0))]);
    low.reserve(&items(&[("a", 1)])).unwrap();
    assert!(events(&low).is_empty());
}

#[test]
fn back_in_stock_is_told_when_there_were_none() {
    let mut stock = stock(&[("a", shelf(4, 4))]);
    stock.release(&items(&[("a", 1)])).unwrap();
    assert_eq!(
        events(&stock),
        [("inventory.back_in_stock.v1".to_owned(), 8, 1)]
    );
}

#[test]
fn events_of_one_change_are_numbered_on() {
    let mut stock = stock(&[("a", shelf(0, 0))]);
    stock.update("a", Some(5));
    let told = events(&stock);
    assert_eq!(told[0], ("inventory.updated.v1".to_owned(), 8, 5));
    assert_eq!(told[1], ("inventory.back_in_stock.v1".to_owned(), 9, 5));
}

/// What an order may ask of products `a`, `b` (both there) and `c` (unknown).
fn orders() -> impl Strategy<Value = Vec<Vec<StockItem>>> {
    let quantities = (0..4_u32, 0..4_u32, prop::bool::weighted(0.1));
    let order = quantities.prop_map(|(a, b, c)| {
        let wanted = [("a", a), ("b", b), ("c", u32::from(c))];
        items(
            &wanted
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .collect::<Vec<_>>(),
        )
    });
    vec(order, 0..40)
}

proptest! {
    #[test]
    fn never_more_is_held_than_there_is_and_the_books_balance(orders in orders(), a in 0..40_i64, b in 0..40_i64) {
        let mut stock = stock(&[("a", shelf(a, 0)), ("b", shelf(b, 0))]);
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        for order in &orders {
            if stock.reserve(order).is_ok() {
                for item in order {
                    *held.entry(item.product_id.clone()).or_default() += i64::from(item.quantity);
                }
            }
        }
        prop_assert!(!held.contains_key("c"));
        for (product_id, there) in [("a", a), ("b", b)] {
            let item = stock.get(product_id).unwrap();
            prop_assert_eq!(item.quantity, there);
            prop_assert_eq!(item.reserved, held.get(product_id).copied().unwrap_or_default());
            prop_assert!(item.available() >= 0);
        }
        let written: BTreeMap<_, _> = stock.changes().into_iter().map(|c| (c.product_id, c.reserved)).collect();
        prop_assert_eq!(written, held);
    }
}
