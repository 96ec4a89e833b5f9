//! Orders: what sagas are about.

use std::fmt;

use chrono::{DateTime, Utc};
use common::{
    amqp,
    contract::{
        Envelope, Message, Money, OrderId, Reason, SagaId,
        order::{OrderItem, OrderSnapshot},
    },
    db::Writes,
};
use sqlx::{PgExecutor, Row, postgres::PgRow};

/// The CloudEvents source of all messages from here.
pub const SOURCE: &str = "order-service";

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// The saga that executes it.
    pub saga_id: SagaId,
    /// Who ordered.
    pub customer_id: String,
    /// Where it is.
    pub status: Status,
    /// Why it is or will be cancelled.
    pub cancellation_reason: Option<Reason>,
    /// What was ordered.
    pub items: Vec<OrderItem>,
    /// ISO 4217 code.
    pub currency: String,
    /// The sum over all items.
    pub total: Money,
    /// The gateway's name of the payment method.
    pub payment_method: Option<String>,
    /// Where to tell the customer.
    pub customer_email: Option<String>,
    /// Number of its public events.
    pub event_sequence: i32,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Where an order is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Its saga is at work on it, forward or back.
    Pending,
    /// It is paid and its stock is held.
    Completed,
    /// It is on its way; its reservation is final.
    Shipped,
    /// It arrived.
    Delivered,
    /// Everything is undone.
    Cancelled,
}

impl Status {
    const ALL: [(Self, &str); 5] = [
        (Self::Pending, "PENDING"),
        (Self::Completed, "COMPLETED"),
        (Self::Shipped, "SHIPPED"),
        (Self::Delivered, "DELIVERED"),
        (Self::Cancelled, "CANCELLED"),
    ];

    /// Its name in tables and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("", |(_, name)| name)
    }

    /// The status of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(status, _)| *status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Order {
    /// Reads a row with all columns of `orders`.
    ///
    /// # Errors
    /// A column holds what no version of this program wrote.
    pub fn read(row: &PgRow) -> anyhow::Result<Self> {
        let status: &str = row.try_get("status")?;
        let reason: Option<&str> = row.try_get("cancellation_reason")?;
        let sqlx::types::Json(items) = row.try_get("items")?;
        Ok(Self {
            id: OrderId(row.try_get("id")?),
            saga_id: SagaId(row.try_get("saga_id")?),
            customer_id: row.try_get("customer_id")?,
            status: Status::named(status)
                .ok_or_else(|| anyhow::anyhow!("unknown order status {status}"))?,
            cancellation_reason: reason.map(str::parse).transpose()?,
            items,
            currency: row.try_get("currency")?,
            total: Money::from_minor(row.try_get("total_minor")?),
            payment_method: row.try_get("payment_method")?,
            customer_email: row.try_get("customer_email")?,
            event_sequence: row.try_get("event_sequence")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }

    /// The next public event about this order, which tells it as it is now.
    pub fn event<M: Message>(
        &mut self,
        event: impl FnOnce(OrderSnapshot) -> M,
        context: &Context,
    ) -> amqp::Message {
        self.event_sequence += 1;
        let data = event(OrderSnapshot {
            order_id: self.id,
            customer_id: self.customer_id.clone(),
            status: self.status.to_string(),
            items: self.items.clone(),
            currency: self.currency.clone(),
            total_amount: self.total,
            customer_email: self.customer_email.clone(),
            reason: self.cancellation_reason,
        });
        amqp::Message::event(Envelope {
            sequence: Some(self.event_sequence),
            ..context.apply(Envelope::new(SOURCE, &self.id.to_string(), &data))
        })
    }
}

/// What all messages of a saga have in common.
#[derive(Clone, Debug)]
pub struct Context {
    /// The saga.
    pub saga_id: SagaId,
    /// Ties together all that one request caused.
    pub correlation_id: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The message that caused this one.
    pub causation_id: Option<uuid::Uuid>,
}

impl Context {
    /// The envelope with what it has in common.
    #[must_use]
    pub fn apply(&self, envelope: Envelope) -> Envelope {
        Envelope {
            sagaid: Some(self.saga_id),
            correlationid: Some(self.correlation_id.clone()),
            traceparent: self.traceparent.clone(),
            causationid: self.causation_id,
            ..envelope
        }
    }
}

/// Adds status, reason and event sequence of orders whose sagas are locked to `writes`.
pub fn update(writes: &mut Writes, orders: &[Order]) {
    if orders.is_empty() {
        return;
    }
    writes.add(
        "UPDATE orders o
         SET status = n.status, cancellation_reason = n.reason, event_sequence = n.event_sequence, updated_at = now()
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[]) AS n (id, status, reason, event_sequence)
         WHERE o.id = n.id",
    )
    .bind(orders.iter().map(|order| order.id.0).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.status.as_str()).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.cancellation_reason.map(Reason::as_str)).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.event_sequence).collect::<Vec<_>>());
}

/// The order with this id.
///
/// # Errors
/// The database's.
pub async fn find(db: impl PgExecutor<'_>, id: OrderId) -> sqlx::Result<Option<Order>> {
    let row = sqlx::query("SELECT * FROM orders WHERE id = $1")
        .bind(id.0)
        .fetch_optional(db)
        .await?;
    row.map(|row| Order::read(&row).map_err(|error| sqlx::Error::Decode(error.into())))
        .transpose()
}

/// The saga of an order.
///
/// # Errors
/// The database's.
pub async fn saga_of(db: impl PgExecutor<'_>, id: OrderId) -> sqlx::Result<Option<SagaId>> {
    let row = sqlx::query("SELECT saga_id FROM orders WHERE id = $1")
        .bind(id.0)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| SagaId(row.get("saga_id"))))
}
