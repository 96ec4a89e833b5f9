//! Reservations as they are shown.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use common::{
    contract::{OrderId, SagaId},
    http::{ApiError, Created, Page, Part, extract::Query},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::api::Api;
use crate::{entity::reservation as entity, reservations::Status};

/// What an order holds or held.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "reservationId": "01976a3e-7c00-7000-8000-000000000003", "sagaId": "01976a3e-7c00-7000-8000-000000000002",
    "orderId": "01976a3e-7c00-7000-8000-000000000001", "items": [{"productId": "prod-1", "quantity": 2}],
    "status": "RESERVED", "createdAt": "2026-11-21T10:00:00Z", "updatedAt": "2026-11-21T10:00:00Z"
}))]
pub(super) struct Reservation {
    /// The reservation.
    reservation_id: Uuid,
    /// The saga that made it.
    saga_id: SagaId,
    /// The order that it is for.
    order_id: OrderId,
    /// Each product once.
    items: Vec<Held>,
    /// What became of it.
    #[schema(value_type = Status)]
    status: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When its status changed last.
    updated_at: DateTime<Utc>,
}

/// So many of a product.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Held {
    /// The product.
    product_id: String,
    /// How many.
    quantity: u32,
}

impl TryFrom<entity::Model> for Reservation {
    type Error = serde_json::Error;

    fn try_from(row: entity::Model) -> Result<Self, serde_json::Error> {
        Ok(Self {
            reservation_id: row.id,
            saga_id: SagaId(row.saga_id),
            order_id: OrderId(row.order_id),
            items: serde_json::from_value(row.items)?,
            status: row.status,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Which reservations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only those of this order.
    #[param(value_type = OrderId, required = false)]
    order_id: Option<OrderId>,
    /// Only those in this status.
    #[param(value_type = Status, required = false)]
    status: Option<Status>,
}

/// Lists reservations, newest first.
#[utoipa::path(
    get, path = "/reservations", operation_id = "listReservations", tag = "reservations", params(Filter, Created, Part),
    responses(
        (status = 200, body = Page<Reservation>, description = "A part of the list"),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
    Query(created): Query<Created>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Reservation>>, ApiError> {
    let limit = part.limit()?;
    let mut query = entity::Entity::find()
        .filter(created.condition(entity::Column::Id, entity::Column::CreatedAt)?);
    if let Some(OrderId(order_id)) = filter.order_id {
        query = query.filter(entity::Column::OrderId.eq(order_id));
    }
    if let Some(status) = filter.status {
        query = query.filter(entity::Column::Status.eq(<&str>::from(status)));
    }
    if let Some(after) = part.after::<Uuid>()? {
        query = query.filter(entity::Column::Id.lt(after));
    }
    let rows = query
        .order_by_desc(entity::Column::Id)
        .limit(limit + 1)
        .all(&api.db)
        .await?;
    let Page { items, next_cursor } = Page::new(rows, limit, |row| row.id.to_string());
    let items: Result<_, _> = items.into_iter().map(Reservation::try_from).collect();
    Ok(Json(Page {
        items: items.map_err(|error| ApiError::Internal(error.into()))?,
        next_cursor,
    }))
}
