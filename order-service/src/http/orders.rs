//! Orders.

mod cancel;
pub(super) mod one;
mod status;
mod view;

use std::time::Duration;

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use common::{
    contract::OrderId,
    http::{
        ApiError, Cursor, Page, Problem,
        extract::{Body, PathId, Query},
        limit,
    },
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::{one::no_such_order, view::OrderView};
use super::{api::Api, idempotency_key, new_order::NewOrder};
use crate::{
    entity::order,
    intake::{self, Placed},
    orders::{Order, Status},
};

/// How long a client waits for its order to be placed.
const PLACE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get_one))
        .routes(routes!(list_of_customer))
        .merge(cancel::routes())
        .merge(status::routes())
}

/// Place an order. Its saga starts at once; watch it at `GET /sagas/{sagaId}`.
///
/// With an `Idempotency-Key`, the same request gives the same order, however often it is sent.
#[utoipa::path(post, path = "/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
           ("x-correlation-id" = Option<String>, Header, description = "Ties together all that this request causes")),
    responses((status = 201, description = "Placed, now or before with the same key", body = OrderView,
               headers(("Location" = String, description = "Where the order can be read"))),
              (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
              (status = 413, description = "More than 256 KiB", body = Problem, content_type = "application/problem+json"),
              (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
              (status = 422, description = "Invalid fields, or the key came with another body before", body = Problem,
               content_type = "application/problem+json"),
              (status = 503, description = "The database is away, or earlier orders have waited for too long: try again after \
                             `Retry-After` seconds", body = Problem, content_type = "application/problem+json")))]
async fn place(
    State(api): State<Api>,
    headers: HeaderMap,
    Body(body): Body<NewOrder>,
) -> Result<Response, ApiError> {
    let placement = body.placement(&headers)?;
    let placed = timeout(PLACE_TIMEOUT, api.intake.place(placement)).await;
    let (order, replayed) = match placed.map_err(|late| ApiError::Unavailable(late.into()))?? {
        Placed::New(order) => (order, false),
        Placed::Before(order) => (order, true),
        Placed::KeyReused => return Err(idempotency_key::reused()),
    };
    let location = format!("/orders/{}", order.id);
    Ok(idempotency_key::created(
        location,
        OrderView::from(*order),
        replayed,
    ))
}

impl From<intake::Error> for ApiError {
    fn from(error: intake::Error) -> Self {
        match error {
            intake::Error::Saga(cause) if !cause.is_transient() => Self::Internal(cause.into()),
            intake::Error::Overloaded(_) => Self::Overloaded(error.to_string()),
            away => Self::Unavailable(away.into()),
        }
    }
}

/// Read an order.
#[utoipa::path(get, path = "/orders/{orderId}", tag = "orders", params(("orderId" = Uuid, Path)),
    responses((status = 200, description = "The order", body = OrderView),
              (status = 400, description = "Malformed id", body = Problem, content_type = "application/problem+json"),
              (status = 404, description = "No such order", body = Problem, content_type = "application/problem+json")))]
async fn get_one(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
) -> Result<Json<OrderView>, ApiError> {
    let order = order::Entity::find_by_id(id.0)
        .into_model::<Order>()
        .one(&api.reads)
        .await?
        .ok_or_else(|| no_such_order(id))?;
    Ok(Json(order.into()))
}

/// Which orders to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only orders of this customer.
    customer_id: Option<String>,
    /// Only orders in this status.
    status: Option<Status>,
    /// 1 to 200 items, 50 if absent.
    limit: Option<String>,
    /// `nextCursor` of the answer before.
    cursor: Option<String>,
}

/// List orders, newest first.
#[utoipa::path(get, path = "/orders", tag = "orders", params(Filter),
    responses((status = 200, description = "A page of orders", body = Page<OrderView>),
              (status = 400, description = "Invalid parameter", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<OrderView>>, ApiError> {
    find(&api, filter).await.map(Json)
}

/// List the orders of a customer, newest first.
#[utoipa::path(get, path = "/orders/customer/{customerId}", tag = "orders",
    params(("customerId" = String, Path), Filter),
    responses((status = 200, description = "A page of orders", body = Page<OrderView>),
              (status = 400, description = "Invalid parameter", body = Problem, content_type = "application/problem+json")))]
async fn list_of_customer(
    State(api): State<Api>,
    PathId(customer_id): PathId<String>,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<OrderView>>, ApiError> {
    let customer_id = Some(customer_id);
    find(
        &api,
        Filter {
            customer_id,
            ..filter
        },
    )
    .await
    .map(Json)
}

async fn find(api: &Api, filter: Filter) -> Result<Page<OrderView>, ApiError> {
    let limit = limit(filter.limit.as_deref())?;
    let mut query = order::Entity::find()
        .order_by_desc(order::Column::Id)
        .limit(limit + 1);
    if let Some(customer) = filter.customer_id {
        query = query.filter(order::Column::CustomerId.eq(customer));
    }
    if let Some(status) = filter.status {
        query = query.filter(order::Column::Status.eq(<&str>::from(status)));
    }
    if let Some(cursor) = filter.cursor {
        query = query.filter(order::Column::Id.lt(Cursor::decode::<Uuid>(&cursor)?));
    }
    let orders = query.into_model::<Order>().all(&api.reads).await?;
    Ok(Page::new(orders, limit, |order| order.id.to_string()).map(OrderView::from))
}
