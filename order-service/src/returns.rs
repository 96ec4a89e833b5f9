//! Returns: what customers send back of delivered orders, and what is given back for it.
//!
//! ```text
//! PENDING ── the goods are on the shelf, and their price is given back ──► COMPLETED
//! ```

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use common::{
    contract::{Money, OrderId, ReturnId, SagaId, inventory::StockItem, order::OrderItem},
    db::{self, Writes},
};
use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow, types::Json};

use crate::idempotency::Idempotency;

/// Goods that a customer sends back at one time.
#[derive(Clone, Debug)]
pub struct Return {
    /// Its id.
    pub id: ReturnId,
    /// The order that they were part of.
    pub order_id: OrderId,
    /// The saga that executes it.
    pub saga_id: SagaId,
    /// What comes back, each product once.
    pub items: Vec<StockItem>,
    /// What is given back for it.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: String,
    /// Why, in the customer's words.
    pub reason: Option<String>,
    /// Where it is.
    pub status: Status,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Where a return is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = ReturnStatus)]
pub enum Status {
    /// Its saga is at work on it.
    Pending,
    /// The goods are on the shelf, and their price is given back.
    Completed,
}

/// More comes back of a product than is with the customer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only {left} of {product_id} can still be returned")]
pub struct TooMany {
    /// The product.
    pub product_id: String,
    /// How many are with the customer, and not coming back yet.
    pub left: u32,
}

/// What was paid for `returned`, in an order of `ordered`, where `before` has come back or is coming back.
///
/// Where an order has a product in several lines of different prices, its pieces come back in the order of the lines:
/// so all returns of an order together are worth what was paid for it, whatever they are cut into.
///
/// # Errors
/// More comes back than is with the customer.
pub fn price(
    ordered: &[OrderItem],
    before: &[Return],
    returned: &[StockItem],
) -> Result<Money, TooMany> {
    let gone = quantities(before.iter().flat_map(|earlier| &earlier.items));
    let mut worth = Vec::new();
    for item in returned {
        let lines = ordered
            .iter()
            .filter(|line| line.product_id == item.product_id);
        let mut skip = gone.get(item.product_id.as_str()).copied().unwrap_or(0);
        let mut wanted = u64::from(item.quantity);
        let mut left = 0;
        for line in lines {
            let quantity = u64::from(line.quantity);
            let skipped = skip.min(quantity);
            skip -= skipped;
            left += quantity - skipped;
            let taken = wanted.min(quantity - skipped);
            wanted -= taken;
            let taken = u32::try_from(taken).expect("no more than the line has");
            let price = line.unit_price.times(taken);
            worth.push(price.expect("no more than the order is worth"));
        }
        if wanted > 0 {
            return Err(TooMany {
                product_id: item.product_id.clone(),
                left: u32::try_from(left).unwrap_or(u32::MAX),
            });
        }
    }
    Ok(worth.into_iter().sum())
}

/// Whether all pieces of an order have come back.
#[must_use]
pub fn is_everything(ordered: &[OrderItem], returns: &[Return]) -> bool {
    let completed = returns.iter().filter(|one| one.status == Status::Completed);
    let back = quantities(completed.flat_map(|one| &one.items));
    let mut sold: BTreeMap<&str, u64> = BTreeMap::new();
    for line in ordered {
        *sold.entry(&line.product_id).or_default() += u64::from(line.quantity);
    }
    back == sold
}

fn quantities<'i>(items: impl Iterator<Item = &'i StockItem>) -> BTreeMap<&'i str, u64> {
    let mut quantities = BTreeMap::new();
    for item in items {
        *quantities.entry(item.product_id.as_str()).or_default() += u64::from(item.quantity);
    }
    quantities
}

/// The columns that make a [`Return`].
macro_rules! columns {
    () => {
        "id, order_id, saga_id, items, amount_minor, currency, reason, status, created_at, updated_at"
    };
}

/// The returns of these orders, by order, in the order in which they were accepted.
///
/// # Errors
/// The database failed.
pub async fn of_orders(
    db: &mut PgConnection,
    orders: &[OrderId],
) -> sqlx::Result<HashMap<OrderId, Vec<Return>>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM returns WHERE order_id = ANY($1) ORDER BY id"
    ))
    .bind(orders.iter().map(|order| order.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let mut returns: HashMap<OrderId, Vec<Return>> = HashMap::new();
    for row in &rows {
        let one = read(row)?;
        returns.entry(one.order_id).or_default().push(one);
    }
    Ok(returns)
}

/// The return that was accepted with this key, and the hash of its request.
///
/// # Errors
/// The database failed.
pub(crate) async fn find_by_key(
    db: impl PgExecutor<'_>,
    request: &Idempotency,
) -> sqlx::Result<Option<(Vec<u8>, Return)>> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        ", request_hash FROM returns WHERE idempotency_key = ANY($1)"
    ))
    .bind(request.spellings().to_vec())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.try_get("request_hash")?, read(&row)?)))
        .transpose()
}

/// Adds a new return to `writes`, with the client's key and the hash of what came with it.
pub(crate) fn insert(writes: &mut Writes, new: &Return, idempotency: Option<&Idempotency>) {
    writes
        .add(
            "INSERT INTO returns (id, order_id, saga_id, items, amount_minor, currency, reason, status,
                                  idempotency_key, request_hash, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING', $8, $9, $10, $10)",
        )
        .bind(new.id.0)
        .bind(new.order_id.0)
        .bind(new.saga_id.0)
        .bind(Json(new.items.clone()))
        .bind(new.amount.minor())
        .bind(new.currency.clone())
        .bind(new.reason.clone())
        .bind(idempotency.map(|request| request.stored().to_owned()))
        .bind(idempotency.map(|request| request.hash.clone()))
        .bind(new.created_at);
}

/// Adds to `writes` that these returns, of orders that are locked, are completed.
pub(crate) fn complete(writes: &mut Writes, returns: &[ReturnId]) {
    if returns.is_empty() {
        return;
    }
    writes
        .add("UPDATE returns SET status = 'COMPLETED', updated_at = now() WHERE id = ANY($1)")
        .bind(returns.iter().map(|one| one.0).collect::<Vec<_>>());
}

fn read(row: &PgRow) -> sqlx::Result<Return> {
    Ok(Return {
        id: ReturnId(row.try_get("id")?),
        order_id: OrderId(row.try_get("order_id")?),
        saga_id: SagaId(row.try_get("saga_id")?),
        items: row.try_get::<Json<_>, _>("items")?.0,
        amount: Money::from_minor(row.try_get("amount_minor")?),
        currency: row.try_get("currency")?,
        reason: row.try_get("reason")?,
        status: db::parsed(row, "status")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

#[cfg(test)]
mod tests;
