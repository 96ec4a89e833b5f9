//! Operators look at dead letters and send them again.

mod flood;
mod growth;
mod kill;
mod mend;
mod redrive;

use std::collections::BTreeMap;

use common::contract::topology;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable},
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::{Amqp, Environment, eventually};
use uuid::Uuid;

use crate::harness::{Api, System, text};

/// The queue that most of these tests are about; nobody consumes its working queue unless the payment service runs.
const DLQ: &str = "payment.commands.dlq";
const WORKING: &str = "payment.commands";

/// An order service, and dead letters that the test makes.
pub(crate) struct World {
    pub(crate) system: System,
    pub(crate) amqp: Amqp,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(System::alone().await).await
    }

    async fn of(system: System) -> Self {
        let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
        Self { system, amqp }
    }

    /// Makes `body` a dead letter, as a service of ours does.
    async fn kill(&self, body: &Value, kind: &str, error: &str) {
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json".into())
            .with_correlation_id("a-request".into())
            .with_headers(reason(kind, error));
        let properties = match body["id"].as_str() {
            Some(id) => properties.with_message_id(id.into()),
            None => properties,
        };
        let body = body.to_string();
        self.amqp
            .publish(topology::DLX, WORKING, body.as_bytes(), properties)
            .await;
    }

    /// Makes `number` letters of no saga, and waits until they are there.
    pub(crate) async fn kill_some(&self, number: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..number {
            let body = command(None);
            self.kill(&body, "refused", "the gateway says no").await;
            ids.push(text(&body, "id").to_owned());
        }
        let number = u32::try_from(number).unwrap();
        eventually("they are dead", || self.amqp.ready(DLQ), |n| *n == number).await;
        ids
    }

    async fn list(&self, query: &str) -> Value {
        self.system
            .orders
            .json(&format!("/dead-letters/{DLQ}{query}"))
            .await
    }

    /// The ids of all letters, as RabbitMQ has them in order. They are gone after that.
    async fn take_all(&self) -> Vec<String> {
        take_all(&self.amqp, DLQ).await
    }

    async fn until_done(&self, redrive: &Value) -> Value {
        until_done(&self.system.orders, redrive).await
    }
}

async fn take_all(amqp: &Amqp, queue: &str) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(message) = amqp.get(queue).await {
        ids.push(id_of(&message));
    }
    ids
}

fn id_of(message: &Delivery) -> String {
    let id = message.properties.message_id().as_ref();
    id.map(ToString::to_string).unwrap_or_default()
}

async fn until_done(orders: &Api, redrive: &Value) -> Value {
    let path = format!("/redrives/{}", text(redrive, "redriveId"));
    let is_done = |redrive: &Value| redrive["status"] == "DONE";
    eventually("the redrive is done", || orders.json(&path), is_done).await
}

/// The headers of a dead letter of ours.
fn reason(kind: &str, error: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("x-error-kind", kind),
        ("x-error", error),
        ("x-failed-at", "2026-11-20T10:00:00Z"),
        ("x-correlation-id", "a-request"),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers.insert("x-attempts".into(), AMQPValue::LongLongInt(3));
    headers
}

/// A command of a saga that there is not.
fn command(saga: Option<Uuid>) -> Value {
    json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": "a-test",
        "type": "payment.refund.v1",
        "subject": Uuid::now_v7(),
        "time": "2026-11-20T10:00:00Z",
        "sagaid": saga.unwrap_or_else(Uuid::now_v7),
        "sagastep": "payment",
        "correlationid": "a-request",
        "data": {}
    })
}

/// A request with an actor.
async fn ask(api: &Api, method: Method, path: &str, body: &Value) -> Response {
    let request = api
        .request(method, path)
        .header("x-actor", "ada@example.com");
    request.json(body).send().await.unwrap()
}

/// Asks for letters to be sent again.
async fn redrive(api: &Api, body: &Value) -> Value {
    let path = format!("/dead-letters/{DLQ}/redrive");
    let answer = ask(api, Method::POST, &path, body).await;
    let status = answer.status();
    let redrive: Value = answer.json().await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{redrive}");
    redrive
}

fn header(message: &Delivery, name: &str) -> Option<String> {
    let headers = message.properties.headers().as_ref()?;
    Some(match headers.inner().get(name)? {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// How often RabbitMQ says that a letter was given back.
fn deliveries(message: &Delivery) -> i64 {
    let count = header(message, "x-delivery-count");
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_grouped_by_what_went_wrong() {
    let world = World::new().await;
    let saga = Uuid::now_v7();
    for _ in 0..3 {
        let error = format!("there is no saga {}", Uuid::now_v7());
        world.kill(&command(Some(saga)), "refused", &error).await;
    }
    world
        .kill(
            &json!({"no": "event"}),
            "unreadable",
            "missing field `id` at line 1",
        )
        .await;
    let all = world.system.orders.json("/dead-letters").await;
    let names: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| text(q, "queue"))
        .collect();
    assert_eq!(
        names,
        ["order.saga.replies.dlq", DLQ, "inventory.commands.dlq"]
    );
    let queue = &all["items"][1];
    assert_eq!(
        (&queue["messages"], &queue["complete"]),
        (&json!(4), &json!(true))
    );
    assert_eq!(queue["oldestAt"], "2026-11-20T10:00:00Z");
    let counts: Vec<_> = queue["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["count"])
        .collect();
    assert_eq!(counts, [3, 1]);
    let group = &queue["groups"][0];
    assert_eq!(group["reason"]["kind"], "refused");
    assert_eq!(group["type"], "payment.refund.v1");
    let of_group = world
        .list(&format!("?group={}", text(group, "group")))
        .await;
    assert_eq!(of_group["items"].as_array().unwrap().len(), 3);
    let of_saga = world
        .list(&format!("?sagaId={saga}&type=payment.refund.v1"))
        .await;
    assert_eq!(of_saga["items"].as_array().unwrap().len(), 3);
    let of_nobody = world.list(&format!("?sagaId={}", Uuid::now_v7())).await;
    assert_eq!(of_nobody["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_says_who_it_is_and_why_it_is_dead() {
    let world = World::new().await;
    let body = command(None);
    world.kill(&body, "refused", "the gateway says no").await;
    let headers = reason("unreadable", "it is not JSON");
    let properties = BasicProperties::default().with_headers(headers);
    world
        .amqp
        .publish(topology::DLX, WORKING, b"\xff\x00", properties)
        .await;
    let path = format!("/dead-letters/{DLQ}/{}", text(&body, "id"));
    let letter = world.system.orders.json(&path).await;
    let wanted = json!({"kind": "refused", "error": "the gateway says no", "attempts": 3});
    assert_eq!(letter["reason"], wanted);
    assert_eq!(letter["body"], body);
    assert_eq!(letter["sagaId"], body["sagaid"]);
    assert_eq!(letter["step"], "payment");
    assert_eq!(letter["correlationId"], "a-request");
    assert_eq!(letter["failedAt"], "2026-11-20T10:00:00Z");
    assert!(letter["ageS"].as_i64().unwrap() > 0);
    assert_eq!(letter["headers"]["x-error-kind"], "refused");
    let list = world.list("").await;
    let bytes = &list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["body"].is_null())
        .unwrap();
    assert_eq!(bytes["bodyBase64"], "/wA=");
    assert!(text(bytes, "messageId").starts_with("sha256-"), "{bytes}");
    let nobody = world
        .system
        .orders
        .get(&format!("/dead-letters/{DLQ}/nobody"))
        .await;
    assert_eq!(nobody.status(), StatusCode::NOT_FOUND);
    let nowhere = world.system.orders.get("/dead-letters/nowhere").await;
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    assert!(nowhere.text().await.unwrap().contains(DLQ));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_gave_up_tells_by_x_death() {
    let world = World::new().await;
    let body = command(None);
    let exchange = topology::COMMANDS;
    world.amqp.publish_event(exchange, "payment", &body).await;
    let mut giving_up = 0;
    while world.amqp.ready(DLQ).await == 0 {
        let taken = world.amqp.channel();
        let message = taken
            .basic_get(WORKING.into(), Default::default())
            .await
            .unwrap();
        if let Some(message) = message {
            let again = lapin::options::BasicRejectOptions { requeue: true };
            message.delivery.acker.reject(again).await.unwrap();
            giving_up += 1;
        }
        assert!(giving_up < 100, "the limit is 20");
    }
    let list = world.list("").await;
    let letter = &list["items"][0];
    assert_eq!(letter["reason"]["kind"], "delivery_limit");
    assert_eq!(letter["messageId"], body["id"]);
    assert!(!letter["failedAt"].is_null(), "{letter}");
    let asked = redrive(&world.system.orders, &json!({"reason": "mended"})).await;
    assert_eq!(world.until_done(&asked).await["redriven"], 1);
    let again = world.amqp.next(WORKING).await;
    assert_eq!(header(&again, "x-death"), None);
    assert_eq!(header(&again, "x-redriven").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_loses_nothing_and_keeps_the_order() {
    let world = World::new().await;
    let ids = world.kill_some(300).await;
    for _ in 0..3 {
        let list = world.list("?limit=200").await;
        assert_eq!(list["messages"], 300);
        assert_eq!(list["items"].as_array().unwrap().len(), 200);
        let cursor = text(&list, "nextCursor");
        let rest = world.list(&format!("?limit=200&cursor={cursor}")).await;
        let mut listed: Vec<_> = [&list, &rest]
            .iter()
            .flat_map(|page| page["items"].as_array().unwrap())
            .map(|letter| text(letter, "messageId").to_owned())
            .collect();
        listed.sort();
        let mut all = ids.clone();
        all.sort();
        assert_eq!(listed, all);
    }
    let mut order = Vec::new();
    let mut most = 0;
    while let Some(letter) = world.amqp.get(DLQ).await {
        most = most.max(deliveries(&letter));
        order.push(id_of(&letter));
    }
    assert_eq!(order, ids);
    // RabbitMQ before 4.3 has no way of giving back that does not count. Each look counts once.
    assert!(
        most <= 6,
        "six looks are at most six deliveries, not {most}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_look_at_once_all_see_everything() {
    let mut world = World::new().await;
    let ids = world.kill_some(200).await;
    let other = world.system.add_replica().await;
    let path = format!("/dead-letters/{DLQ}?limit=200");
    for _ in 0..2 {
        let (orders, path) = (&world.system.orders, path.as_str());
        let (one, two, three) =
            tokio::join!(orders.json(path), other.json(path), orders.json(path));
        for list in [one, two, three] {
            assert_eq!(list["items"].as_array().unwrap().len(), 200);
        }
    }
    assert_eq!(world.take_all().await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_look_now_is_told_so() {
    let world = World::new().await;
    let db = world.system.environment.pool("order").await;
    let mut turn = db.acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 1))")
        .bind(DLQ)
        .execute(&mut *turn)
        .await
        .unwrap();
    let busy = world
        .system
        .orders
        .get(&format!("/dead-letters/{DLQ}"))
        .await;
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(busy.headers().contains_key("retry-after"));
    assert!(busy.text().await.unwrap().contains("somebody else"));
    drop(turn);
    let nobody = [("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:1/%2f")];
    let system = System::on(Environment::new().await, &nobody).await;
    let wanted = json!({"reason": "r"});
    let redrive = format!("/dead-letters/{DLQ}/redrive");
    for (method, path) in [
        (Method::GET, "/dead-letters"),
        (Method::GET, "/dead-letters/payment.commands.dlq"),
        (Method::POST, &redrive),
    ] {
        let away = ask(&system.orders, method, path, &wanted).await;
        assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(away.text().await.unwrap().contains("RabbitMQ"), "{path}");
    }
}

/// How many of each there are.
fn counted(ids: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}
