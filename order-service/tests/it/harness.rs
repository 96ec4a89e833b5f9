//! A system for one test: the order service, with real participants or with participants that the test plays.

use std::{fmt::Debug, net::SocketAddr, str::FromStr, time::Duration};

use common::contract::topology;
use order_service::app::{App, Config, PRODUCT, Sagas};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use test_support::{Amqp, Environment, PATIENCE, eventually, wait_until};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Services that run in this process, on databases and a vhost of their own.
pub(crate) struct System {
    // Dropped first: the environment must not go while services use it.
    running: JoinSet<anyhow::Result<()>>,
    pub(crate) environment: Environment,
    pub(crate) orders: Api,
    pub(crate) payments: Option<Api>,
    pub(crate) inventory: Option<Api>,
    stop: CancellationToken,
}

/// An HTTP API.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
}

impl System {
    /// All three services, with 100 of `prod-1`, 50 of `prod-2` and 25 of `prod-3` in stock.
    pub(crate) async fn whole() -> Self {
        Self::whole_with(&[]).await
    }

    /// A whole system with other configuration.
    pub(crate) async fn whole_with(overrides: &[(&str, &str)]) -> Self {
        let mut system = Self::on(Environment::new().await, overrides).await;
        system.add_participants(overrides).await;
        system
            .stock(&[("prod-1", 100), ("prod-2", 50), ("prod-3", 25)])
            .await;
        system
    }

    /// Only the order service: the test plays the participants.
    pub(crate) async fn alone() -> Self {
        Self::on(Environment::new().await, &[]).await
    }

    /// Only the order service, in an environment that exists.
    pub(crate) async fn on(environment: Environment, overrides: &[(&str, &str)]) -> Self {
        Self::running(environment, overrides, PRODUCT).await
    }

    /// Only the order service, which runs `sagas`.
    pub(crate) async fn of(sagas: Sagas) -> Self {
        Self::running(Environment::new().await, &[], sagas).await
    }

    async fn running(environment: Environment, overrides: &[(&str, &str)], sagas: Sagas) -> Self {
        let config = Config::from_vars(&environment.vars(overrides)).unwrap();
        let app = App::build(&config, sagas).await.unwrap();
        let orders = Api::at(app.address().unwrap());
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(app.run(stop.clone()));
        orders.until_ready().await;
        Self {
            environment,
            orders,
            payments: None,
            inventory: None,
            stop,
            running,
        }
    }

    /// Starts another replica of the order service.
    pub(crate) async fn add_replica(&mut self) -> Api {
        let config = Config::from_vars(&self.environment.vars(&[])).unwrap();
        let app = App::build(&config, PRODUCT).await.unwrap();
        let orders = Api::at(app.address().unwrap());
        self.running.spawn(app.run(self.stop.clone()));
        orders.until_ready().await;
        orders
    }

    /// Starts the real participants.
    pub(crate) async fn add_participants(&mut self, overrides: &[(&str, &str)]) {
        let vars = self.environment.vars(overrides);
        let payment = payment_service::app::Config::from_vars(&vars).unwrap();
        let payment = payment_service::app::App::build(&payment).await.unwrap();
        let inventory = inventory_service::app::Config::from_vars(&vars).unwrap();
        let inventory = inventory_service::app::App::build(&inventory)
            .await
            .unwrap();
        self.payments = Some(Api::at(payment.address().unwrap()));
        self.inventory = Some(Api::at(inventory.address().unwrap()));
        self.running.spawn(payment.run(self.stop.clone()));
        self.running.spawn(inventory.run(self.stop.clone()));
        for api in [&self.payments, &self.inventory].into_iter().flatten() {
            api.until_ready().await;
        }
    }

    /// Puts products into the inventory.
    pub(crate) async fn stock(&self, products: &[(&str, u64)]) {
        for (product, quantity) in products {
            let item = json!({ "productId": product, "quantity": quantity });
            let inventory = self
                .inventory
                .as_ref()
                .expect("the test runs the inventory service");
            let answer = inventory.post("/inventory", &item).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
    }

    /// Places an order of `quantity` of `product` and returns it.
    pub(crate) async fn place(&self, product: &str, quantity: u32) -> Value {
        self.place_with(product, quantity, "pm_card_visa").await
    }

    /// Places an order that is paid with another method.
    pub(crate) async fn place_with(
        &self,
        product: &str,
        quantity: u32,
        payment_method: &str,
    ) -> Value {
        let answer = self
            .orders
            .post("/orders", &order(product, quantity, payment_method))
            .await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json().await.unwrap()
    }

    /// Places an order of one `product`, if the service accepts one now.
    pub(crate) async fn try_place(&self, product: &str) -> Option<Value> {
        self.placing(product).await
    }

    /// The same for a task of its own.
    pub(crate) fn placing(&self, product: &str) -> impl Future<Output = Option<Value>> + use<> {
        let (orders, order) = (self.orders.clone(), order(product, 1, "pm_card_visa"));
        async move {
            let answer = orders.post("/orders", &order).await;
            if answer.status() != StatusCode::CREATED {
                return None;
            }
            Some(answer.json().await.unwrap())
        }
    }

    /// Cancels an order, as its customer.
    pub(crate) async fn cancel(&self, order: &Value) {
        let path = format!("/orders/{}/cancel", text(order, "orderId"));
        let answer = self
            .orders
            .post(&path, &json!({ "reason": "changed my mind" }))
            .await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }

    /// The order, as soon as it has `status`.
    pub(crate) async fn until(&self, order: &Value, status: &str) -> Value {
        let path = format!("/orders/{}", text(order, "orderId"));
        let has_status = |order: &Value| order["status"] == status;
        eventually(
            &format!("the order is {status}"),
            || self.orders.json(&path),
            has_status,
        )
        .await
    }

    /// The saga of an order.
    pub(crate) async fn saga(&self, order: &Value) -> Value {
        self.orders
            .json(&format!("/sagas/{}", text(order, "sagaId")))
            .await
    }

    /// The saga of an order, as soon as it has `status`.
    pub(crate) async fn until_saga(&self, order: &Value, status: &str) -> Value {
        let has_status = |saga: &Value| saga["status"] == status;
        eventually(
            &format!("the saga is {status}"),
            || self.saga(order),
            has_status,
        )
        .await
    }

    /// The saga of an order, as soon as its log has such an entry.
    pub(crate) async fn until_saga_has(&self, order: &Value, event: &str) -> Value {
        let has = |saga: &Value| events(saga).contains(&event);
        eventually(&format!("the log has {event}"), || self.saga(order), has).await
    }

    /// Lets the deadline of a saga pass now.
    pub(crate) async fn let_deadline_pass(&self, order: &Value) {
        let db = self.environment.pool("order").await;
        let changed = sqlx::query(
            "UPDATE sagas SET deadline_at = now() WHERE id = $1 AND deadline_at IS NOT NULL",
        )
        .bind(id(order, "sagaId"))
        .execute(&db)
        .await
        .unwrap();
        assert_eq!(changed.rows_affected(), 1, "the saga has a deadline");
    }

    /// Waits until nothing is left to publish.
    pub(crate) async fn until_outbox_is_empty(&self) {
        let db = self.environment.pool("order").await;
        wait_until(PATIENCE, "the outbox is empty", || async {
            count(&db, "SELECT count(*) FROM outbox").await == 0
        })
        .await;
    }

    /// Asserts that all guarantees hold.
    pub(crate) async fn audit(&self) {
        self.environment.make_auditor().await;
        let books = audit::Books::open(&self.environment.vars(&[])).unwrap();
        let report = books.audit().await.unwrap();
        assert!(report.violations.is_empty(), "{report}");
    }

    /// Stops all services and asserts that they end well.
    pub(crate) async fn stop(mut self) -> Environment {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
        self.environment
    }
}

impl Api {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            client: Client::new(),
            base: format!("http://{address}"),
        }
    }

    /// A request, to be completed and sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// What an operator does about a saga, however it is by then.
    pub(crate) async fn intervene(&self, saga: &Value, verb: &str) -> Response {
        let path = format!("/sagas/{}/{verb}", text(saga, "sagaId"));
        let request = self.request(Method::POST, &path).header("x-actor", "ada");
        let request = request.header("if-match", "*");
        let why = request.json(&json!({ "reason": "a test" }));
        why.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// The body of a GET that must succeed.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    pub(crate) async fn until_ready(&self) {
        wait_until(PATIENCE, "the service is ready", || async {
            let answer = self
                .request(Method::GET, "/health/ready")
                .timeout(Duration::from_secs(5))
                .send()
                .await;
            answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
    }

    /// The address, for what goes around HTTP clients.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }
}

/// An order as a client sends it.
pub(crate) fn order(product: &str, quantity: u32, payment_method: &str) -> Value {
    json!({
        "customerId": "customer-1",
        "items": [{ "productId": product, "quantity": quantity, "unitPrice": 19.99 }],
        "paymentMethod": payment_method
    })
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

pub(crate) fn id(value: &Value, field: &str) -> Uuid {
    text(value, field).parse().unwrap()
}

/// The events of a saga's log, in order.
pub(crate) fn events(saga: &Value) -> Vec<&str> {
    saga["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(entry, "event"))
        .collect()
}

pub(crate) async fn count(db: &PgPool, query: &'static str) -> i64 {
    sqlx::query(query).fetch_one(db).await.unwrap().get(0)
}

/// How long the `last` sagas took, in milliseconds: half of them, 99 % of them, and all of them.
pub(crate) async fn slowest_sagas(db: &PgPool, last: i64) -> [f64; 3] {
    let query = "SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
                     ORDER BY round(1000 * EXTRACT(epoch FROM updated_at - created_at))::float8)
                 FROM (SELECT * FROM sagas ORDER BY created_at DESC LIMIT $1) s";
    let row = sqlx::query(query).bind(last).fetch_one(db).await.unwrap();
    row.get::<Vec<f64>, _>(0).try_into().unwrap()
}

/// What the environment says about how much a test does, which is little by default.
#[expect(clippy::disallowed_methods, reason = "tests have no config")]
pub(crate) fn setting<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Participants that the test plays: it takes commands and sends replies.
pub(crate) struct Participants {
    pub(crate) amqp: Amqp,
}

impl Participants {
    pub(crate) async fn of(environment: &Environment) -> Self {
        Self {
            amqp: Amqp::connect(&environment.rabbitmq_url()).await,
        }
    }

    /// The next command for `participant`.
    pub(crate) async fn command(&self, participant: &str) -> Value {
        let queue = match participant {
            "payment" => topology::PAYMENT_COMMANDS.name,
            _ => topology::INVENTORY_COMMANDS.name,
        };
        let [command] = &self.amqp.next_events(queue, 1).await[..] else {
            panic!("one command")
        };
        command.clone()
    }

    /// Sends replies, several in one message if there are several.
    pub(crate) async fn reply(&self, replies: &[Value]) {
        match replies {
            [reply] => {
                self.amqp
                    .publish_event(topology::REPLIES, "order", reply)
                    .await
            }
            replies => {
                self.amqp
                    .publish_batch(topology::REPLIES, "order", replies)
                    .await
            }
        }
    }
}

/// The reply to a command: `kind` with `data` beside the order's id.
pub(crate) fn reply_to(command: &Value, kind: &str, data: &Value) -> Value {
    let mut data = data.clone();
    data["orderId"] = command["subject"].clone();
    json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": "a-test",
        "type": kind,
        "subject": command["subject"],
        "time": "2026-11-20T10:00:00Z",
        "sagaid": command["sagaid"],
        "sagastep": command["sagastep"],
        "causationid": command["id"],
        "data": data
    })
}

pub(crate) fn processed(command: &Value) -> Value {
    let data = json!({ "paymentId": Uuid::now_v7(), "amount": "19.99", "currency": "USD" });
    reply_to(command, "payment.processed.v1", &data)
}

pub(crate) fn refunded(command: &Value) -> Value {
    reply_to(
        command,
        "payment.refunded.v1",
        &json!({ "reason": "OUT_OF_STOCK" }),
    )
}

pub(crate) fn reserved(command: &Value) -> Value {
    reply_to(command, "inventory.reserved.v1", &json!({ "items": [] }))
}

pub(crate) fn not_reserved(command: &Value) -> Value {
    let data = json!({ "items": [], "reason": "OUT_OF_STOCK", "detail": "prod-1" });
    reply_to(command, "inventory.reservation_failed.v1", &data)
}

pub(crate) fn released(command: &Value) -> Value {
    reply_to(
        command,
        "inventory.released.v1",
        &json!({ "items": [], "reason": "CUSTOMER_REQUEST" }),
    )
}

impl System {
    /// The order, as soon as its saga has ended.
    pub(crate) async fn until_saga_ends(&self, order: &Value) -> Value {
        let path = format!("/orders/{}", text(order, "orderId"));
        eventually(
            "the order ends",
            || self.orders.json(&path),
            |order| order["status"] != "PENDING",
        )
        .await
    }
}

/// Asserts that no queue of RabbitMQ at `url` has a dead letter.
pub(crate) async fn assert_no_dead_letters(url: &str) {
    let amqp = Amqp::connect(url).await;
    for queue in topology::QUEUES {
        let dlq = topology::dead_letter_queue(queue.name);
        assert_eq!(amqp.ready(&dlq).await, 0, "{dlq}");
    }
}
