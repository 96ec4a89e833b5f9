//! Orders, as the API shows them.

use chrono::{DateTime, Utc};
use common::contract::{Money, OrderId, Reason, SagaId, decimal, order::OrderItem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::orders::{Order, Status};

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
}), as = Order)]
pub(crate) struct OrderView {
    order_id: OrderId,
    saga_id: SagaId,
    status: Status,
    /// Why it is cancelled, or, while PENDING, is being cancelled.
    cancellation_reason: Option<Reason>,
    customer_id: String,
    items: Vec<ItemView>,
    currency: String,
    /// What all of it costs: a decimal number with two places.
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
#[schema(as = OrderItem)]
struct ItemView {
    product_id: String,
    quantity: u32,
    /// What one costs: a decimal number with two places.
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
