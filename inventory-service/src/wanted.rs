//! What a message asks for, added up by product. Whoever wrote it, no item in it may fail a whole batch.

use std::collections::BTreeMap;

use common::{
    amqp::consumer,
    contract::{Envelope, Unreadable, inventory::StockItem},
};

/// What a message asks for, each product once, by product.
///
/// # Errors
/// There are no items, or one that no warehouse can have.
pub(crate) fn merge(
    message: &Envelope,
    items: Vec<StockItem>,
) -> Result<Vec<StockItem>, Unreadable> {
    let invalid = |error: String| Unreadable::Data {
        kind: message.kind.clone(),
        error,
    };
    if items.is_empty() {
        return Err(invalid("items must not be empty".to_owned()));
    }
    let mut merged = BTreeMap::<String, u32>::new();
    for (position, item) in items.into_iter().enumerate() {
        if item.quantity == 0 {
            return Err(invalid(format!(
                "items[{position}].quantity must be at least 1"
            )));
        }
        // PostgreSQL has no such text, so the whole batch would fail for it.
        if item.product_id.contains('\0') {
            return Err(invalid(format!(
                "items[{position}].productId must not contain NUL"
            )));
        }
        let sum = merged.entry(item.product_id).or_default();
        let too_many = || {
            invalid(format!(
                "items[{position}].quantity makes the sum too large"
            ))
        };
        *sum = sum.checked_add(item.quantity).ok_or_else(too_many)?;
    }
    let merged = merged.into_iter().map(|(product_id, quantity)| StockItem {
        product_id,
        quantity,
    });
    Ok(merged.collect())
}

/// How many of each product, over any number of reservations or returns.
#[derive(Debug, Default)]
pub(crate) struct Sum(BTreeMap<String, u64>);

impl Sum {
    /// Adds `items`.
    pub(crate) fn add(&mut self, items: &[StockItem]) {
        for item in items {
            let sum = self.0.entry(item.product_id.clone()).or_default();
            *sum = sum.saturating_add(item.quantity.into());
        }
    }

    /// How many of a product.
    pub(crate) fn of(&self, product_id: &str) -> u64 {
        self.0.get(product_id).copied().unwrap_or_default()
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum, by product.
    ///
    /// # Errors
    /// More of a product than a message can say.
    pub(crate) fn into_items(self) -> Result<Vec<StockItem>, consumer::Error> {
        let item = |(product_id, sum): (String, u64)| {
            let quantity = u32::try_from(sum).map_err(|error| {
                let error = anyhow::Error::new(error);
                consumer::Error::Failed(error.context(format!("{sum} of product {product_id:?}")))
            })?;
            Ok(StockItem {
                product_id,
                quantity,
            })
        };
        self.0.into_iter().map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use common::contract::{OrderId, inventory::ReserveStock};

    use super::*;

    fn item(product_id: &str, quantity: u32) -> StockItem {
        StockItem {
            product_id: product_id.to_owned(),
            quantity,
        }
    }

    fn merged(items: Vec<StockItem>) -> Result<Vec<StockItem>, Unreadable> {
        let data = ReserveStock {
            order_id: OrderId::generate(),
            items: items.clone(),
        };
        merge(&Envelope::new("order-service", "an order", &data), items)
    }

    #[test]
    fn duplicate_products_are_added_up_in_product_order() {
        let merged = merged(vec![item("b", 2), item("a", 1), item("b", 3)]).unwrap();
        assert_eq!(merged, [item("a", 1), item("b", 5)]);
    }

    #[test]
    fn what_no_warehouse_can_have_is_unreadable() {
        for (items, expected) in [
            (vec![], "items must not be empty"),
            (
                vec![item("a", 1), item("b", 0)],
                "items[1].quantity must be at least 1",
            ),
            (
                vec![item("a\0", 1)],
                "items[0].productId must not contain NUL",
            ),
            (
                vec![item("a", u32::MAX), item("a", 1)],
                "items[1].quantity makes the sum too large",
            ),
        ] {
            let error = merged(items).unwrap_err();
            assert_eq!(error.kind(), "invalid-data");
            assert!(error.to_string().ends_with(expected), "{error}");
        }
    }
}
