//! Products as they are shown.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use common::{
    contract::{Money, decimal},
    http::{
        ApiError, Page, Part,
        extract::{PathId, Query, Text},
    },
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::Api;
use crate::{catalogue, entity::inventory_item as entity};

/// A product, and how many there are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "productId": "prod-1", "productName": "Blue mug", "description": "A mug, blue", "price": 19.99,
    "quantity": 100, "reservedQuantity": 3, "availableQuantity": 97,
    "createdAt": "2026-11-21T10:00:00Z", "updatedAt": "2026-11-21T10:05:00Z"
}))]
pub(super) struct Item {
    /// The product.
    product_id: String,
    /// What it is called.
    product_name: Option<String>,
    /// What it is.
    description: Option<String>,
    /// What one costs: a decimal number with two places.
    #[serde(with = "decimal::option")]
    #[schema(value_type = Option<f64>)]
    price: Option<Money>,
    /// How many are in the warehouse.
    quantity: i64,
    /// How many of them orders hold.
    reserved_quantity: i64,
    /// How many can still be ordered; never negative.
    available_quantity: i64,
    /// When it was added.
    created_at: DateTime<Utc>,
    /// When it was last changed, or ordered.
    updated_at: DateTime<Utc>,
}

impl From<entity::Model> for Item {
    fn from(row: entity::Model) -> Self {
        Self {
            product_id: row.product_id,
            product_name: row.product_name,
            description: row.description,
            price: row.price_minor.map(Money::from_minor),
            quantity: row.quantity,
            reserved_quantity: row.reserved_quantity,
            available_quantity: (row.quantity - row.reserved_quantity).max(0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Lists the products, by id.
#[utoipa::path(
    get, path = "/inventory", operation_id = "listItems", tag = "inventory", params(Part),
    responses(
        (status = 200, body = Page<Item>, description = "A part of the list"),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Item>>, ApiError> {
    let limit = part.limit()?;
    let mut query = entity::Entity::find();
    if let Some(after) = part.after::<String>()? {
        query = query.filter(entity::Column::ProductId.gt(after));
    }
    let rows = query
        .order_by_asc(entity::Column::ProductId)
        .limit(limit + 1)
        .all(&api.db)
        .await?;
    let page = Page::new(rows, limit, |row| row.product_id.clone());
    Ok(Json(page.map(Item::from)))
}

/// Shows a product.
#[utoipa::path(
    get, path = "/inventory/{productId}", operation_id = "getItem", tag = "inventory",
    params(("productId" = Text, Path, description = "The product, URL-encoded", example = "prod-1")),
    responses(
        (status = 200, body = Item, description = "The product"),
        (status = 404, description = "There is no such product"),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    PathId(product_id): PathId<String>,
) -> Result<Json<Item>, ApiError> {
    let row = entity::Entity::find_by_id(product_id.as_str())
        .one(&api.db)
        .await?;
    let row = row.ok_or(catalogue::Error::Unknown(product_id))?;
    Ok(Json(row.into()))
}
