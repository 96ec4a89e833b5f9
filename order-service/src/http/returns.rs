//! Returns of orders.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use chrono::{DateTime, SubsecRound, Utc};
use common::{
    contract::{Money, OrderId, ReturnId, SagaId, clock, decimal, inventory::StockItem},
    db,
    http::{
        ApiError, Page,
        extract::{Body, Checks, PathId, Text, whole},
        origin,
        problem::types,
    },
};
use saga::{Beginning, Origin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    api::{Api, refusal},
    idempotency_key,
    orders::one::{lock, no_such_order},
};
use crate::{
    idempotency::Idempotency,
    orders::{self, Order, Status},
    returns::{self, Return},
    sagas::{RETURN_ORDER, ReturnedGoods},
};

/// Lines that a return has at most.
const ITEMS_MAX: usize = 100;
/// Pieces of one product that come back at most.
const QUANTITY_MAX: u32 = 1_000_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(accept, list))
}

/// What a customer sends back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "items": [{"productId": "prod-1", "quantity": 1}],
    "reason": "too small"
}))]
struct NewReturn {
    /// 1 to 100 products of the order, each once.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<ReturnedItem>,
    /// Why, in the customer's words.
    #[schema(value_type = Option<Text>)]
    reason: Option<String>,
}

/// So many of a product.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReturnedItem {
    /// The product.
    #[schema(value_type = Text)]
    product_id: String,
    /// How many.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
}

/// Goods that a customer sends back at one time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "returnId": "01976a3d-0000-7000-8000-000000000003",
    "orderId": "01976a3d-0000-7000-8000-000000000001",
    "sagaId": "01976a3d-0000-7000-8000-000000000004",
    "status": "PENDING",
    "items": [{"productId": "prod-1", "quantity": 1}],
    "refundAmount": 19.99,
    "currency": "USD",
    "reason": "too small",
    "createdAt": "2026-11-20T10:00:00Z",
    "updatedAt": "2026-11-20T10:00:00Z"
}), as = Return)]
struct ReturnView {
    return_id: ReturnId,
    order_id: OrderId,
    /// The saga that executes it.
    saga_id: SagaId,
    status: returns::Status,
    items: Vec<ReturnedItem>,
    /// What is given back for it: a decimal number with two places.
    #[serde(with = "decimal")]
    #[schema(value_type = f64)]
    refund_amount: Money,
    currency: String,
    reason: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Return> for ReturnView {
    fn from(one: Return) -> Self {
        let item = |item: StockItem| ReturnedItem {
            product_id: item.product_id,
            quantity: item.quantity,
        };
        Self {
            return_id: one.id,
            order_id: one.order_id,
            saga_id: one.saga_id,
            status: one.status,
            items: one.items.into_iter().map(item).collect(),
            refund_amount: one.amount,
            currency: one.currency,
            reason: one.reason,
            created_at: one.created_at,
            updated_at: one.updated_at,
        }
    }
}

/// Return goods of a delivered order: they go back on the shelf, and exactly their price is given back.
///
/// An order may be returned in several parts, but never more than was bought; with its last piece it becomes RETURNED.
/// With an `Idempotency-Key`, the same request gives the same return, however often it is sent.
#[utoipa::path(post, path = "/orders/{orderId}/returns", operation_id = "createReturn", tag = "orders", request_body = NewReturn,
    params(("orderId" = OrderId, Path),
           idempotency_key::Header),
    responses((status = 201, description = "Accepted, now or before with the same key", body = ReturnView,
               headers(("Location" = String, description = "Where the returns of the order can be read"),
                       ("Idempotency-Replayed" = String, description = "`true` where it was made before, with the same key"))),
              (status = 404, description = "No such order"),
              (status = 409, description = "The order is not delivered: `/problems/order-status`; or `/problems/saga-at-work`"),
              (status = 422, description = "Invalid fields, more than can still be returned: `/problems/invalid-fields`; or the key \
               came with another request before: `/problems/idempotency-key-reused`")))]
async fn accept(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
    headers: HeaderMap,
    Body(body): Body<NewReturn>,
) -> Result<Response, ApiError> {
    body.check()?;
    let idempotency = idempotency_key::read(&headers, &(id, &body))?;
    let origin = origin(&headers);
    let accepted = async move { begin(&api, id, body, idempotency, origin).await };
    let (one, replayed) = db::in_own_task(accepted).await?;
    let location = format!("/orders/{id}/returns");
    Ok(idempotency_key::created(
        location,
        ReturnView::from(one),
        replayed,
    ))
}

/// Begins the saga of a return, unless the same request did before.
async fn begin(
    api: &Api,
    id: OrderId,
    body: NewReturn,
    idempotency: Option<Idempotency>,
    origin: Origin,
) -> Result<(Return, bool), ApiError> {
    let mut db = api.engine.db().acquire().await?;
    let mut work = api.engine.work(&mut db);
    let order = lock(&mut work, id).await?;
    let tx = work.transaction().await?;
    if let Some(request) = &idempotency
        && let Some((earlier, one)) = returns::find_by_key(&mut **tx, request).await?
    {
        return if earlier == request.hash {
            Ok((one, true))
        } else {
            Err(idempotency_key::reused())
        };
    }
    let before = returns::of_orders(tx, &[id]).await?.remove(&id);
    let one = body.accept(&order, &before.unwrap_or_default())?;
    returns::insert(work.writes(), &one, idempotency.as_ref());
    let beginning = Beginning {
        id: one.saga_id,
        definition: &RETURN_ORDER,
        subject: order.subject(),
        data: &ReturnedGoods {
            return_id: one.id,
            order_id: id,
            items: one.items.clone(),
            amount: one.amount,
            currency: one.currency.clone(),
        },
        origin,
    };
    work.begin_beside(beginning).await.map_err(refusal)?;
    match work.commit().await {
        // The key came at the same time with a return of another order.
        Err(error) if error.database().is_some_and(is_key_taken) => Err(idempotency_key::reused()),
        committed => committed.map(|()| (one, false)).map_err(refusal),
    }
}

fn is_key_taken(error: &sqlx::Error) -> bool {
    db::violates(error, "returns_idempotency_key")
}

impl NewReturn {
    fn check(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.optional_text("reason", self.reason.as_deref());
        let count = self.items.len();
        checks.require(
            (1..=ITEMS_MAX).contains(&count),
            "items",
            "must have 1 to 100 items",
        );
        for (position, item) in self.items.iter().enumerate().take(ITEMS_MAX) {
            let field = |name: &str| format!("items[{position}].{name}");
            checks.text(field("productId"), &item.product_id);
            let quantity_fits = (1..=QUANTITY_MAX).contains(&item.quantity);
            checks.require(
                quantity_fits,
                field("quantity"),
                "must be from 1 to 1000000",
            );
            let is_first = |other: &ReturnedItem| other.product_id != item.product_id;
            checks.require(
                self.items[..position].iter().all(is_first),
                field("productId"),
                "must be another product than the items before",
            );
        }
        checks.finish()
    }

    /// The return that is asked for, if it can be.
    fn accept(self, order: &Order, before: &[Return]) -> Result<Return, ApiError> {
        if order.status != Status::Delivered {
            let hint = match order.status {
                Status::Returned => "all of it came back",
                _ => "only a DELIVERED one can be returned",
            };
            let refusal = format!("the order is {}: {hint}", order.status);
            return Err(ApiError::Refused(&types::ORDER_STATUS, refusal));
        }
        let items: Vec<_> = self
            .items
            .into_iter()
            .map(|item| StockItem {
                product_id: item.product_id,
                quantity: item.quantity,
            })
            .collect();
        let amount = returns::price(&order.items, before, &items).map_err(|error| {
            let position = items
                .iter()
                .position(|item| item.product_id == error.product_id);
            let field = format!("items[{}].quantity", position.unwrap_or_default());
            ApiError::invalid(field, error.to_string())
        })?;
        let now = clock::now().trunc_subsecs(6);
        Ok(Return {
            id: ReturnId::generate(),
            order_id: order.id,
            saga_id: SagaId::generate(),
            items,
            amount,
            currency: order.currency.clone(),
            reason: self.reason,
            status: returns::Status::Pending,
            created_at: now,
            updated_at: now,
        })
    }
}

/// List the returns of an order, newest first, all of them.
#[utoipa::path(get, path = "/orders/{orderId}/returns", operation_id = "listReturns", tag = "orders", params(("orderId" = OrderId, Path)),
    responses((status = 200, description = "The returns", body = Page<ReturnView>),
              (status = 404, description = "No such order")))]
async fn list(
    State(api): State<Api>,
    PathId(id): PathId<OrderId>,
) -> Result<Json<Page<ReturnView>>, ApiError> {
    let mut db = api.engine.db().acquire().await?;
    if orders::find(&mut *db, id).await?.is_none() {
        return Err(no_such_order(id));
    }
    let found = returns::of_orders(&mut db, &[id]).await?.remove(&id);
    let items = found.unwrap_or_default().into_iter().rev();
    Ok(Json(Page {
        items: items.map(ReturnView::from).collect(),
        next_cursor: None,
    }))
}
