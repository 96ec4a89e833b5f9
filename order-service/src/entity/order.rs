//! The table `orders`.

use sea_orm::{FromQueryResult, QueryResult, RuntimeErr, entity::prelude::*};

use crate::orders::Order;

/// A row, for queries: what it says is read by [`Order::read`].
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

impl FromQueryResult for Order {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let row = row
            .try_as_pg_row()
            .ok_or_else(|| DbErr::Type("not a row of PostgreSQL".to_owned()))?;
        Self::read(row).map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}
