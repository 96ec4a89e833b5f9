//! The services' HTTP API, as an application developer would call it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use common::contract::{Money, decimal};
use common::fleet;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::types::chrono::{DateTime, Utc};
use tokio::time::sleep;
use uuid::Uuid;

use crate::services::{Environment, Service};

/// How long an answer may take, and how long a service may say that it should be asked again.
const PATIENCE: Duration = Duration::from_secs(15);
/// How soon a service is asked again that could not answer.
const AGAIN: Duration = Duration::from_millis(200);

/// `POST /orders` and `GET /orders/{orderId}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    pub(super) order_id: String,
    pub(super) saga_id: String,
    pub(super) status: String,
    pub(super) cancellation_reason: Option<String>,
}

/// `GET /sagas/{sagaId}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Saga {
    pub(super) status: String,
    pub(super) current_step: Option<String>,
    pub(super) log: Vec<Entry>,
}

/// `GET /sagas?orderId=`.
#[derive(Debug, Deserialize)]
pub(super) struct SagaSummary {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

/// An entry of the saga log.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: i32,
    pub(super) at: DateTime<Utc>,
    pub(super) event: String,
    pub(super) step: Option<String>,
    pub(super) details: Value,
}

impl Entry {
    /// `attempt 1`; `reason OUT_OF_STOCK, detail prod-3`.
    pub(super) fn details_in_words(&self) -> String {
        let fields = self.details.as_object().into_iter().flatten();
        let mut words: Vec<_> = fields
            .filter_map(|(name, value)| match value {
                Value::Null => None,
                Value::String(text) => Some(format!("{name} {text}")),
                other => Some(format!("{name} {other}")),
            })
            .collect();
        words.sort_by_key(|words| !words.starts_with("reason "));
        words.join(", ")
    }
}

/// `GET /orders/{orderId}/returns`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Return {
    pub(super) return_id: String,
    pub(super) saga_id: String,
    pub(super) status: String,
    #[serde(with = "decimal")]
    pub(super) refund_amount: Money,
}

/// `GET /payments`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payment {
    pub(super) status: String,
    #[serde(with = "decimal")]
    pub(super) amount: Money,
    /// What of it was given back.
    #[serde(with = "decimal")]
    pub(super) refunded_amount: Money,
}

/// `GET /reservations`.
#[derive(Debug, Deserialize)]
pub(super) struct Reservation {
    pub(super) status: String,
}

/// `GET /inventory/{productId}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) quantity: i64,
    pub(super) reserved_quantity: i64,
    pub(super) available_quantity: i64,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

/// A client of all three services.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    order: String,
    payment: String,
    inventory: String,
}

impl Api {
    pub(super) fn new(environment: &Environment) -> Result<Self> {
        let url =
            |service: &'static fleet::Service| Service::from(&service.program).url(environment);
        Ok(Self {
            client: Client::builder().timeout(PATIENCE).no_proxy().build()?,
            order: url(&fleet::ORDER)?,
            payment: url(&fleet::PAYMENT)?,
            inventory: url(&fleet::INVENTORY)?,
        })
    }

    /// Places an order. With the same `key`, it is the same order.
    pub(super) async fn place(&self, order: &Value, key: &str) -> Result<Order> {
        let request = self.request(Method::POST, &self.order, "/orders");
        let request = request.header("Idempotency-Key", key).json(order);
        send(request).await
    }

    pub(super) async fn order(&self, id: &str) -> Result<Order> {
        let path = format!("/orders/{id}");
        send(self.request(Method::GET, &self.order, &path)).await
    }

    pub(super) async fn cancel(&self, id: &str, reason: &str) -> Result<Order> {
        let path = format!("/orders/{id}/cancel");
        let request = self.request(Method::POST, &self.order, &path);
        send(request.json(&json!({ "reason": reason }))).await
    }

    /// Tells that an order is SHIPPED or DELIVERED.
    pub(super) async fn set_status(&self, id: &str, status: &str) -> Result<Order> {
        let path = format!("/orders/{id}/status");
        let request = self.request(Method::PATCH, &self.order, &path);
        send(request.json(&json!({ "status": status }))).await
    }

    /// Sends goods of an order back.
    pub(super) async fn give_back(&self, id: &str, goods: &[(&str, u32)]) -> Result<Return> {
        let path = format!("/orders/{id}/returns");
        let items = goods
            .iter()
            .map(|(product, n)| json!({"productId": product, "quantity": n}));
        let body = json!({"items": items.collect::<Value>(), "reason": "does not fit"});
        let request = self.request(Method::POST, &self.order, &path);
        let request = request.header("Idempotency-Key", Uuid::now_v7().to_string());
        send(request.json(&body)).await
    }

    pub(super) async fn returns(&self, order: &str) -> Result<Vec<Return>> {
        let path = format!("/orders/{order}/returns");
        let page: Page<_> = send(self.request(Method::GET, &self.order, &path)).await?;
        Ok(page.items)
    }

    /// The sagas of an order, newest first.
    pub(super) async fn sagas(&self, order: &str) -> Result<Vec<SagaSummary>> {
        let path = format!("/sagas?orderId={order}");
        let page: Page<_> = send(self.request(Method::GET, &self.order, &path)).await?;
        Ok(page.items)
    }

    /// Where the page for operators is.
    pub(super) fn page(&self) -> String {
        format!("{}/", self.order)
    }

    pub(super) async fn saga(&self, id: &str) -> Result<Saga> {
        let path = format!("/sagas/{id}");
        send(self.request(Method::GET, &self.order, &path)).await
    }

    pub(super) async fn payments(&self, order: &str) -> Result<Vec<Payment>> {
        let path = format!("/payments?orderId={order}");
        let page: Page<_> = send(self.request(Method::GET, &self.payment, &path)).await?;
        Ok(page.items)
    }

    pub(super) async fn reservations(&self, order: &str) -> Result<Vec<Reservation>> {
        let path = format!("/reservations?orderId={order}");
        let page: Page<_> = send(self.request(Method::GET, &self.inventory, &path)).await?;
        Ok(page.items)
    }

    /// The product; nothing where there is none.
    pub(super) async fn item(&self, product: &str) -> Result<Option<Item>> {
        let path = format!("/inventory/{product}");
        let request = self.request(Method::GET, &self.inventory, &path);
        match answer(request).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => read(status, &body).map(Some),
        }
    }

    pub(super) async fn add_item(&self, product: &str, quantity: i64, price: f64) -> Result<Item> {
        let item = json!({"productId": product, "quantity": quantity, "price": price});
        let request = self.request(Method::POST, &self.inventory, "/inventory");
        send(request.json(&item)).await
    }

    pub(super) async fn set_quantity(&self, product: &str, quantity: i64) -> Result<Item> {
        let path = format!("/inventory/{product}");
        let request = self.request(Method::PATCH, &self.inventory, &path);
        send(request.json(&json!({ "quantity": quantity }))).await
    }

    fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{service}{path}"))
    }
}

async fn send<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let (status, body) = answer(request).await?;
    read(status, &body)
}

/// The answer; a service that is not ready for one is asked again, which is harmless for every request here.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, String)> {
    let began = Instant::now();
    loop {
        let again = request.try_clone().context("the body is at hand")?;
        let response = again.send().await.context("no answer")?;
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE && began.elapsed() < PATIENCE {
            sleep(AGAIN).await;
            continue;
        }
        return Ok((status, response.text().await.context("half an answer")?));
    }
}

fn read<T: DeserializeOwned>(status: StatusCode, body: &str) -> Result<T> {
    if !status.is_success() {
        bail!("the answer was {status}: {body}");
    }
    serde_json::from_str(body).with_context(|| format!("the answer was not understood: {body}"))
}
