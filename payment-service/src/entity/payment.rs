//! Table `payments`.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One charge, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "payments")]
pub(crate) struct Model {
    /// UUID v7: newer payments have greater ids.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub saga_id: Uuid,
    pub order_id: Uuid,
    pub customer_id: String,
    /// Hundredths.
    pub amount_minor: i64,
    /// Hundredths, of all that was given back.
    pub refunded_minor: i64,
    pub currency: String,
    pub payment_method: Option<String>,
    pub status: Status,
    pub gateway_id: Option<String>,
    pub decline_code: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

/// What became of a payment.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, ToSchema,
)]
#[sea_orm(
    rs_type = "String",
    db_type = "Text",
    rename_all = "SCREAMING_SNAKE_CASE"
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = PaymentStatus)]
pub(crate) enum Status {
    /// The money is ours, but for what was given back of it.
    Captured,
    /// The gateway took no money.
    Declined,
    /// The money was taken, and all of it given back.
    Refunded,
}

/// No relations: the table stands alone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
