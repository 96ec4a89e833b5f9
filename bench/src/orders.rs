//! What is ordered: one piece of one product, out of a thousand; of some products there is none.

use std::fmt::Write as _;

use anyhow::Result;
use hyper::body::Bytes;
use rand::RngExt as _;
use sqlx::PgPool;

/// Products of which there is plenty, and of which there is none.
pub(crate) const PRODUCTS: usize = 1000;
const SOLD_OUT: usize = 20;
/// The share of orders for what is not there, and of payments that are declined.
pub(crate) const OUT_OF_STOCK: f64 = 0.05;
pub(crate) const DECLINED: f64 = 0.1;
/// Of each product that is there: more than can ever be ordered.
const PLENTY: i64 = 1_000_000_000;

/// Puts the products into the inventory.
///
/// # Errors
/// The database failed.
pub(crate) async fn stock(inventory: &PgPool) -> Result<()> {
    sqlx::query(
        "INSERT INTO inventory_items (product_id, product_name, price_minor, quantity)
         SELECT 'product-' || n, 'Product ' || n, 1999, CASE WHEN n < $1 THEN $3 ELSE 0 END
         FROM generate_series(0, $1 + $2 - 1) AS n",
    )
    .bind(i32::try_from(PRODUCTS)?)
    .bind(i32::try_from(SOLD_OUT)?)
    .bind(PLENTY)
    .execute(inventory)
    .await?;
    Ok(())
}

/// The bodies of requests, made in advance.
#[derive(Debug)]
pub(crate) struct Orders {
    bodies: Vec<Bytes>,
    is_hot: bool,
}

impl Orders {
    /// Of all products, or with `is_hot` of a single one.
    pub(crate) fn new(is_hot: bool) -> Self {
        let bodies = (0..PRODUCTS + SOLD_OUT).map(|product| {
            let mut body = String::new();
            // No payment method forces an outcome.
            let _ = write!(
                body,
                r#"{{"customerId":"customer-{product}","items":[{{"productId":"product-{product}","quantity":1,"unitPrice":19.99}}],"paymentMethod":"pm_any"}}"#
            );
            Bytes::from(body)
        });
        Self {
            bodies: bodies.collect(),
            is_hot,
        }
    }

    /// The share of orders for what is not there.
    pub(crate) fn out_of_stock(&self) -> f64 {
        if self.is_hot { 0.0 } else { OUT_OF_STOCK }
    }

    /// The next order, by lot.
    pub(crate) fn next(&self) -> Bytes {
        let mut random = rand::rng();
        let product = if self.is_hot {
            0
        } else if random.random_bool(OUT_OF_STOCK) {
            random.random_range(PRODUCTS..self.bodies.len())
        } else {
            random.random_range(0..PRODUCTS)
        };
        self.bodies[product].clone()
    }
}
