//! Orders: what sagas are about.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use common::{
    amqp,
    contract::{
        Envelope, Message, Money, OrderId, Reason, ReturnId, SagaId,
        inventory::StockItem,
        order::{
            OrderCancelled, OrderCompleted, OrderDelivered, OrderFailed, OrderItem, OrderReturned,
            OrderShipped, OrderSnapshot,
        },
    },
    db::{self, Writes},
};
use saga::{Context, Subject};
use sqlx::{PgConnection, PgExecutor, Row, postgres::PgRow};

use crate::returns::{self, Return};

/// The columns that make an [`Order`]. Named one by one: a later version may add others under a running service.
macro_rules! columns {
    () => {
        "id, saga_id, customer_id, status, cancellation_reason, items, currency, total_minor, payment_method, \
         customer_email, event_sequence, created_at, updated_at"
    };
}

pub(crate) use columns;

/// The CloudEvents source of all messages from here.
pub const SOURCE: &str = "order-service";

/// An order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// The saga that placed it.
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
#[schema(as = OrderStatus)]
pub enum Status {
    /// Its saga is at work on it, forward or back.
    Pending,
    /// It is paid and its stock is held.
    Completed,
    /// It is on its way; its reservation is final.
    Shipped,
    /// It arrived.
    Delivered,
    /// All of it came back.
    Returned,
    /// Everything is undone.
    Cancelled,
}

impl Status {
    /// Whether its goods have left, so that what was done for it can no longer be undone.
    #[must_use]
    pub const fn has_left(self) -> bool {
        matches!(self, Self::Shipped | Self::Delivered | Self::Returned)
    }
}

/// What the progress of a saga changes about its order.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is paid and its stock is held.
    Completed,
    /// What was done is being undone.
    Undoing(Reason),
    /// Everything is undone.
    Cancelled,
    /// It is on its way.
    Shipped,
    /// Goods came back, and so much was given back for them.
    Returned {
        /// The return.
        id: ReturnId,
        /// What came back.
        items: Vec<StockItem>,
        /// What was given back.
        amount: Money,
    },
}

impl Order {
    /// Reads a row with the [`columns`] of `orders`.
    ///
    /// # Errors
    /// A column holds what no version of this program wrote.
    pub fn read(row: &PgRow) -> sqlx::Result<Self> {
        let reason: Option<&str> = row.try_get("cancellation_reason")?;
        let reason = reason.map(str::parse::<Reason>).transpose();
        let sqlx::types::Json(items) = row.try_get("items")?;
        Ok(Self {
            id: OrderId(row.try_get("id")?),
            saga_id: SagaId(row.try_get("saga_id")?),
            customer_id: row.try_get("customer_id")?,
            status: db::parsed(row, "status")?,
            cancellation_reason: reason.map_err(|error| sqlx::Error::Decode(error.into()))?,
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

    /// What sagas about it call it.
    #[must_use]
    pub fn subject(&self) -> Subject {
        subject(self.id)
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

    /// Changes what a saga's progress changes, and tells of it. `returns` are all returns of the order.
    pub(crate) fn apply(
        &mut self,
        change: Change,
        returns: &mut [Return],
        context: &Context,
    ) -> Option<amqp::Message> {
        Some(match change {
            Change::Completed => {
                self.status = Status::Completed;
                self.event(OrderCompleted, context)
            }
            Change::Undoing(reason) => {
                self.status = Status::Pending;
                self.cancellation_reason = Some(reason);
                if matches!(reason, Reason::CUSTOMER_REQUEST | Reason::OPERATOR) {
                    return None;
                }
                self.event(OrderFailed, context)
            }
            Change::Cancelled => {
                self.status = Status::Cancelled;
                self.event(OrderCancelled, context)
            }
            Change::Shipped => {
                self.status = Status::Shipped;
                self.event(OrderShipped, context)
            }
            Change::Returned { id, items, amount } => {
                if let Some(one) = returns.iter_mut().find(|one| one.id == id) {
                    one.status = returns::Status::Completed;
                }
                if returns::is_everything(&self.items, returns) {
                    self.status = Status::Returned;
                }
                let returned = |order| OrderReturned {
                    order,
                    return_id: id,
                    returned_items: items,
                    refund_amount: amount,
                };
                self.event(returned, context)
            }
        })
    }

    /// Notes that it arrived, and tells of it.
    pub(crate) fn deliver(&mut self, context: &Context) -> amqp::Message {
        self.status = Status::Delivered;
        self.event(OrderDelivered, context)
    }
}

/// What sagas about this order call it.
#[must_use]
pub fn subject(order: OrderId) -> Subject {
    Subject::new("order", order)
}

/// Adds status, reason and event sequence of orders that are locked to `writes`.
pub fn update(writes: &mut Writes, mut orders: Vec<Order>) {
    if orders.is_empty() {
        return;
    }
    orders.sort_unstable_by_key(|order| order.id);
    let reason = |order: &Order| order.cancellation_reason.map(|reason| reason.to_string());
    writes.add(
        "UPDATE orders o
         SET status = n.status, cancellation_reason = n.reason, event_sequence = n.event_sequence, updated_at = now()
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[]) AS n (id, status, reason, event_sequence)
         WHERE o.id = n.id",
    )
    .bind(orders.iter().map(|order| order.id.0).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| <&str>::from(order.status)).collect::<Vec<_>>())
    .bind(orders.iter().map(reason).collect::<Vec<_>>())
    .bind(orders.iter().map(|order| order.event_sequence).collect::<Vec<_>>());
}

/// Locks these orders, in the order of their ids.
///
/// # Errors
/// The database failed.
pub(crate) async fn lock(
    db: &mut PgConnection,
    ids: &[OrderId],
) -> sqlx::Result<HashMap<OrderId, Order>> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM orders WHERE id = ANY($1) ORDER BY id FOR UPDATE"
    ))
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let orders = rows.iter().map(|row| {
        let order = Order::read(row)?;
        Ok((order.id, order))
    });
    orders.collect()
}

/// The order with this id.
///
/// # Errors
/// The database failed.
pub async fn find(db: impl PgExecutor<'_>, id: OrderId) -> sqlx::Result<Option<Order>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM orders WHERE id = $1"))
        .bind(id.0)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(Order::read).transpose()
}
