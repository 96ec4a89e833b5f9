//! Reservations: what an order holds, and what became of it. One for each step of a saga that holds something.
//!
//! ```text
//! RESERVED ─┬─ released: the goods are back on the shelf ─► RELEASED
//!           └─ committed: the goods have left ────────────► COMMITTED
//! ```

use std::collections::HashMap;

use common::{
    contract::{OrderId, SagaId, inventory::StockItem},
    db::{self, Writes},
    participant::idempotency::Key,
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};
use uuid::Uuid;

/// What an order holds or held.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    /// Its id.
    pub(crate) id: Uuid,
    /// The saga that made it.
    pub(crate) saga_id: SagaId,
    /// The saga's step that it belongs to.
    pub(crate) step: String,
    /// The order that it is for.
    pub(crate) order_id: OrderId,
    /// Each product once, by product.
    pub(crate) items: Vec<StockItem>,
    /// What became of it.
    pub(crate) status: Status,
}

/// What became of a reservation.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = ReservationStatus, rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    /// The items are held.
    Reserved,
    /// The goods have left; nothing is held.
    Committed,
    /// The items were given back.
    Released,
}

/// Locks the reservations that `actions` made and those of `orders`, in the order that all transactions keep.
///
/// # Errors
/// The database failed.
pub(crate) async fn lock(
    tx: &mut Transaction<'_, Postgres>,
    actions: &[Key],
    orders: &[OrderId],
) -> sqlx::Result<Vec<Reservation>> {
    if actions.is_empty() && orders.is_empty() {
        return Ok(Vec::new());
    }
    let (sagas, steps, _) = Key::columns(actions);
    // One statement, because two would lock in two orders; and a UNION, because an OR would find no index.
    let rows = sqlx::query(
        "SELECT id, saga_id, step, order_id, items, status FROM reservations
         WHERE id IN (SELECT id FROM reservations
                      WHERE (saga_id, step) IN (SELECT * FROM UNNEST($1::uuid[], $2::text[]))
                      UNION SELECT id FROM reservations WHERE order_id = ANY($3))
         ORDER BY saga_id, step FOR UPDATE",
    )
    .bind(sagas)
    .bind(steps)
    .bind(orders.iter().map(|order| order.0).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(read).collect()
}

/// Reservations that a transaction has locked or makes: as they were, and as they will be.
#[derive(Debug, Default)]
pub(crate) struct Book {
    by_order: HashMap<OrderId, Vec<Known>>,
    by_action: HashMap<(SagaId, String), (OrderId, usize)>,
    made: Vec<Reservation>,
}

#[derive(Debug)]
struct Known {
    was: Status,
    now: Reservation,
}

impl Book {
    /// Of `locked` reservations.
    pub(crate) fn new(locked: Vec<Reservation>) -> Self {
        let mut book = Self::default();
        for now in locked {
            let of_order = book.by_order.entry(now.order_id).or_default();
            let action = (now.saga_id, now.step.clone());
            book.by_action
                .insert(action, (now.order_id, of_order.len()));
            let was = now.status;
            of_order.push(Known { was, now });
        }
        book
    }

    /// What the action of the same step as `key` made, if it was locked.
    pub(crate) fn made_by(&mut self, key: &Key) -> Option<&mut Reservation> {
        let (order, position) = self.by_action.get(&(key.saga, key.step.clone()))?;
        let known = self.by_order.get_mut(order)?.get_mut(*position)?;
        Some(&mut known.now)
    }

    /// Those of an order, if they were locked.
    pub(crate) fn of_order(&mut self, order: OrderId) -> impl Iterator<Item = &mut Reservation> {
        let of_order = self.by_order.get_mut(&order);
        of_order.into_iter().flatten().map(|known| &mut known.now)
    }

    /// Notes a new one.
    pub(crate) fn add(&mut self, reservation: Reservation) {
        self.made.push(reservation);
    }

    /// Adds what is new and what has changed to `writes`.
    pub(crate) fn write(self, writes: &mut Writes) {
        insert(writes, self.made);
        let known = self.by_order.values().flatten();
        let changed = known.filter(|known| known.now.status != known.was);
        set_status(writes, &changed.map(|known| &known.now).collect::<Vec<_>>());
    }
}

/// Writes new `reservations`. A step that has one keeps it: then a faster replica made it, which the frame is about
/// to notice.
fn insert(writes: &mut Writes, mut reservations: Vec<Reservation>) {
    if reservations.is_empty() {
        return;
    }
    // The order is the same in all transactions, so that two of them cannot wait for each other.
    reservations.sort_unstable_by(|a, b| (a.saga_id, &a.step).cmp(&(b.saga_id, &b.step)));
    let uuids = |get: fn(&Reservation) -> Uuid| reservations.iter().map(get).collect::<Vec<_>>();
    let texts = |get: fn(&Reservation) -> &str| reservations.iter().map(get).collect::<Vec<_>>();
    let items: Vec<_> = reservations.iter().map(|r| Json(&r.items)).collect();
    writes.add(
        "INSERT INTO reservations (id, saga_id, step, order_id, items, status)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::json[], $6::text[])
         ON CONFLICT (saga_id, step) DO NOTHING",
    )
    .bind(uuids(|r| r.id))
    .bind(uuids(|r| r.saga_id.0))
    .bind(texts(|r| &r.step))
    .bind(uuids(|r| r.order_id.0))
    .bind(items)
    .bind(texts(|r| <&str>::from(r.status)));
}

/// Gives `changed` reservations, which are locked, their new status.
fn set_status(writes: &mut Writes, changed: &[&Reservation]) {
    if changed.is_empty() {
        return;
    }
    writes
        .add(
            "UPDATE reservations r SET status = n.status, updated_at = now()
             FROM UNNEST($1::uuid[], $2::text[]) AS n (id, status) WHERE r.id = n.id",
        )
        .bind(changed.iter().map(|r| r.id).collect::<Vec<_>>())
        .bind(
            changed
                .iter()
                .map(|r| <&str>::from(r.status))
                .collect::<Vec<_>>(),
        );
}

fn read(row: &PgRow) -> sqlx::Result<Reservation> {
    Ok(Reservation {
        id: row.try_get("id")?,
        saga_id: SagaId(row.try_get("saga_id")?),
        step: row.try_get("step")?,
        order_id: OrderId(row.try_get("order_id")?),
        items: row.try_get::<Json<_>, _>("items")?.0,
        status: db::parsed(row, "status")?,
    })
}
