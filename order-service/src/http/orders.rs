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
        ApiError, Created, Page, Part,
        extract::{Body, PathId, Query, Text},
        problem::types,
    },
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::one::no_such_order;
pub(super) use self::view::OrderView;
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
#[utoipa::path(post, path = "/orders", operation_id = "placeOrder", tag = "orders", request_body = NewOrder,
    params(idempotency_key::Header),
    responses((status = 201, description = "Placed, now or before with the same key", body = OrderView,
               headers(("Location" = String, description = "Where the order can be read"),
                       ("Idempotency-Replayed" = String, description = "`true` where it was made before, with the same key"))),
              (status = 422, description = "Invalid fields: `/problems/invalid-fields`; or the key came with another body before: \
                             `/problems/idempotency-key-reused`"),
              (status = 503, description = "The database is away: `/problems/dependency-away`; or earlier orders have waited for \
                             too long: `/problems/overloaded`. Try again after `Retry-After` seconds")))]
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
            intake::Error::Overloaded(_) => Self::Refused(&types::OVERLOADED, error.to_string()),
            away => Self::Unavailable(away.into()),
        }
    }
}

/// Read an order.
#[utoipa::path(get, path = "/orders/{orderId}", operation_id = "getOrder", tag = "orders", params(("orderId" = OrderId, Path)),
    responses((status = 200, description = "The order", body = OrderView),
              (status = 404, description = "No such order")))]
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

/// Whose orders to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Customer {
    /// Only orders of this customer.
    #[param(value_type = Text, required = false)]
    customer_id: Option<Text>,
}

/// Which orders to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only orders in this status.
    #[param(value_type = Status, required = false)]
    status: Option<Status>,
}

/// List orders, newest first.
#[utoipa::path(get, path = "/orders", operation_id = "listOrders", tag = "orders", params(Customer, Filter, Created, Part),
    responses((status = 200, description = "A page of orders", body = Page<OrderView>)))]
async fn list(
    State(api): State<Api>,
    Query(customer): Query<Customer>,
    Query(filter): Query<Filter>,
    Query(created): Query<Created>,
    Query(part): Query<Part>,
) -> Result<Json<Page<OrderView>>, ApiError> {
    let customer_id = customer.customer_id.map(|Text(id)| id);
    let found = find(&api, customer_id, filter, created, part).await;
    found.map(Json)
}

/// List the orders of a customer, newest first.
#[utoipa::path(get, path = "/orders/customer/{customerId}", operation_id = "listCustomerOrders", tag = "orders",
    params(("customerId" = Text, Path), Filter, Created, Part),
    responses((status = 200, description = "A page of orders", body = Page<OrderView>)))]
async fn list_of_customer(
    State(api): State<Api>,
    PathId(customer_id): PathId<String>,
    Query(filter): Query<Filter>,
    Query(created): Query<Created>,
    Query(part): Query<Part>,
) -> Result<Json<Page<OrderView>>, ApiError> {
    let found = find(&api, Some(customer_id), filter, created, part).await;
    found.map(Json)
}

async fn find(
    api: &Api,
    customer_id: Option<String>,
    filter: Filter,
    created: Created,
    part: Part,
) -> Result<Page<OrderView>, ApiError> {
    let limit = part.limit()?;
    let mut query = order::Entity::find()
        .filter(created.condition(order::Column::Id, order::Column::CreatedAt)?)
        .order_by_desc(order::Column::Id)
        .limit(limit + 1);
    if let Some(customer) = customer_id {
        query = query.filter(order::Column::CustomerId.eq(customer));
    }
    if let Some(status) = filter.status {
        query = query.filter(order::Column::Status.eq(<&str>::from(status)));
    }
    if let Some(after) = part.after::<Uuid>()? {
        query = query.filter(order::Column::Id.lt(after));
    }
    let orders = query.into_model::<Order>().all(&api.reads).await?;
    Ok(Page::new(orders, limit, |order| order.id.to_string()).map(OrderView::from))
}
