//! Shipping orders, and telling that they arrived.

use axum::{Json, extract::State, http::HeaderMap};
use common::{
    contract::{OrderId, SagaId},
    db,
    http::{
        ApiError,
        extract::{MergePatch, PathId},
        origin,
        problem::types,
    },
};
use saga::{Beginning, Context, Origin};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    one::{lock, no_such_order, read},
    view::OrderView,
};
use crate::{
    http::api::{Api, refusal},
    orders::{self, Order, Status},
    sagas::{SHIP_ORDER, ShippedOrder},
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(change_status))
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
#[utoipa::path(patch, path = "/orders/{orderId}/status", operation_id = "changeOrderStatus", tag = "orders",
    request_body(content((StatusChange = "application/merge-patch+json"), (StatusChange = "application/json"))),
    params(("orderId" = OrderId, Path)),
    responses((status = 200, description = "The order", body = OrderView),
              (status = 404, description = "No such order"),
              (status = 409, description = "Not from its present status: `/problems/order-status`; or `/problems/saga-at-work`")))]
async fn change_status(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
    headers: HeaderMap,
    MergePatch(body): MergePatch<StatusChange>,
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
        (Status::Shipped, Delivery::Delivered) => note_delivery(&mut work, id, origin).await?,
        (Status::Shipped, Delivery::Shipped) | (Status::Delivered, Delivery::Delivered) => {
            return Ok(order);
        }
        (status, to) => {
            let detail = format!("the order is {status}, so it cannot become {}", to.as_str());
            return Err(ApiError::Refused(&types::ORDER_STATUS, detail));
        }
    }
    work.commit().await.map_err(refusal)?;
    read(&mut db, id).await
}

/// That an order arrives is no saga: nobody else has to do anything for it.
async fn note_delivery(
    work: &mut saga::Work<'_>,
    id: OrderId,
    origin: Origin,
) -> Result<(), ApiError> {
    let tx = work.transaction().await?;
    let mut locked = orders::lock(tx, &[id]).await?;
    let mut order = locked.remove(&id).ok_or_else(|| no_such_order(id))?;
    let context = Context {
        saga_id: order.saga_id,
        origin,
        causation_id: None,
    };
    let event = order.deliver(&context);
    orders::update(work.writes(), vec![order]);
    work.tell(event);
    Ok(())
}
