//! Orders with their sagas, and what must be true of each.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use common::contract::{Money, order::OrderItem};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::BATCH;
use super::participants::{Participants, Payment, Reservation};
use super::report::{Rule, Violation};
use super::returns::{self, Return};
use super::sagas::{self, Saga};

/// An order as it is in `order_db`.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) status: String,
    /// All that are about the order.
    pub(super) sagas: Vec<Saga>,
    /// What came back of it, or is coming back.
    pub(super) returns: Vec<Return>,
    saga_id: Uuid,
    reason: Option<String>,
    pub(super) items: Vec<OrderItem>,
    currency: String,
    pub(super) total: Money,
}

impl Order {
    /// How many of each product were ordered.
    pub(super) fn pieces(&self) -> BTreeMap<String, u64> {
        let mut pieces = BTreeMap::new();
        for item in &self.items {
            *pieces.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
        }
        pieces
    }

    /// Whether an operator said that something of it is done or undone: then participants need not have done it.
    pub(super) fn is_overruled(&self) -> bool {
        self.sagas.iter().any(|saga| saga.is_overruled)
    }
}

/// The newest order.
pub(super) async fn last(db: &PgPool) -> Result<Option<Uuid>> {
    let row = sqlx::query("SELECT id FROM orders ORDER BY id DESC LIMIT 1")
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

/// The next orders behind `after`, up to `last`.
pub(super) async fn page(db: &PgPool, after: Uuid, last: Uuid) -> Result<Vec<Uuid>> {
    let rows = sqlx::query("SELECT id FROM orders WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3")
        .bind(after)
        .bind(last)
        .bind(BATCH)
        .fetch_all(db)
        .await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<_, _>>()?)
}

/// Orders with their sagas and logs, in one statement and therefore of one moment.
pub(super) async fn load(db: &PgPool, ids: &[Uuid]) -> Result<Vec<Order>> {
    let rows = sqlx::query(
        // Ids above all partitions are of no day, and are kept.
        r"WITH bounds AS (SELECT regexp_match(pg_get_expr(relpartbound, oid), $$\('?([^')]*)'?\) TO \('([^']*)'\)$$) AS bound
                          FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'saga_log'::regclass),
               kept AS (SELECT CASE bound[1] WHEN 'MINVALUE' THEN '00000000-0000-0000-0000-000000000000'
                                             ELSE bound[1] END::uuid AS first, bound[2]::uuid AS after
                        FROM bounds WHERE bound IS NOT NULL)
         SELECT o.id, o.status, o.saga_id, o.cancellation_reason, o.items, o.currency, o.total_minor,
                s.id AS saga, s.type AS saga_type, s.status AS saga_status, s.current_step, s.attempt, s.reason, s.version, s.deadline_at, s.overruled,
                COALESCE(s.deadline_at < now() - interval '1 minute', false) AS is_overdue,
                EXISTS (SELECT FROM kept WHERE s.id < after)
                    AND NOT EXISTS (SELECT FROM kept WHERE s.id >= first AND s.id < after) AS log_is_dropped,
                COALESCE((SELECT json_agg(json_build_object('seq', seq, 'event', event, 'step', step, 'details', details)
                                          ORDER BY seq)
                          FROM saga_log WHERE saga_id = s.id), '[]') AS log,
                COALESCE((SELECT json_agg(json_build_object('id', id, 'sagaId', saga_id, 'items', items,
                                                            'amountMinor', amount_minor, 'status', status) ORDER BY id)
                          FROM returns WHERE order_id = o.id), '[]') AS returns
         FROM orders o LEFT JOIN sagas s ON s.subject = 'order/' || o.id
         WHERE o.id = ANY($1) ORDER BY o.id, s.id",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    let mut orders: Vec<Order> = Vec::new();
    for row in &rows {
        let id: Uuid = row.try_get("id")?;
        if orders.last().is_none_or(|order| order.id != id) {
            orders.push(order(row).with_context(|| format!("order {id} cannot be read"))?);
        }
        let saga =
            Saga::read(row).with_context(|| format!("the saga of order {id} cannot be read"))?;
        if let Some(order) = orders.last_mut() {
            order.sagas.extend(saga);
        }
    }
    Ok(orders)
}

fn order(row: &PgRow) -> Result<Order> {
    Ok(Order {
        id: row.try_get("id")?,
        status: row.try_get("status")?,
        sagas: Vec::new(),
        returns: row.try_get::<Json<_>, _>("returns")?.0,
        saga_id: row.try_get("saga_id")?,
        reason: row.try_get("cancellation_reason")?,
        items: row.try_get::<Json<_>, _>("items")?.0,
        currency: row.try_get("currency")?,
        total: Money::from_minor(row.try_get("total_minor")?),
    })
}

/// All that is wrong with an order.
pub(super) fn judge(order: &Order, participants: &Participants) -> Vec<Violation> {
    let (payments, reservations) = (&participants.payments[..], &participants.reservations[..]);
    let mut found = sagas::judge(&order.sagas);
    let saga = match sagas::placing(&order.sagas, order.saga_id) {
        Ok(saga) => saga,
        Err(problem) => {
            found.push(problem);
            return of(order, found);
        }
    };
    let (status, ends_as) = (order.status.as_str(), saga.state.status.as_str());
    let fits = match status {
        "PENDING" => matches!(ends_as, "RUNNING" | "COMPENSATING" | "PARKED"),
        "COMPLETED" | "SHIPPED" | "DELIVERED" | "RETURNED" => ends_as == "COMPLETED",
        "CANCELLED" => ends_as == "COMPENSATED",
        _ => false,
    };
    if !fits {
        let text = format!("it is {status}, but its saga is {ends_as}");
        found.push((Rule::Status, text));
    }
    // Of an order that is under way nothing is certain across databases.
    match status {
        "PENDING" => {}
        _ if order.is_overruled() => {
            let twice = twice(payments, reservations).into_iter();
            found.extend(twice.map(|problem| (Rule::Kept, problem)));
            return of(order, found);
        }
        "CANCELLED" => {
            let undone = undone(order, saga, payments, reservations);
            found.extend(undone.into_iter().map(|problem| (Rule::Undone, problem)));
        }
        _ => {
            let mut kept = paid(order, payments);
            kept.extend(held(order, reservations));
            found.extend(kept.into_iter().map(|problem| (Rule::Kept, problem)));
        }
    }
    let returned = returns::judge(order, participants);
    found.extend(
        returned
            .into_iter()
            .map(|problem| (Rule::Returned, problem)),
    );
    of(order, found)
}

fn of(order: &Order, found: Vec<(Rule, String)>) -> Vec<Violation> {
    let violation = |(rule, detail)| Violation::of_order(order.id, rule, detail);
    found.into_iter().map(violation).collect()
}

/// Whatever an operator says, nothing is done twice.
fn twice(payments: &[Payment], reservations: &[Reservation]) -> Vec<String> {
    let captured = payments.iter().filter(|payment| payment.is_captured());
    let live = reservations.iter().filter(|one| one.is_live());
    let mut found = Vec::new();
    if captured.clone().nth(1).is_some() {
        found.push(format!("it is paid {} times", captured.count()));
    }
    if live.clone().nth(1).is_some() {
        found.push(format!("it holds {} reservations", live.count()));
    }
    found
}

/// A completed order is paid once and in full.
fn paid(order: &Order, payments: &[Payment]) -> Vec<String> {
    let Order {
        status,
        currency,
        total,
        ..
    } = order;
    let mut found = Vec::new();
    let price = |item: &OrderItem| item.unit_price.times(item.quantity);
    let sum = order.items.iter().map(price).sum::<Option<Money>>();
    if sum != Some(*total) {
        found.push(format!("its items do not add up to {total} {currency}"));
    }
    // What came back is paid back, which is another rule's.
    let came_back = !order.returns.is_empty();
    let is_paid = |payment: &&Payment| payment.is_captured() || came_back && payment.is_refunded();
    let captured: Vec<_> = payments.iter().filter(is_paid).collect();
    match captured.as_slice() {
        [] => {
            let instead: Vec<_> = payments.iter().map(Payment::to_string).collect();
            let instead = if instead.is_empty() {
                "no payment".to_owned()
            } else {
                instead.join(", ")
            };
            found.push(format!("it is {status}, but not paid: {instead}"));
        }
        [payment] if payment.amount != *total || payment.currency != *currency => {
            found.push(format!("it costs {total} {currency}, but {payment}"));
        }
        [_] => {}
        several => found.push(format!("it is paid {} times", several.len())),
    }
    found
}

/// A completed order holds exactly its items.
fn held(order: &Order, reservations: &[Reservation]) -> Option<String> {
    let status = &order.status;
    let live: Vec<_> = reservations.iter().filter(|r| r.is_live()).collect();
    match live.as_slice() {
        [] => Some(format!("it is {status}, but holds no stock")),
        [reservation] => {
            let ordered = order.pieces();
            if reservation.items != ordered {
                let text = format!("it is of {ordered:?}, but holds {:?}", reservation.items);
                return Some(text);
            }
            // An order is shipped as soon as its saga begins, so its stock leaves later, but not before.
            let has_left = reservation.status == "COMMITTED";
            let left = sagas::has_completed(&order.sagas, "ship_order");
            match (status.as_str(), has_left) {
                ("COMPLETED", true) => Some(format!("it is {status}, but its stock has left")),
                (_, false) if left => Some(format!("it is {status}, but its stock has not left")),
                _ => None,
            }
        }
        several => Some(format!("it holds {} reservations", several.len())),
    }
}

/// Nothing is left of a cancelled order.
fn undone(
    order: &Order,
    saga: &Saga,
    payments: &[Payment],
    reservations: &[Reservation],
) -> Vec<String> {
    let mut found = Vec::new();
    let kept = payments.iter().filter(|payment| payment.is_captured());
    found.extend(kept.map(|payment| format!("it is CANCELLED, but {payment}")));
    let kept = reservations.iter().filter(|r| r.is_live());
    found.extend(kept.map(|r| format!("it is CANCELLED, but holds {:?}, {}", r.items, r.status)));
    match (&order.reason, &saga.state.reason) {
        (None, _) => found.push("it is CANCELLED without a reason".to_owned()),
        (Some(order), Some(saga)) if order != saga => {
            found.push(format!("it is CANCELLED for {order}, its saga for {saga}"));
        }
        _ => {}
    }
    found
}
