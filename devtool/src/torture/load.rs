//! Customers: orders at a steady rate, of which some are cancelled, and some shipped and sent back.
//!
//! Whatever fails is asked for again with the same key, so that each order and each return is accepted exactly once.

mod delivery;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::fleet;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::system::System;

/// Products of which there is plenty, and of which there is not.
const PLENTY: usize = 15;
const SCARCE: usize = 5;
/// Of the scarce, there is this share of what will be asked for.
const SCARCE_SHARE: f64 = 0.5;
/// How many orders are cancelled, only shipped, or shipped and sent back, in percent.
const CANCELLED: u32 = 10;
const SHIPPED: u32 = 10;
const SENT_BACK: u32 = 25;
/// How long an answer may take, and how long a customer tries.
const ANSWER: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(180);
/// Customers who hang up before they have an answer, in percent, and after how many milliseconds; then they ask again.
const HANG_UP: u32 = 5;
const HANG_UP_MS: std::ops::Range<u64> = 1..30;

/// What customers saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Orders that were answered 201.
    pub(super) accepted: Mutex<Vec<Uuid>>,
    /// Requests that were sent again.
    pub(super) retried: AtomicUsize,
    /// Orders that were there already when they were asked for again.
    pub(super) replayed: AtomicUsize,
    pub(super) cancelled: AtomicUsize,
    pub(super) shipped: AtomicUsize,
    pub(super) delivered: AtomicUsize,
    /// Returns that were answered 201.
    pub(super) returns: AtomicUsize,
    /// Returns of more than was left, which were refused.
    pub(super) too_many: AtomicUsize,
    /// What was refused for so long that a customer gave it up, because another saga of the order was open.
    pub(super) given_up: AtomicUsize,
}

/// The customers.
#[derive(Debug, Clone)]
pub(super) struct Load {
    client: Client,
    /// Of the order service's replicas.
    replicas: Arc<Vec<String>>,
    seed: u64,
    pub(super) seen: Arc<Seen>,
}

/// What is asked for.
struct Request<'a> {
    method: Method,
    path: &'a str,
    key: Option<String>,
    body: Option<&'a Value>,
    /// When the first attempt is given up.
    hang_up: Option<Duration>,
}

impl Load {
    pub(super) fn new(system: &System, seed: u64) -> Result<Self> {
        Ok(Self {
            client: Client::builder()
                .no_proxy()
                // After a stall, thousands are open at once.
                .pool_max_idle_per_host(64)
                .build()?,
            replicas: Arc::new(
                system
                    .of_service(&fleet::ORDER)
                    .map(|r| r.process.url())
                    .collect(),
            ),
            seed,
            seen: Arc::default(),
        })
    }

    /// Places `rate` orders a second until the `end`, and waits until each customer is done.
    ///
    /// # Errors
    /// A customer got an answer that is wrong, or none in minutes.
    pub(super) async fn run(&self, rate: u32, end: impl Future<Output = ()>) -> Result<()> {
        let mut end = pin!(end);
        let mut customers = JoinSet::new();
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut n = 0;
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                _ = ticks.tick() => {}
            }
            let customer = self.clone();
            customers.spawn(async move {
                let lived = customer.customer(n).await;
                lived.with_context(|| format!("customer {n}"))
            });
            n += 1;
            while let Some(ended) = customers.try_join_next() {
                ended.context("a customer panicked")??;
            }
        }
        while let Some(ended) = customers.join_next().await {
            ended.context("a customer panicked")??;
        }
        Ok(())
    }

    /// What the `n`th customer does.
    async fn customer(&self, n: u64) -> Result<()> {
        let mut random = StdRng::seed_from_u64(self.seed ^ (n << 20));
        let order = order(n, &mut random);
        let id = self.place(n, &order, &mut random).await?;
        let fate = random.random_range(0..100);
        // Half of them while the order is under way, half when it has probably ended.
        let after = if random.random() { 0..200 } else { 200..8000 };
        let after = Duration::from_millis(random.random_range(after));
        if fate < CANCELLED {
            sleep(after).await;
            self.cancel(n, id).await?;
        } else if fate < CANCELLED + SHIPPED {
            sleep(after).await;
            self.ship(n, id).await?;
        } else if fate < CANCELLED + SHIPPED + SENT_BACK {
            sleep(after).await;
            self.send_back(n, id, &order, &mut random).await?;
        }
        Ok(())
    }

    async fn place(&self, n: u64, order: &Value, random: &mut StdRng) -> Result<Uuid> {
        let hangs_up = random.random_ratio(HANG_UP, 100);
        let after = Duration::from_millis(random.random_range(HANG_UP_MS));
        let request = Request {
            method: Method::POST,
            path: "/orders",
            key: Some(format!("torture-{n}")),
            body: Some(order),
            hang_up: hangs_up.then_some(after),
        };
        let answer = self.ask(n, &request).await?;
        ensure!(
            answer.status() == StatusCode::CREATED,
            "placing an order was answered {}",
            answer.status()
        );
        if answer.headers().contains_key("idempotency-replayed") {
            self.seen.replayed.fetch_add(1, Ordering::Relaxed);
        }
        // Durable from here on, whether the body arrives or not; then the key tells which order it is.
        let id = match answer.json::<Value>().await {
            Ok(order) => id(&order)?,
            Err(_) => {
                let hang_up = None;
                let again = Request { hang_up, ..request };
                id(&self.ask(n, &again).await?.json().await?)?
            }
        };
        let mut accepted = self.seen.accepted.lock().expect("nobody panics with it");
        accepted.push(id);
        Ok(id)
    }

    async fn cancel(&self, n: u64, id: Uuid) -> Result<()> {
        let path = format!("/orders/{id}/cancel");
        let body = json!({ "reason": "torture" });
        let status = self.change(n, Method::POST, &path, &body).await?;
        ensure!(
            [StatusCode::ACCEPTED, StatusCode::CONFLICT].contains(&status),
            "cancelling order {id} was answered {status}"
        );
        if status == StatusCode::ACCEPTED {
            self.seen.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn change(&self, n: u64, method: Method, path: &str, body: &Value) -> Result<StatusCode> {
        let request = Request {
            method,
            path,
            key: None,
            body: Some(body),
            hang_up: None,
        };
        Ok(self.ask(n, &request).await?.status())
    }

    /// Asks the replicas in turn, until one has an answer that is not its own trouble.
    async fn ask(&self, n: u64, request: &Request<'_>) -> Result<Response> {
        let began = Instant::now();
        let mut replica = usize::try_from(n)?;
        let mut pause = Duration::from_millis(50);
        let mut patience = request.hang_up.unwrap_or(ANSWER);
        loop {
            let url = &self.replicas[replica % self.replicas.len()];
            let asking = self.request(url, request).timeout(patience).send();
            patience = ANSWER;
            let trouble = match asking.await {
                Ok(answer) if !answer.status().is_server_error() => return Ok(answer),
                Ok(answer) => answer.status().to_string(),
                Err(error) => format!("{:#}", anyhow::Error::from(error)),
            };
            let (method, path) = (&request.method, request.path);
            ensure!(
                began.elapsed() < PATIENCE,
                "{method} {path}: no answer within {PATIENCE:?}; the last one was {trouble}"
            );
            self.seen.retried.fetch_add(1, Ordering::Relaxed);
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            replica += 1;
        }
    }

    fn request(&self, url: &str, request: &Request<'_>) -> RequestBuilder {
        let to = format!("{url}{}", request.path);
        let mut builder = self.client.request(request.method.clone(), to);
        if let Some(body) = request.body {
            builder = builder.json(body);
        }
        match &request.key {
            Some(key) => builder.header("Idempotency-Key", key),
            None => builder,
        }
    }
}

fn id(order: &Value) -> Result<Uuid> {
    let id = order["orderId"].as_str().unwrap_or_default();
    id.parse()
        .with_context(|| format!("an order has no id: {order}"))
}

/// The `n`th order: one or two products.
fn order(n: u64, random: &mut StdRng) -> Value {
    let first = random.random_range(0..PLENTY + SCARCE);
    let mut products = vec![first];
    if random.random() {
        products.push((first + random.random_range(1..PLENTY + SCARCE)) % (PLENTY + SCARCE));
    }
    let items: Vec<_> = products
        .into_iter()
        .map(|product| {
            let quantity = random.random_range(1..=3);
            json!({ "productId": name(product), "quantity": quantity, "unitPrice": 9.99 })
        })
        .collect();
    json!({ "customerId": format!("customer-{}", n % 100), "items": items, "paymentMethod": "pm_any" })
}

fn name(product: usize) -> String {
    let kind = if product < PLENTY { "plenty" } else { "scarce" };
    format!("{kind}-{product}")
}

/// Puts in what `orders` will ask for, and of the scarce products less.
///
/// # Errors
/// The inventory service refuses.
pub(super) async fn fill_stock(system: &System, orders: f64) -> Result<()> {
    let inventory = system
        .of_service(&fleet::INVENTORY)
        .next()
        .context("there is one")?;
    let url = format!("{}/inventory", inventory.process.url());
    let client = Client::builder().no_proxy().build()?;
    // 1.5 products an order, 2 of each.
    let wanted = orders * 3.0 / (PLENTY + SCARCE) as f64;
    for product in 0..PLENTY + SCARCE {
        let share = if product < PLENTY { 3.0 } else { SCARCE_SHARE };
        let quantity = (wanted * share).ceil() as u64 + 10;
        let item = json!({ "productId": name(product), "quantity": quantity });
        let answer = client.post(&url).json(&item).send().await?;
        ensure!(
            answer.status() == StatusCode::CREATED,
            "filling up {} was answered {}",
            name(product),
            answer.status()
        );
    }
    Ok(())
}
