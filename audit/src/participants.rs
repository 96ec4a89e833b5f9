//! What payment and inventory service have of the orders.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use anyhow::{Context as _, Result};
use common::contract::{Money, inventory::StockItem};
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

/// What the participants have of one order.
#[derive(Debug, Default)]
pub(super) struct Participants {
    pub(super) payments: Vec<Payment>,
    pub(super) reservations: Vec<Reservation>,
    /// Parts of payments that were given back.
    pub(super) refunds: Vec<Refund>,
    /// Goods that are on the shelf again.
    pub(super) restocks: Vec<Restock>,
}

/// What the participants have of these orders, by order.
pub(super) async fn of_orders(
    payment: &PgPool,
    inventory: &PgPool,
    orders: &[Uuid],
) -> Result<HashMap<Uuid, Participants>> {
    let mut all: HashMap<Uuid, Participants> = HashMap::new();
    for (order, payments) in payments(payment, orders).await.context("payment_db")? {
        all.entry(order).or_default().payments = payments;
    }
    for (order, refund) in refunds(payment, orders).await.context("payment_db")? {
        all.entry(order).or_default().refunds.push(refund);
    }
    let held = reservations(inventory, orders).await;
    for (order, reservations) in held.context("inventory_db")? {
        all.entry(order).or_default().reservations = reservations;
    }
    for (order, restock) in restocks(inventory, orders).await.context("inventory_db")? {
        all.entry(order).or_default().restocks.push(restock);
    }
    Ok(all)
}

/// A part of a payment that was given back, as it is in `payment_db`.
#[derive(Debug)]
pub(super) struct Refund {
    pub(super) return_id: Uuid,
    pub(super) amount: Money,
}

/// Goods that came back, as they are in `inventory_db`.
#[derive(Debug)]
pub(super) struct Restock {
    pub(super) return_id: Uuid,
    /// By product.
    pub(super) items: BTreeMap<String, u64>,
}

async fn refunds(db: &PgPool, orders: &[Uuid]) -> Result<Vec<(Uuid, Refund)>> {
    let rows = sqlx::query(
        "SELECT order_id, return_id, amount_minor FROM refunds WHERE order_id = ANY($1) ORDER BY id",
    )
    .bind(orders)
    .fetch_all(db)
    .await?;
    let refunds = rows.iter().map(|row| {
        let refund = Refund {
            return_id: row.try_get("return_id")?,
            amount: Money::from_minor(row.try_get("amount_minor")?),
        };
        Ok((row.try_get("order_id")?, refund))
    });
    refunds.collect()
}

async fn restocks(db: &PgPool, orders: &[Uuid]) -> Result<Vec<(Uuid, Restock)>> {
    let rows = sqlx::query(
        "SELECT order_id, return_id, items FROM restocks WHERE order_id = ANY($1) ORDER BY id",
    )
    .bind(orders)
    .fetch_all(db)
    .await?;
    let restocks = rows.iter().map(|row| {
        let Json(items): Json<Vec<StockItem>> = row.try_get("items")?;
        let restock = Restock {
            return_id: row.try_get("return_id")?,
            items: by_product(&items),
        };
        Ok((row.try_get("order_id")?, restock))
    });
    restocks.collect()
}

/// How many of each product.
pub(super) fn by_product(items: &[StockItem]) -> BTreeMap<String, u64> {
    let mut quantities = BTreeMap::new();
    for item in items {
        *quantities.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
    }
    quantities
}

/// A payment as it is in `payment_db`.
#[derive(Debug)]
pub(super) struct Payment {
    pub(super) amount: Money,
    pub(super) currency: String,
    /// What of it was given back.
    pub(super) refunded: Money,
    status: String,
}

impl Payment {
    /// Whether money was taken and not all of it given back.
    pub(super) fn is_captured(&self) -> bool {
        self.status == "CAPTURED"
    }

    /// Whether money was taken and all of it given back.
    pub(super) fn is_refunded(&self) -> bool {
        self.status == "REFUNDED"
    }
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            amount,
            currency,
            status,
            ..
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
async fn payments(db: &PgPool, orders: &[Uuid]) -> Result<HashMap<Uuid, Vec<Payment>>> {
    let rows = sqlx::query(
        "SELECT order_id, amount_minor, refunded_minor, currency, status FROM payments WHERE order_id = ANY($1) ORDER BY id",
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
            refunded: Money::from_minor(row.try_get("refunded_minor")?),
            status: row.try_get("status")?,
        });
    }
    Ok(payments)
}

/// The reservations of these orders, by order.
async fn reservations(db: &PgPool, orders: &[Uuid]) -> Result<HashMap<Uuid, Vec<Reservation>>> {
    let rows = sqlx::query(
        "SELECT order_id, items, status FROM reservations WHERE order_id = ANY($1) ORDER BY id",
    )
    .bind(orders)
    .fetch_all(db)
    .await?;
    let mut reservations: HashMap<Uuid, Vec<Reservation>> = HashMap::new();
    for row in rows {
        let Json(held): Json<Vec<StockItem>> = row.try_get("items")?;
        let of_order = reservations.entry(row.try_get("order_id")?).or_default();
        of_order.push(Reservation {
            status: row.try_get("status")?,
            items: by_product(&held),
        });
    }
    Ok(reservations)
}
