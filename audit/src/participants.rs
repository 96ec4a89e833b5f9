//! What payment and inventory service have of the orders.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::Result;
use common::contract::{Money, inventory::StockItem};
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

/// A payment as it is in `payment_db`.
#[derive(Debug)]
pub(super) struct Payment {
    pub(super) amount: Money,
    pub(super) currency: String,
    status: String,
}

impl Payment {
    /// Whether money was taken and not given back.
    pub(super) fn is_captured(&self) -> bool {
        self.status == "CAPTURED"
    }
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            amount,
            currency,
            status,
        } = self;
        write!(f, "{amount} {currency} are {status}")
    }
}

/// A reservation as it is in `inventory_db`.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) status: String,
    /// By product.
    pub(super) items: BTreeMap<String, u64>,
}

impl Reservation {
    /// Whether stock is held, or has left.
    pub(super) fn is_live(&self) -> bool {
        self.status != "RELEASED"
    }
}

/// The payments of these orders, by order.
pub(super) async fn payments(db: &PgPool, orders: &[Uuid]) -> Result<HashMap<Uuid, Vec<Payment>>> {
    let rows = sqlx::query(
        "SELECT order_id, amount_minor, currency, status FROM payments WHERE order_id = ANY($1) ORDER BY id",
    )
    .bind(orders)
    .fetch_all(db)
    .await?;
    let mut payments: HashMap<Uuid, Vec<Payment>> = HashMap::new();
    for row in rows {
        let of_order = payments.entry(row.try_get("order_id")?).or_default();
        of_order.push(Payment {
            amount: Money::from_minor(row.try_get("amount_minor")?),
            currency: row.try_get("currency")?,
            status: row.try_get("status")?,
        });
    }
    Ok(payments)
}

/// The reservations of these orders, by order.
pub(super) async fn reservations(
    db: &PgPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Reservation>>> {
    let rows = sqlx::query(
        "SELECT order_id, items, status FROM reservations WHERE order_id = ANY($1) ORDER BY id",
    )
    .bind(orders)
    .fetch_all(db)
    .await?;
    let mut reservations: HashMap<Uuid, Vec<Reservation>> = HashMap::new();
    for row in rows {
        let Json(held): Json<Vec<StockItem>> = row.try_get("items")?;
        let mut items = BTreeMap::new();
        for item in held {
            *items.entry(item.product_id).or_default() += u64::from(item.quantity);
        }
        let of_order = reservations.entry(row.try_get("order_id")?).or_default();
        of_order.push(Reservation {
            status: row.try_get("status")?,
            items,
        });
    }
    Ok(reservations)
}
