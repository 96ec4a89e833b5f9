//! Orders.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use chrono::{DateTime, Utc};
use common::{
    contract::{Money, OrderId, Reason, SagaId, decimal, order::OrderItem},
    db,
    http::{
        ApiError, Cursor, Page, Problem,
        extract::{Body, Checks, PathId, Query},
        limit,
    },
};
use saga::{Beginning, Context, Event, Origin, store};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    api::{Api, refusal},
    idempotency_key,
    new_order::NewOrder,
    origin::origin,
};
use crate::{
    entity::order,
    intake::{self, Placed},
    orders::{self, Order, Status},
    sagas::{SHIP_ORDER, ShippedOrder},
};

/// How long a client waits for its order to be placed.
const PLACE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get_one))
        .routes(routes!(list_of_customer))
        .routes(routes!(cancel))
        .routes(routes!(change_status))
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "orderId": "01976a3d-0000-7000-8000-000000000001",
    "sagaId": "01976a3d-0000-7000-8000-000000000002",
    "status": "PENDING",
    "cancellationReason": null,
    "customerId": "customer-1",
    "items": [{"productId": "prod-1", "quantity": 2, "unitPrice": 19.99}],
    "currency": "USD",
    "totalAmount": 39.98,
    "paymentMethod": "pm_card_visa",
    "customerEmail": null,
    "createdAt": "2026-11-20T10:00:00Z",
    "updatedAt": "2026-11-20T10:00:00Z"
}))]
pub(crate) struct OrderView {
    order_id: OrderId,
    saga_id: SagaId,
    status: Status,
    /// Why it is cancelled, or, while PENDING, is being cancelled.
    cancellation_reason: Option<Reason>,
    customer_id: String,
    items: Vec<ItemView>,
    currency: String,
    #[serde(with = "decimal")]
    #[schema(value_type = f64)]
    total_amount: Money,
    payment_method: Option<String>,
    customer_email: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// One line of an order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ItemView {
    product_id: String,
    quantity: u32,
    #[serde(with = "decimal")]
    #[schema(value_type = f64)]
    unit_price: Money,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        let item = |item: OrderItem| ItemView {
            product_id: item.product_id,
            quantity: item.quantity,
            unit_price: item.unit_price,
        };
        Self {
            order_id: order.id,
            saga_id: order.saga_id,
            status: order.status,
            cancellation_reason: order.cancellation_reason,
            customer_id: order.customer_id,
            items: order.items.into_iter().map(item).collect(),
            currency: order.currency,
            total_amount: order.total,
            payment_method: order.payment_method,
            customer_email: order.customer_email,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
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
              (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json")))]
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
    let row = order::Entity::find_by_id(id.0)
        .one(&api.reads)
        .await?
        .ok_or_else(|| no_such_order(id))?;
    view(row).map(Json)
}

pub(super) fn no_such_order(id: OrderId) -> ApiError {
    ApiError::NotFound(format!("there is no order {id}"))
}

fn view(row: order::Model) -> Result<OrderView, ApiError> {
    let order = Order::try_from(row).map_err(ApiError::Internal)?;
    Ok(order.into())
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
        query = query.filter(order::Column::Status.eq(status.as_str()));
    }
    if let Some(cursor) = filter.cursor {
        query = query.filter(order::Column::Id.lt(Cursor::decode::<Uuid>(&cursor)?));
    }
    let page = Page::new(query.all(&api.reads).await?, limit, |row| {
        row.id.to_string()
    });
    let items = page.items.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        next_cursor: page.next_cursor,
    })
}

/// Why an order is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
struct Cancellation {
    /// In the customer's words; kept in the saga log.
    #[schema(max_length = 255, example = "changed my mind")]
    reason: Option<String>,
}

/// Cancel an order, at any time before it is shipped, also after it is completed. What was done is then undone.
///
/// Cancelling twice is cancelling once.
#[utoipa::path(post, path = "/orders/{orderId}/cancel", tag = "orders", request_body = Cancellation,
    params(("orderId" = Uuid, Path)),
    responses((status = 202, description = "It is being undone, or is", body = OrderView),
              (status = 400, description = "Malformed id or body", body = Problem, content_type = "application/problem+json"),
              (status = 404, description = "No such order", body = Problem, content_type = "application/problem+json"),
              (status = 409, description = "It is shipped", body = Problem, content_type = "application/problem+json"),
              (status = 422, description = "Invalid field", body = Problem, content_type = "application/problem+json")))]
async fn cancel(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
    Body(body): Body<Cancellation>,
) -> Result<(StatusCode, Json<OrderView>), ApiError> {
    let mut checks = Checks::default();
    checks.optional_text("reason", body.reason.as_deref());
    checks.finish()?;
    let order = db::in_own_task(async move { cancel_order(&api, id, body.reason).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(order.into())))
}

async fn cancel_order(api: &Api, id: OrderId, note: Option<String>) -> Result<Order, ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let order = lock(&mut work, id).await?;
    if matches!(
        order.status,
        Status::Shipped | Status::Delivered | Status::Returned
    ) {
        return Err(ApiError::Conflict(format!(
            "the order is {}: it is too late to cancel it",
            order.status
        )));
    }
    let cancel = Event::CancelRequested {
        reason: Reason::CUSTOMER_REQUEST,
        note,
    };
    work.cancel(order.saga_id, cancel).await.map_err(refusal)?;
    work.commit().await.map_err(refusal)?;
    read(&mut db, id).await
}

/// Takes the lock of the order's subject, so that whoever else is about to begin or reopen a saga of it has to wait, and
/// reads the order. Its row is not locked: that lock comes after those of sagas.
pub(super) async fn lock(work: &mut saga::Work<'_>, id: OrderId) -> Result<Order, ApiError> {
    let subject = orders::subject(id);
    work.lock_subject(&subject).await.map_err(refusal)?;
    let order = orders::find(&mut **work.transaction().await?, id).await?;
    order.ok_or_else(|| no_such_order(id))
}

async fn read(db: &mut PgConnection, id: OrderId) -> Result<Order, ApiError> {
    let order = orders::find(db, id).await?;
    order.ok_or_else(|| no_such_order(id))
}

/// Where an order is to go.
#[derive(Debug, Deserialize, ToSchema)]
struct StatusChange {
    /// SHIPPED, from COMPLETED; DELIVERED, from SHIPPED.
    status: Delivery,
}

/// The statuses that people set.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Delivery {
    Shipped,
    Delivered,
}

impl Delivery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "SHIPPED",
            Self::Delivered => "DELIVERED",
        }
    }
}

/// Tell that an order is shipped, which starts the saga that makes its reservation final, or delivered.
///
/// Telling it twice is telling it once.
#[utoipa::path(patch, path = "/orders/{orderId}/status", tag = "orders", request_body = StatusChange,
    params(("orderId" = Uuid, Path)),
    responses((status = 200, description = "The order", body = OrderView),
              (status = 400, description = "Malformed id or body", body = Problem, content_type = "application/problem+json"),
              (status = 404, description = "No such order", body = Problem, content_type = "application/problem+json"),
              (status = 409, description = "Not from its present status", body = Problem, content_type = "application/problem+json"),
              (status = 422, description = "Invalid field", body = Problem, content_type = "application/problem+json")))]
async fn change_status(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
    headers: HeaderMap,
    Body(body): Body<StatusChange>,
) -> Result<Json<OrderView>, ApiError> {
    let origin = origin(&headers);
    let delivered = async move { deliver(&api, id, body.status, origin).await };
    let order = db::in_own_task(delivered).await?;
    Ok(Json(order.into()))
}

async fn deliver(api: &Api, id: OrderId, to: Delivery, origin: Origin) -> Result<Order, ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let order = lock(&mut work, id).await?;
    match (order.status, to) {
        (Status::Completed, Delivery::Shipped) => {
            let beginning = Beginning {
                id: SagaId::generate(),
                definition: &SHIP_ORDER,
                subject: order.subject(),
                data: &ShippedOrder { order_id: id },
                origin,
            };
            work.begin_beside(beginning).await.map_err(refusal)?;
        }
        (Status::Shipped, Delivery::Delivered) => note_delivery(&mut work, id).await?,
        (Status::Shipped, Delivery::Shipped) | (Status::Delivered, Delivery::Delivered) => {
            return Ok(order);
        }
        (status, to) => {
            return Err(ApiError::Conflict(format!(
                "the order is {status}, so it cannot become {}",
                to.as_str()
            )));
        }
    }
    work.commit().await.map_err(refusal)?;
    read(&mut db, id).await
}

/// That an order arrives is no saga: nobody else has to do anything for it.
async fn note_delivery(work: &mut saga::Work<'_>, id: OrderId) -> Result<(), ApiError> {
    let tx = work.transaction().await?;
    let mut locked = orders::lock(tx, &[id]).await?;
    let mut order = locked.remove(&id).ok_or_else(|| no_such_order(id))?;
    let origin = store::origin(&mut **tx, order.saga_id).await?;
    let context = Context {
        saga_id: order.saga_id,
        origin: origin.ok_or_else(|| no_such_order(id))?,
        causation_id: None,
    };
    let event = order.deliver(&context);
    orders::update(work.writes(), vec![order]);
    work.tell(event);
    Ok(())
}
