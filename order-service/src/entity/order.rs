//! The table `orders`.

use anyhow::Context;
use common::contract::{Money, OrderId, SagaId};
use sea_orm::entity::prelude::*;

use crate::orders::{Order, Status};

/// A row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) saga_id: Uuid,
    pub(crate) customer_id: String,
    pub(crate) status: String,
    pub(crate) cancellation_reason: Option<String>,
    pub(crate) items: Json,
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    pub(crate) payment_method: Option<String>,
    pub(crate) customer_email: Option<String>,
    pub(crate) event_sequence: i32,
    pub(crate) created_at: DateTimeUtc,
    pub(crate) updated_at: DateTimeUtc,
}

/// Relations are not used: reads are by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Order {
    type Error = anyhow::Error;

    fn try_from(row: Model) -> anyhow::Result<Self> {
        Ok(Self {
            id: OrderId(row.id),
            saga_id: SagaId(row.saga_id),
            customer_id: row.customer_id,
            status: Status::named(&row.status).context("unknown order status")?,
            cancellation_reason: row
                .cancellation_reason
                .map(|name| name.parse())
                .transpose()?,
            items: serde_json::from_value(row.items)?,
            currency: row.currency,
            total: Money::from_minor(row.total_minor),
            payment_method: row.payment_method,
            customer_email: row.customer_email,
            event_sequence: row.event_sequence,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
