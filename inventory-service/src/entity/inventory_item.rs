//! Table `inventory_items`: a product, and how many there are.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inventory_items")]
pub struct Model {
    /// The product.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub product_id: String,
    /// What it is called.
    #[sea_orm(column_type = "Text")]
    pub product_name: Option<String>,
    /// What it is.
    #[sea_orm(column_type = "Text")]
    pub description: Option<String>,
    /// What one costs, in hundredths.
    pub price_minor: Option<i64>,
    /// How many are in the warehouse.
    pub quantity: i64,
    /// How many of them orders hold.
    pub reserved_quantity: i64,
    /// Fewer than this is low stock.
    pub low_stock_threshold: i64,
    /// Sequence of the last public event about it.
    pub version: i32,
    /// When it was added.
    pub created_at: DateTimeUtc,
    /// When it was last changed, or ordered.
    pub updated_at: DateTimeUtc,
}

/// The table has no relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
