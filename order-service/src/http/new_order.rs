//! `POST /orders`: what clients send, and what is wrong with it.

use axum::http::HeaderMap;
use chrono::SubsecRound;
use common::{
    contract::{Currency, Money, NoCurrency, OrderId, SagaId, clock, decimal, order::OrderItem},
    http::{
        ApiError,
        extract::{Checks, Text, whole},
        origin,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::idempotency_key;
use crate::{
    intake::Placement,
    orders::{Order, Status},
};

const ITEMS_MAX: usize = 100;
const QUANTITY_MAX: u32 = 10_000;
const UNIT_PRICE_MAX: Money = Money::from_minor(100_000_000);

/// An order as a client places it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "customerId": "customer-1",
    "items": [{"productId": "prod-1", "quantity": 2, "unitPrice": 19.99}],
    "currency": "USD",
    "paymentMethod": "pm_card_visa",
    "customerEmail": "customer-1@example.com"
}))]
pub(crate) struct NewOrder {
    /// Who orders. `userId` is taken too.
    #[serde(alias = "userId")]
    #[schema(value_type = Text)]
    customer_id: String,
    /// 1 to 100 items.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
    /// ISO 4217 code. Prices are whole numbers of the currency's smallest unit, so those in JPY have no decimal places.
    #[serde(default = "default_currency")]
    #[schema(default = "USD", pattern = "^[A-Z]{3}$")]
    currency: String,
    /// The gateway's name of a payment method. `pm_card_chargeDeclined` is always declined by the simulated one.
    #[schema(value_type = Option<Text>)]
    payment_method: Option<String>,
    /// Where to tell the customer.
    #[schema(format = "email", min_length = 3, max_length = 255)]
    customer_email: Option<String>,
    /// What the client takes to be the price of all. Where it is given, it must be the sum of quantity times price.
    // It follows from the items, so a request that comes again is the same with it and without.
    #[serde(
        default,
        skip_serializing,
        deserialize_with = "decimal::option::deserialize"
    )]
    #[schema(value_type = Option<f64>, minimum = 0.01, example = 39.98)]
    total: Option<Money>,
}

/// One line of an order as a client places it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewOrderItem)]
pub(crate) struct NewItem {
    /// The product.
    #[schema(value_type = Text)]
    product_id: String,
    /// How many.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 10_000)]
    quantity: u32,
    /// The price of one, with at most two decimal places. `price` is taken too.
    #[serde(alias = "price", with = "decimal")]
    #[schema(value_type = f64, minimum = 0.01, maximum = 1_000_000)]
    unit_price: Money,
}

fn default_currency() -> String {
    "USD".to_owned()
}

impl NewOrder {
    /// The placement of this order, if nothing is wrong with it.
    pub(super) fn placement(self, headers: &HeaderMap) -> Result<Placement, ApiError> {
        self.check()?;
        let idempotency = idempotency_key::read(headers, &self)?;
        let now = clock::now().trunc_subsecs(6);
        let items: Vec<_> = self.items.into_iter().map(NewItem::into_item).collect();
        let total = items
            .iter()
            .filter_map(|item| item.unit_price.times(item.quantity))
            .sum();
        if self.total.is_some_and(|given| given != total) {
            let rule = format!("must be {total}, the sum of quantity times price, or absent");
            return Err(ApiError::invalid("total", rule));
        }
        let order = Order {
            id: OrderId::generate(),
            saga_id: SagaId::generate(),
            customer_id: self.customer_id,
            status: Status::Pending,
            cancellation_reason: None,
            items,
            currency: self.currency,
            total,
            payment_method: self.payment_method,
            customer_email: self.customer_email,
            event_sequence: 0,
            created_at: now,
            updated_at: now,
        };
        Ok(Placement {
            order,
            idempotency,
            origin: origin(headers),
        })
    }

    fn check(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.text("customerId", &self.customer_id);
        checks.optional_text("paymentMethod", self.payment_method.as_deref());
        checks.optional_text("customerEmail", self.customer_email.as_deref());
        let is_email = |text: &str| {
            text.split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        };
        let email = self.customer_email.as_deref();
        checks.require(
            email.is_none_or(is_email),
            "customerEmail",
            "must be an e-mail address",
        );
        let currency: Option<Currency> = self.currency.parse().ok();
        checks.require(currency.is_some(), "currency", NoCurrency.to_string());
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
            checks.require(quantity_fits, field("quantity"), "must be from 1 to 10000");
            let price_fits = (Money::from_minor(1)..=UNIT_PRICE_MAX).contains(&item.unit_price);
            checks.require(
                price_fits,
                field("unitPrice"),
                "must be from 0.01 to 1000000.00",
            );
            if let Some(currency) = currency
                && currency.smallest_units(item.unit_price).is_none()
            {
                let rule = format!(
                    "must be a whole number of the smallest unit of {}",
                    currency.code()
                );
                checks.require(false, field("unitPrice"), rule);
            }
        }
        checks.finish()
    }
}

impl NewItem {
    fn into_item(self) -> OrderItem {
        OrderItem {
            product_id: self.product_id,
            quantity: self.quantity,
            unit_price: self.unit_price,
        }
    }
}
