//! The table `payments`: set-based writes for the handler, reads for the API.

use std::collections::HashMap;

use common::{
    contract::{Money, OrderId, PaymentId, SagaId},
    db::Writes,
    participant::idempotency::{Direction, Key},
};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use sqlx::{PgExecutor, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{entity::payment, gateway::Verdict};

/// A payment that the gateway has decided on.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) id: PaymentId,
    pub(crate) saga: SagaId,
    pub(crate) step: String,
    pub(crate) order_id: OrderId,
    pub(crate) customer_id: String,
    pub(crate) amount: Money,
    pub(crate) currency: String,
    pub(crate) payment_method: Option<String>,
    pub(crate) verdict: Verdict,
}

impl Payment {
    fn status(&self) -> &'static str {
        match self.verdict {
            Verdict::Captured { .. } => "CAPTURED",
            Verdict::Declined { .. } => "DECLINED",
        }
    }

    fn gateway_id(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Captured { gateway_id } => Some(gateway_id),
            Verdict::Declined { .. } => None,
        }
    }

    fn decline_code(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Captured { .. } => None,
            Verdict::Declined { code } => Some(code),
        }
    }
}

/// Money that was taken and not given back.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) id: PaymentId,
    /// The gateway's id of the charge.
    pub(crate) gateway_id: String,
    /// What is left of it.
    pub(crate) amount: Money,
    pub(crate) currency: String,
}

/// Inserts `payments`. A step that has one keeps it: then a faster replica made it, which the frame is about to
/// notice.
pub(crate) fn insert(writes: &mut Writes, payments: &[&Payment]) {
    if payments.is_empty() {
        return;
    }
    // The order is the same in all transactions, so that two of them cannot wait for each other.
    let mut payments = payments.to_vec();
    payments.sort_unstable_by(|a, b| (a.saga, &a.step).cmp(&(b.saga, &b.step)));
    let uuids = |get: fn(&Payment) -> Uuid| payments.iter().map(|p| get(p)).collect::<Vec<_>>();
    let texts =
        |get: fn(&Payment) -> Option<&str>| payments.iter().map(|p| get(p)).collect::<Vec<_>>();
    writes.add(
        "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, payment_method,
                               status, gateway_id, decline_code)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::bigint[], $7::text[],
                              $8::text[], $9::text[], $10::text[], $11::text[])
         ON CONFLICT (saga_id, step) DO NOTHING",
    )
    .bind(uuids(|p| p.id.0))
    .bind(uuids(|p| p.saga.0))
    .bind(texts(|p| Some(&p.step)))
    .bind(uuids(|p| p.order_id.0))
    .bind(texts(|p| Some(&p.customer_id)))
    .bind(payments.iter().map(|p| p.amount.minor()).collect::<Vec<_>>())
    .bind(texts(|p| Some(&p.currency)))
    .bind(texts(|p| p.payment_method.as_deref()))
    .bind(texts(|p| Some(p.status())))
    .bind(texts(Payment::gateway_id))
    .bind(texts(Payment::decline_code));
}

/// The payments that `actions` made and that nobody has given back.
///
/// # Errors
/// The database failed.
pub(crate) async fn captured(
    db: impl PgExecutor<'_>,
    actions: &[Key],
) -> sqlx::Result<HashMap<Key, Captured>> {
    if actions.is_empty() {
        return Ok(HashMap::new());
    }
    let (sagas, steps, _) = Key::columns(actions);
    let rows = sqlx::query(
        "SELECT saga_id, step, p.id, p.gateway_id, p.amount_minor - p.refunded_minor AS left_minor, p.currency
         FROM UNNEST($1::uuid[], $2::text[]) AS a (saga_id, step)
         JOIN payments p USING (saga_id, step)
         WHERE p.status = 'CAPTURED'",
    )
    .bind(sagas)
    .bind(steps)
    .fetch_all(db)
    .await?;
    let payments = rows.iter().map(|row| {
        let payment = Captured {
            id: PaymentId(row.get("id")),
            gateway_id: row.get("gateway_id"),
            amount: Money::from_minor(row.get("left_minor")),
            currency: row.get("currency"),
        };
        (action_key(row), payment)
    });
    Ok(payments.collect())
}

/// The action that a row belongs to, of any table of this service.
pub(crate) fn action_key(row: &PgRow) -> Key {
    Key {
        saga: SagaId(row.get("saga_id")),
        step: row.get("step"),
        direction: Direction::Action,
    }
}

/// Marks exactly `payments`, whose money the gateway has given back.
pub(crate) fn mark_refunded(writes: &mut Writes, payments: &[PaymentId]) {
    if payments.is_empty() {
        return;
    }
    writes
        .add(
            "UPDATE payments SET status = 'REFUNDED', refunded_minor = amount_minor, updated_at = now()
         WHERE id = ANY($1) AND status = 'CAPTURED'",
        )
        .bind(payments.iter().map(|id| id.0).collect::<Vec<_>>());
}

/// Where the API reads: the same pool, through sea-orm.
pub(crate) fn reader(db: PgPool) -> DatabaseConnection {
    sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(db)
}

/// One payment.
///
/// # Errors
/// The database failed.
pub(crate) async fn find(
    db: &DatabaseConnection,
    id: PaymentId,
) -> Result<Option<payment::Model>, DbErr> {
    payment::Entity::find_by_id(id.0).one(db).await
}

/// At most `limit` payments, newest first, those that `which` lets through, from behind the payment `after`.
///
/// # Errors
/// The database failed.
pub(crate) async fn list(
    db: &DatabaseConnection,
    which: Condition,
    after: Option<PaymentId>,
    limit: u64,
) -> Result<Vec<payment::Model>, DbErr> {
    let mut query = payment::Entity::find().filter(which);
    if let Some(after) = after {
        query = query.filter(payment::Column::Id.lt(after.0));
    }
    query
        .order_by_desc(payment::Column::Id)
        .limit(limit)
        .all(db)
        .await
}
