//! Orders through all participants: the saga of this example in the order service of the product.

use std::{future::Future, net::SocketAddr};

use checked_orders::checked_order::SAGAS;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use test_support::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fraud_check::World;

/// The services, which run in this process until the test ends.
struct Services {
    // Dropped first: what they run on must not go while they use it.
    _running: JoinSet<anyhow::Result<()>>,
    client: Client,
    orders: String,
    payments: String,
    world: World,
}

impl Services {
    /// All of them but fraud-check, with 100 of `prod-1` in stock.
    async fn start() -> Self {
        let world = World::new().await;
        let vars = world.env.vars(&[]);
        let config = order_service::app::Config::from_vars(&vars).unwrap();
        let order = order_service::app::App::build(&config, SAGAS)
            .await
            .unwrap();
        let config = payment_service::app::Config::from_vars(&vars).unwrap();
        let payment = payment_service::app::App::build(&config).await.unwrap();
        let config = inventory_service::app::Config::from_vars(&vars).unwrap();
        let inventory = inventory_service::app::App::build(&config).await.unwrap();
        let url = |address: std::io::Result<SocketAddr>| format!("http://{}", address.unwrap());
        let orders = url(order.address());
        let payments = url(payment.address());
        let stock = url(inventory.address());

        let never = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(order.run(never.clone()));
        running.spawn(payment.run(never.clone()));
        running.spawn(inventory.run(never));
        let services = Self {
            _running: running,
            client: Client::new(),
            orders,
            payments,
            world,
        };
        let item = json!({ "productId": "prod-1", "quantity": 100 });
        let path = format!("{stock}/inventory");
        services.until_created(&path, &item).await;
        services
    }

    /// Places an order and returns it.
    async fn place(&self, customer: &str, price: f64) -> Value {
        let order = json!({
            "customerId": customer,
            "items": [{ "productId": "prod-1", "quantity": 1, "unitPrice": price }],
            "paymentMethod": "pm_card_visa",
        });
        let path = format!("{}/orders", self.orders);
        self.until_created(&path, &order).await
    }

    /// Asks until the service is there.
    async fn until_created(&self, url: &str, body: &Value) -> Value {
        let post = async || self.client.post(url).json(body).send().await.ok();
        let created = |answer: &Option<reqwest::Response>| {
            answer
                .as_ref()
                .is_some_and(|answer| answer.status() == StatusCode::CREATED)
        };
        let answer = eventually("the service is there", post, created).await;
        answer.unwrap().json().await.unwrap()
    }

    fn get(&self, url: String) -> impl Future<Output = Value> {
        let answer = self.client.get(url).send();
        async { answer.await.unwrap().json().await.unwrap() }
    }

    /// The order, as soon as it has `status`.
    async fn until(&self, order: &Value, status: &str) -> Value {
        let url = format!(
            "{}/orders/{}",
            self.orders,
            order["orderId"].as_str().unwrap()
        );
        eventually(
            status,
            || self.get(url.clone()),
            |order| order["status"] == status,
        )
        .await
    }

    /// The steps that the saga of `order` has asked for, in their order.
    async fn steps(&self, order: &Value) -> Vec<String> {
        let id = order["sagaId"].as_str().unwrap();
        let saga = self.get(format!("{}/sagas/{id}", self.orders)).await;
        let log = saga["log"].as_array().unwrap().iter();
        let sent = log.filter(|entry| entry["event"] == "ACTION_SENT");
        sent.map(|entry| entry["step"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many payments were tried for `order`.
    async fn payments(&self, order: &Value) -> usize {
        let id = order["orderId"].as_str().unwrap();
        let page = self.get(format!("{}/payments?orderId={id}", self.payments));
        page.await["items"].as_array().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_passes_is_paid_and_reserved() {
    let services = Services::start().await;
    let _fraud_check = services.world.start();
    let order = services.place("customer-1", 39.98).await;
    services.until(&order, "COMPLETED").await;
    assert_eq!(
        services.steps(&order).await,
        ["fraud", "payment", "inventory"]
    );
    assert_eq!(services.payments(&order).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspicious_order_is_cancelled_and_no_money_is_asked_for() {
    let services = Services::start().await;
    let _fraud_check = services.world.start();
    for (customer, price) in [("customer-1", 500.01), ("fraudster-1", 1.0)] {
        let order = services.place(customer, price).await;
        let cancelled = services.until(&order, "CANCELLED").await;
        assert_eq!(cancelled["cancellationReason"], "FRAUD_SUSPECTED");
        assert_eq!(services.steps(&order).await, ["fraud"]);
        assert_eq!(services.payments(&order).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_checks_orders_wait() {
    let services = Services::start().await;
    let order = services.place("customer-1", 39.98).await;
    eventually(
        "it is asked for",
        || services.world.waiting(),
        |waiting| *waiting == 1,
    )
    .await;
    assert_eq!(services.payments(&order).await, 0);
    let _fraud_check = services.world.start();
    services.until(&order, "COMPLETED").await;
}
