//! Cancelling orders.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use common::{
    contract::{OrderId, Reason},
    db,
    http::{
        ApiError,
        extract::{Body, Checks, PathId, Text},
        origin,
        problem::types,
    },
};
use saga::{Event, Origin};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    one::{lock, read},
    view::OrderView,
};
use crate::{
    http::api::{Api, refusal},
    orders::Order,
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(cancel))
}

/// Why an order is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
struct Cancellation {
    /// In the customer's words; kept in the saga log.
    #[schema(value_type = Option<Text>, example = "changed my mind")]
    reason: Option<String>,
}

/// Cancel an order, at any time before it is shipped, also after it is completed. What was done is then undone.
///
/// Cancelling twice is cancelling once.
#[utoipa::path(post, path = "/orders/{orderId}/cancel", operation_id = "cancelOrder", tag = "orders", request_body = Cancellation,
    params(("orderId" = OrderId, Path)),
    responses((status = 202, description = "It is being undone, or is", body = OrderView),
              (status = 404, description = "No such order"),
              (status = 409, description = "It is shipped: `/problems/order-shipped`, or `/problems/saga-no-way-back` while it is being shipped")))]
async fn cancel(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
    headers: HeaderMap,
    Body(body): Body<Cancellation>,
) -> Result<(StatusCode, Json<OrderView>), ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("reason", body.reason.as_deref());
    checks.finish()?;
    let origin = origin(&headers);
    let cancelled = async move { cancel_order(&api, id, body.reason, origin).await };
    let order = db::in_own_task(cancelled).await?;
    Ok((StatusCode::ACCEPTED, Json(order.into())))
}

async fn cancel_order(
    api: &Api,
    id: OrderId,
    note: Option<String>,
    origin: Origin,
) -> Result<Order, ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let order = lock(&mut work, id).await?;
    if order.status.has_left() {
        let detail = format!("the order is {}: it is too late to cancel it", order.status);
        return Err(ApiError::Refused(&types::ORDER_SHIPPED, detail));
    }
    let cancel = Event::CancelRequested {
        reason: Reason::CUSTOMER_REQUEST,
        note,
    };
    let cancelled = work.cancel(order.saga_id, cancel, origin);
    cancelled.await.map_err(refusal)?;
    work.commit().await.map_err(refusal)?;
    read(&mut db, id).await
}
