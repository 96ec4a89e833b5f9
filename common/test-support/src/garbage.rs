//! Messages that nobody can want, as a client with a bug or a grudge would send them.

pub mod odd;
pub mod wire;

use std::time::Duration;

use anyhow::Result;
use common::contract::topology::{self, QUEUES};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use rand::{RngExt, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use self::wire::{Message, Wire};

/// How long a broker that takes no more garbage is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const ONE: &str = "application/cloudevents+json";
const MANY: &str = "application/cloudevents-batch+json";

/// One message of it.
#[derive(Debug)]
struct Garbage {
    exchange: &'static str,
    routing_key: &'static str,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// Throws `count` messages of it at all queues, of which RabbitMQ takes most.
///
/// # Errors
/// The broker went away.
pub async fn throw(url: &str, count: usize, random: &mut impl RngExt) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default());
    let connection = timeout(PATIENCE, connection).await??;
    let mut wire = None;
    for _ in 0..count {
        if random.random_ratio(1, 4) {
            wire = throw_odd(url, wire, random).await?;
            continue;
        }
        // The broker closes a channel for some of it.
        let channel = timeout(PATIENCE, connection.create_channel()).await??;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        timeout(PATIENCE, confirms).await??;
        let garbage = Garbage::any(random);
        let taken = timeout(PATIENCE, publish(&channel, &garbage)).await?;
        if taken.is_ok() {
            timeout(PATIENCE, channel.close(200, "next".into())).await??;
        }
    }
    timeout(PATIENCE, connection.close(200, "enough".into())).await??;
    Ok(())
}

/// Throws one message that no library would write. RabbitMQ refuses some of it, and the connection with it.
async fn throw_odd(
    url: &str,
    wire: Option<Wire>,
    random: &mut impl RngExt,
) -> Result<Option<Wire>> {
    let (exchange, routing_key) = destination(random);
    let message = Message {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        properties: odd::any(random),
        // RabbitMQ's channels crash at what they cannot read, and write all of the message to its log.
        body: event(random).to_string().into_bytes(),
    };
    let mut wire = match wire {
        Some(wire) => wire,
        None => timeout(PATIENCE, Wire::connect(url)).await??,
    };
    let taken = timeout(PATIENCE, wire.publish(&message)).await;
    Ok(taken.is_ok_and(|taken| taken.is_ok()).then_some(wire))
}

#[expect(clippy::disallowed_methods, reason = "a foreign client")]
async fn publish(channel: &Channel, garbage: &Garbage) -> lapin::Result<()> {
    let published = channel.basic_publish(
        garbage.exchange.into(),
        garbage.routing_key.into(),
        BasicPublishOptions::default(),
        &garbage.body,
        garbage.properties.clone(),
    );
    published.await?.await.map(drop)
}

impl Garbage {
    fn any(random: &mut impl RngExt) -> Self {
        let (exchange, routing_key) = destination(random);
        Self {
            exchange,
            routing_key,
            properties: properties(random),
            body: body(random),
        }
    }
}

/// A queue, by its own name or by an exchange.
fn destination(random: &mut impl RngExt) -> (&'static str, &'static str) {
    let queue = QUEUES.choose(random).expect("there are queues");
    if random.random_ratio(1, 3) {
        (topology::DEFAULT, queue.name)
    } else {
        (queue.exchange, queue.routing_keys[0])
    }
}

fn properties(random: &mut impl RngExt) -> BasicProperties {
    let mut properties = BasicProperties::default();
    if random.random_ratio(9, 10) {
        let kinds = [ONE, ONE, ONE, MANY, "text/plain", ""];
        properties = properties.with_content_type((*kinds.choose(random).expect("some")).into());
    }
    let long = "x".repeat(255);
    let mut some =
        |text: &str| -> Option<ShortString> { random.random_ratio(1, 4).then(|| text.into()) };
    if let Some(text) = some("1") {
        properties = properties.with_expiration(text);
    }
    if let Some(text) = some(&long) {
        properties = properties.with_reply_to(text);
    }
    if let Some(text) = some("no.such.queue") {
        properties = properties.with_reply_to(text);
    }
    if let Some(text) = some(&long) {
        properties = properties.with_correlation_id(text);
    }
    if let Some(text) = some("line\nfeed\u{7}") {
        properties = properties.with_message_id(text);
    }
    if let Some(text) = some(&long) {
        properties = properties.with_type(text);
    }
    if let Some(text) = some("gzip") {
        properties = properties.with_content_encoding(text);
    }
    if let Some(text) = some(&long) {
        properties = properties.with_app_id(text);
    }
    if let Some(text) = some("\u{0}") {
        properties = properties.with_cluster_id(text);
    }
    if random.random_ratio(1, 4) {
        properties = properties.with_headers(headers(random));
    }
    if random.random_ratio(1, 4) {
        properties = properties.with_timestamp(random.random());
    }
    if random.random_ratio(1, 20) {
        properties = properties.with_user_id("somebody else".into());
    }
    properties.with_priority(random.random())
}

fn headers(random: &mut impl RngExt) -> FieldTable {
    let mut headers = FieldTable::default();
    match random.random_range(0..4) {
        0 => {
            headers.insert("CC".into(), AMQPValue::LongString("not an array".into()));
        }
        1 => {
            let much = "x".repeat(60_000);
            headers.insert("x-much".into(), AMQPValue::LongString(much.into()));
        }
        2 => {
            for n in 0..500 {
                headers.insert(format!("x-{n}").into(), AMQPValue::LongLongInt(n));
            }
        }
        _ => {
            for _ in 0..100 {
                let mut outer = FieldTable::default();
                outer.insert("x".into(), AMQPValue::FieldTable(headers));
                headers = outer;
            }
        }
    }
    headers
}

fn body(random: &mut impl RngExt) -> Vec<u8> {
    let event = event(random);
    match random.random_range(0..12) {
        0 => (0..random.random_range(0..2000))
            .map(|_| random.random())
            .collect(),
        1 => {
            let mut cut = event.to_string().into_bytes();
            cut.truncate(random.random_range(0..cut.len()));
            cut
        }
        2 => "[".repeat(10_000).into_bytes(),
        3 => batch(&event, random.random_range(0..300)),
        4 if random.random_ratio(1, 20) => vec![b' '; 2 << 20],
        5 if random.random_ratio(1, 50) => vec![b'['; 16 << 20],
        6 if random.random_ratio(1, 20) => batch(&event, 5000),
        7 => {
            let mut event = event;
            event["x".repeat(100_000)] = json!("x");
            event.to_string().into_bytes()
        }
        _ => event.to_string().into_bytes(),
    }
}

/// `count` times the same message, but no more than 4 MiB: the broker of a test has little memory.
fn batch(event: &Value, count: usize) -> Vec<u8> {
    let event = event.to_string();
    let count = count.min((4 << 20) / event.len());
    format!("[{}]", vec![event; count].join(",")).into_bytes()
}

/// Almost a command, a reply or a question. None of them could be carried out.
fn event(random: &mut impl RngExt) -> Value {
    let kinds = [
        "payment.process.v1",
        "payment.processed.v1",
        "payment.refund.v1",
        "inventory.reserve.v1",
        "inventory.reserved.v1",
        "inventory.validate.v1",
        "order.created.v1",
        "no.such.type.v1",
        "",
    ];
    let odd = [
        json!(null),
        json!(""),
        json!(-1),
        json!("\u{0}"),
        json!("x".repeat(300)),
        json!("x".repeat(100_000)),
        json!({ "a": [1, 2, 3] }),
        json!(["payment"]),
        json!("9999-99-99T99:99:99Z"),
    ];
    let mut event = json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": "a stranger",
        "type": kinds.choose(random).expect("some"),
        "subject": Uuid::now_v7(),
        "time": "2026-11-20T10:00:00Z",
        "datacontenttype": "application/json",
        "sagaid": Uuid::now_v7(),
        "sagastep": "payment",
        "correlationid": "a-request",
        "replyto": "nobody",
        // No data of ours has these fields only.
        "data": { "reason": "OUT_OF_STOCK", "amount": "1.00" },
    });
    for _ in 0..random.random_range(0..3) {
        let names: Vec<String> = event
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let name = names.choose(random).expect("some");
        event[name.as_str()] = odd.choose(random).expect("some").clone();
    }
    event
}
