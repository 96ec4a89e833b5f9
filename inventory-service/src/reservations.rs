//! Reservations: what an order holds, and what became of it. One for each saga.
//!
//! ```text
//! RESERVED ─┬─ released: the goods are back on the shelf ─► RELEASED
//!           └─ shipped: the goods have left ──────────────► COMMITTED
//! ```

use common::contract::{OrderId, SagaId, inventory::StockItem};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};
use uuid::Uuid;

/// What an order holds or held.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    /// The saga that made it.
    pub(crate) saga_id: SagaId,
    /// The order that it is for.
    pub(crate) order_id: OrderId,
    /// Each product once, by product.
    pub(crate) items: Vec<StockItem>,
    /// What became of it.
    pub(crate) status: Status,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The items are held.
    Reserved,
    /// The goods have left; nothing is held.
    Committed,
    /// The items were given back.
    Released,
}

impl Status {
    const ALL: [Self; 3] = [Self::Reserved, Self::Committed, Self::Released];

    /// The status' name in the table and in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "RESERVED",
            Self::Committed => "COMMITTED",
            Self::Released => "RELEASED",
        }
    }
}

/// Locks the reservations of `sagas`, in the order that all transactions keep.
///
/// # Errors
/// The database's.
pub(crate) async fn lock_by_saga(
    tx: &mut Transaction<'_, Postgres>,
    sagas: &[Uuid],
) -> sqlx::Result<Vec<Reservation>> {
    if sagas.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT saga_id, order_id, items, status FROM reservations
         WHERE saga_id = ANY($1) ORDER BY saga_id FOR UPDATE",
    )
    .bind(sagas)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read).collect()
}

/// The same by order.
///
/// # Errors
/// The database's.
pub(crate) async fn lock_by_order(
    tx: &mut Transaction<'_, Postgres>,
    orders: &[Uuid],
) -> sqlx::Result<Vec<Reservation>> {
    let rows = sqlx::query(
        "SELECT saga_id, order_id, items, status FROM reservations
         WHERE order_id = ANY($1) ORDER BY saga_id FOR UPDATE",
    )
    .bind(orders)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read).collect()
}

/// Writes new `reservations`, and returns how many of them were new: a saga has one at most.
///
/// # Errors
/// The database's.
pub(crate) async fn insert(
    tx: &mut Transaction<'_, Postgres>,
    mut reservations: Vec<Reservation>,
) -> sqlx::Result<u64> {
    if reservations.is_empty() {
        return Ok(0);
    }
    // The order is the same in all transactions, so that two of them cannot wait for each other.
    reservations.sort_unstable_by_key(|r| r.saga_id);
    let items = reservations
        .iter()
        .map(|r| serde_json::to_string(&r.items))
        .collect::<Result<Vec<_>, _>>();
    let inserted = sqlx::query(
        "INSERT INTO reservations (id, saga_id, order_id, items, status)
         SELECT id, saga_id, order_id, items::json, status
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[])
              AS r (id, saga_id, order_id, items, status)
         ON CONFLICT (saga_id) DO NOTHING",
    )
    .bind(
        reservations
            .iter()
            .map(|_| Uuid::now_v7())
            .collect::<Vec<_>>(),
    )
    .bind(reservations.iter().map(|r| r.saga_id.0).collect::<Vec<_>>())
    .bind(
        reservations
            .iter()
            .map(|r| r.order_id.0)
            .collect::<Vec<_>>(),
    )
    .bind(items.map_err(|error| sqlx::Error::Encode(error.into()))?)
    .bind(
        reservations
            .iter()
            .map(|r| r.status.as_str())
            .collect::<Vec<_>>(),
    )
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected())
}

/// Gives the locked reservations of `sagas` a new status.
///
/// # Errors
/// The database's.
pub(crate) async fn set_status(
    tx: &mut Transaction<'_, Postgres>,
    sagas: &[Uuid],
    status: Status,
) -> sqlx::Result<()> {
    if sagas.is_empty() {
        return Ok(());
    }
    sqlx::query("UPDATE reservations SET status = $2, updated_at = now() WHERE saga_id = ANY($1)")
        .bind(sagas)
        .bind(status.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn read(row: &PgRow) -> sqlx::Result<Reservation> {
    let name: &str = row.try_get("status")?;
    let status = Status::ALL.into_iter().find(|s| s.as_str() == name);
    let unknown = || sqlx::Error::Decode(format!("unknown status {name:?}").into());
    Ok(Reservation {
        saga_id: SagaId(row.try_get("saga_id")?),
        order_id: OrderId(row.try_get("order_id")?),
        items: row.try_get::<Json<_>, _>("items")?.0,
        status: status.ok_or_else(unknown)?,
    })
}
