//! `GET /payments` and `GET /payments/{paymentId}`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use common::{
    contract::{Money, OrderId, PaymentId, SagaId, decimal},
    fleet,
    http::{
        ApiError, Created, Page, Part, describe, document,
        extract::{PathId, Query},
    },
};
use sea_orm::{ColumnTrait, DatabaseConnection};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    entity::payment::{Column, Model, Status},
    payments,
};

/// The document of this API.
#[must_use]
pub fn openapi() -> OpenApi {
    document(documented())
}

fn documented() -> OpenApiRouter<DatabaseConnection> {
    let description = "Payments as the gateway decided them. They are made and refunded by sagas only: this API reads. \
                       Every error is an RFC 9457 problem. Money is a decimal number with two places.";
    let tags = [("payments", "What was charged, declined and refunded")];
    OpenApiRouter::with_openapi(describe(&fleet::PAYMENT.program, description, &tags))
        .routes(routes!(list))
        .routes(routes!(get))
}

/// The API's routes.
pub(crate) fn routes(db: PgPool) -> OpenApiRouter {
    documented().with_state(payments::reader(db))
}

/// One charge, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Payment {
    payment_id: PaymentId,
    /// The saga that made it.
    saga_id: SagaId,
    order_id: OrderId,
    #[schema(example = "customer-1")]
    customer_id: String,
    /// Two decimal places.
    #[serde(with = "decimal")]
    #[schema(value_type = f64, example = 39.98)]
    amount: Money,
    /// What was given back of it; two decimal places.
    #[serde(with = "decimal")]
    #[schema(value_type = f64, example = 0.00)]
    refunded_amount: Money,
    /// ISO 4217 code.
    #[schema(example = "USD")]
    currency: String,
    /// The gateway's name of the payment method.
    #[schema(example = "pm_card_visa")]
    payment_method: Option<String>,
    status: Status,
    /// The gateway's id of the charge; null where it was declined.
    #[schema(example = "sim_1db3a91bc9f4284eca03764f")]
    gateway_id: Option<String>,
    /// Why the gateway declined.
    #[schema(example = json!(null))]
    decline_code: Option<String>,
    created_at: DateTime<Utc>,
    /// When money was last given back, else the same as `createdAt`.
    updated_at: DateTime<Utc>,
}

impl From<Model> for Payment {
    fn from(row: Model) -> Self {
        Self {
            payment_id: PaymentId(row.id),
            saga_id: SagaId(row.saga_id),
            order_id: OrderId(row.order_id),
            customer_id: row.customer_id,
            amount: Money::from_minor(row.amount_minor),
            refunded_amount: Money::from_minor(row.refunded_minor),
            currency: row.currency,
            payment_method: row.payment_method,
            status: row.status,
            gateway_id: row.gateway_id,
            decline_code: row.decline_code,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Which payments to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only those of this order.
    #[param(value_type = OrderId, required = false)]
    order_id: Option<OrderId>,
    /// Only those in this status.
    #[param(value_type = Status, required = false)]
    status: Option<Status>,
}

/// Payments, newest first.
#[utoipa::path(get, path = "/payments", operation_id = "listPayments", tag = "payments", params(Filter, Created, Part),
    responses((status = 200, description = "A page of payments", body = Page<Payment>)))]
async fn list(
    State(db): State<DatabaseConnection>,
    Query(filter): Query<Filter>,
    Query(created): Query<Created>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Payment>>, ApiError> {
    let limit = part.limit()?;
    let created = created.condition(Column::Id, Column::CreatedAt)?;
    let which = created
        .add_option(filter.order_id.map(|id| Column::OrderId.eq(id.0)))
        .add_option(filter.status.map(|status| Column::Status.eq(status)));
    let rows = payments::list(&db, which, part.after()?, limit + 1).await?;
    let page = Page::new(rows, limit, |row| row.id.to_string());
    Ok(Json(page.map(Payment::from)))
}

/// One payment.
#[utoipa::path(get, path = "/payments/{paymentId}", operation_id = "getPayment", tag = "payments",
    params(("paymentId" = PaymentId, Path, description = "The payment's id")),
    responses((status = 200, description = "The payment", body = Payment),
              (status = 404, description = "There is no such payment")))]
async fn get(
    State(db): State<DatabaseConnection>,
    PathId(id): PathId<PaymentId>,
) -> Result<Json<Payment>, ApiError> {
    let row = payments::find(&db, id).await?;
    let row = row.ok_or_else(|| ApiError::NotFound(format!("there is no payment {id}")))?;
    Ok(Json(row.into()))
}
