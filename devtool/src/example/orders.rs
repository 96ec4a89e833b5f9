//! The orders of the example, how each should end, and how it did.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::system::System;

/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an order that is waited for is asked about.
const POLL: Duration = Duration::from_millis(20);

/// An order, and how it should end.
struct Scenario {
    kind: &'static str,
    customer: &'static str,
    price: f64,
    payment_method: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[rustfmt::skip]
const SCENARIOS: [Scenario; 4] = [
    Scenario::new("an honest order", "customer-1", 39.98, "pm_card_visa", ("COMPLETED", "-")),
    Scenario::new("more than 500.00", "customer-2", 500.01, "pm_card_visa", ("CANCELLED", "FRAUD_SUSPECTED")),
    Scenario::new("a known fraudster", "fraudster-7", 39.98, "pm_card_visa", ("CANCELLED", "FRAUD_SUSPECTED")),
    Scenario::new("honest, without money", "customer-3", 39.98, "pm_card_chargeDeclined", ("CANCELLED", "PAYMENT_DECLINED")),
];

impl Scenario {
    const fn new(
        kind: &'static str,
        customer: &'static str,
        price: f64,
        payment_method: &'static str,
        (status, reason): (&'static str, &'static str),
    ) -> Self {
        Self {
            kind,
            customer,
            price,
            payment_method,
            status,
            reason,
        }
    }

    /// Places the order and follows it to its end.
    async fn play(&self, client: &Client, orders: &str) -> Result<Ended> {
        let order = json!({
            "customerId": self.customer,
            "items": [{ "productId": "prod-1", "quantity": 1, "unitPrice": self.price }],
            "paymentMethod": self.payment_method,
        });
        let placed = post(client, &format!("{orders}/orders"), &order).await?;
        let url = format!("{orders}/orders/{}", text(&placed["orderId"]));
        let ended = timeout(PATIENCE, ended(client, &url)).await;
        let ended = ended.with_context(|| format!("{} did not end in time", self.kind))??;
        let saga = format!("{orders}/sagas/{}", text(&placed["sagaId"]));
        let saga = get(client, &saga).await?;
        let entries = saga["log"].as_array().context("a saga has a log")?;
        Ok(Ended {
            kind: self.kind,
            status: text(&ended["status"]),
            reason: text(&ended["cancellationReason"]),
            expected: (self.status, self.reason),
            steps: steps(entries),
            log: entries.iter().map(line).collect(),
        })
    }
}

/// What became of an order.
pub(super) struct Ended {
    pub(super) kind: &'static str,
    status: String,
    pub(super) reason: String,
    expected: (&'static str, &'static str),
    /// What its saga asked for.
    steps: String,
    /// Its saga's log, line by line.
    pub(super) log: Vec<String>,
}

impl Ended {
    /// Whether it ended as it should.
    pub(super) fn is_good(&self) -> bool {
        (self.status.as_str(), self.reason.as_str()) == self.expected
    }
}

/// Fills the stock and plays all scenarios.
///
/// # Errors
/// A service does not answer, or an order does not end.
pub(super) async fn play(system: &System) -> Result<Vec<Ended>> {
    let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let item = json!({ "productId": "prod-1", "quantity": 100, "price": 39.98 });
    let inventory = system.inventory.url();
    post(&client, &format!("{inventory}/inventory"), &item).await?;
    let orders = system.orders.url();
    try_join_all(SCENARIOS.iter().map(|order| order.play(&client, &orders))).await
}

/// Prints one line for each order.
pub(super) fn print(orders: &[Ended]) {
    let row = |mark: &str, [kind, status, reason, steps]: [&str; 4]| {
        println!("{mark} {kind:21}  {status:9}  {reason:16}  {steps}");
    };
    row(" ", ["order", "became", "reason", "steps"]);
    for order in orders {
        let mark = if order.is_good() { "✔" } else { "✘" };
        row(
            mark,
            [order.kind, &order.status, &order.reason, &order.steps],
        );
    }
}

/// The order at `url`, as soon as its saga has ended.
async fn ended(client: &Client, url: &str) -> Result<Value> {
    loop {
        let order = get(client, url).await?;
        if order["status"] != "PENDING" {
            return Ok(order);
        }
        sleep(POLL).await;
    }
}

/// `fraud, payment`: the steps whose commands were sent.
fn steps(log: &[Value]) -> String {
    let sent = log.iter().filter(|entry| entry["event"] == "ACTION_SENT");
    sent.map(|entry| text(&entry["step"]))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `3  STEP_REJECTED  fraud  {…}`.
fn line(entry: &Value) -> String {
    let (event, step) = (text(&entry["event"]), text(&entry["step"]));
    // As text, for a JSON value takes no notice of a width.
    let seq = entry["seq"].to_string();
    format!("{seq:>4}  {event:22} {step:10} {}", entry["details"])
}

/// A text, or `-` for none.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

async fn post(client: &Client, url: &str, body: &Value) -> Result<Value> {
    answer(client.post(url).json(body)).await
}

async fn get(client: &Client, url: &str) -> Result<Value> {
    answer(client.get(url)).await
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    ensure!(status.is_success(), "the answer was {status}: {body}");
    serde_json::from_str(&body).context("the answer is not JSON")
}
