use common::contract::{OrderId, ReturnId};

use super::*;

fn line(product_id: &str, quantity: u32, price: i64) -> OrderItem {
    OrderItem {
        product_id: product_id.to_owned(),
        quantity,
        unit_price: Money::from_minor(price),
    }
}

fn pieces(product_id: &str, quantity: u32) -> StockItem {
    StockItem {
        product_id: product_id.to_owned(),
        quantity,
    }
}

fn returned(status: Status, items: &[StockItem]) -> Return {
    Return {
        id: ReturnId::generate(),
        order_id: OrderId::generate(),
        saga_id: SagaId::generate(),
        items: items.to_vec(),
        amount: Money::from_minor(1),
        currency: "USD".to_owned(),
        reason: None,
        status,
        created_at: Utc::now(),
        updated_at: Utc::now(),
    }
}

#[test]
fn a_return_is_worth_what_was_paid_for_its_pieces() {
    let order = [line("shirt", 3, 1999), line("hat", 1, 500)];
    let price = |items: &[StockItem]| price(&order, &[], items).unwrap();
    assert_eq!(price(&[pieces("shirt", 2)]), Money::from_minor(3998));
    let all = [pieces("hat", 1), pieces("shirt", 3)];
    assert_eq!(price(&all), Money::from_minor(6497));
}

/// Whatever an order is cut into, all returns together are worth what was paid for it.
#[test]
fn lines_of_different_prices_come_back_in_their_order() {
    let order = [line("shirt", 2, 1000), line("shirt", 2, 800)];
    let mut before = Vec::new();
    let mut prices = Vec::new();
    for quantity in [1, 2, 1] {
        let items = [pieces("shirt", quantity)];
        prices.push(price(&order, &before, &items).unwrap().minor());
        before.push(returned(Status::Pending, &items));
    }
    assert_eq!(prices, [1000, 1800, 800]);
}

#[test]
fn more_than_is_with_the_customer_cannot_come_back() {
    let order = [line("shirt", 3, 1000)];
    let before = [returned(Status::Pending, &[pieces("shirt", 2)])];
    let too_many = price(&order, &before, &[pieces("shirt", 2)]).unwrap_err();
    assert_eq!(too_many.left, 1);
    assert_eq!(
        too_many.to_string(),
        "only 1 of shirt can still be returned"
    );
    let never_bought = price(&order, &[], &[pieces("hat", 1)]).unwrap_err();
    assert_eq!(never_bought.left, 0);
}

#[test]
fn an_order_is_returned_when_all_its_pieces_are_back() {
    let order = [
        line("shirt", 1, 1000),
        line("shirt", 1, 800),
        line("hat", 1, 500),
    ];
    let first = returned(Status::Completed, &[pieces("shirt", 2)]);
    let on_its_way = returned(Status::Pending, &[pieces("hat", 1)]);
    let back = returned(Status::Completed, &[pieces("hat", 1)]);
    assert!(!is_everything(&order, std::slice::from_ref(&first)));
    assert!(!is_everything(&order, &[first.clone(), on_its_way]));
    assert!(is_everything(&order, &[first, back]));
}
