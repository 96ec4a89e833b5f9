//! The stock that the demo starts with.

use anyhow::{Context as _, Result};

use super::api::Api;

/// The product that is ordered in vain.
pub(super) const SCARCE: &str = "prod-3";

/// What there is, at least: product, quantity, price.
const LEAST: [(&str, i64, f64); 3] = [
    ("prod-1", 100, 19.99),
    ("prod-2", 50, 49.5),
    (SCARCE, 25, 5.0),
];

/// What one of the product costs in an order.
pub(super) fn price(product: &str) -> f64 {
    let known = LEAST.iter().find(|(id, _, _)| *id == product);
    known.map_or(9.99, |(_, _, price)| *price)
}

/// Adds to the stock where orders have left less than the demo starts with, and takes nothing away. Returns how much
/// there is of [`SCARCE`], reserved or not.
///
/// # Errors
/// The inventory service refuses.
pub(super) async fn fill(api: &Api) -> Result<i64> {
    let mut scarce = 0;
    for (product, least, price) in LEAST {
        let there = match api.item(product).await? {
            None => api.add_item(product, least, price).await,
            Some(item) if item.available_quantity < least => {
                let enough = item.reserved_quantity + least;
                api.set_quantity(product, enough).await
            }
            Some(item) => Ok(item),
        };
        let item = there.with_context(|| format!("filling up {product}"))?;
        println!(
            "{product}  {:>4} available, {:>4} held by earlier orders",
            item.available_quantity, item.reserved_quantity
        );
        if product == SCARCE {
            scarce = item.quantity;
        }
    }
    Ok(scarce)
}
