//! Table `reservations`: what an order holds or held.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservations")]
pub struct Model {
    /// The reservation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The saga that made it.
    pub saga_id: Uuid,
    /// The order that it is for.
    pub order_id: Uuid,
    /// `[{"productId","quantity"}]`, each product once, by product.
    #[sea_orm(column_type = "Json")]
    pub items: Json,
    /// RESERVED, COMMITTED or RELEASED.
    #[sea_orm(column_type = "Text")]
    pub status: String,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// When its status changed last.
    pub updated_at: DateTimeUtc,
}

/// The table has no relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
