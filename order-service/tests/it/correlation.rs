//! Everything that follows from a request says which request, and which trace.

use common::contract::topology;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use test_support::{Amqp, eventually};

use crate::harness::{Participants, System, not_reserved, order, processed, text};

/// A request that says where it comes from.
fn from(request: RequestBuilder, name: &str) -> RequestBuilder {
    let parent = format!("{:016x}", u64::from(name.as_bytes()[0]));
    request
        .header("x-correlation-id", name)
        .header("traceparent", trace(&parent))
        .header("tracestate", format!("who={name}"))
}

fn trace(parent: &str) -> String {
    format!("00-0af7651916cd43dd8448eb211c80319c-{parent}-01")
}

/// Asserts that this message follows from the request `name`.
fn assert_from(message: &Value, name: &str) {
    let parent = format!("{:016x}", u64::from(name.as_bytes()[0]));
    let (origin, state) = (trace(&parent), format!("who={name}"));
    assert_eq!(message["correlationid"], name, "{message}");
    assert_eq!(message["traceparent"], origin, "{message}");
    assert_eq!(message["tracestate"], state, "{message}");
}

impl System {
    /// Asks for something in the name of `name`, and returns the answer's body.
    async fn ask(&self, method: Method, path: &str, name: &str, body: &Value) -> Value {
        let request = from(self.orders.request(method, path), name);
        let request = request.header("x-actor", "ada").header("if-match", "*");
        let answer = request.json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        assert_eq!(answer.headers()["x-correlation-id"], name);
        answer.json().await.unwrap()
    }

    async fn until_its_sagas_have_ended(&self, order: &Value) {
        let path = format!("/sagas?orderId={}", text(order, "orderId"));
        let all = |sagas: &Value| {
            let mut sagas = sagas["items"].as_array().unwrap().iter();
            sagas.all(|saga| saga["deadlineAt"].is_null())
        };
        eventually("the sagas have ended", || self.orders.json(&path), all).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_replies_say_which_request_they_follow_from() {
    let system = System::whole().await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let queue = amqp.listen(topology::EVENTS, "#").await;
    let body = order("prod-1", 1, "pm_card_visa");
    let [sent, cancelled] = [
        system.ask(Method::POST, "/orders", "placing", &body).await,
        system.ask(Method::POST, "/orders", "also", &body).await,
    ];
    system.until(&sent, "COMPLETED").await;
    system.until(&cancelled, "COMPLETED").await;
    let path = |order: &Value, rest: &str| format!("/orders/{}/{rest}", text(order, "orderId"));
    let status = path(&sent, "status");
    for (to, name) in [("SHIPPED", "shipping"), ("DELIVERED", "delivery")] {
        system
            .ask(Method::PATCH, &status, name, &json!({ "status": to }))
            .await;
        system.until_its_sagas_have_ended(&sent).await;
    }
    let items = json!({ "items": [{ "productId": "prod-1", "quantity": 1 }] });
    let returns = path(&sent, "returns");
    system.ask(Method::POST, &returns, "return", &items).await;
    system.until(&sent, "RETURNED").await;
    let cancel = path(&cancelled, "cancel");
    system
        .ask(Method::POST, &cancel, "cancellation", &json!({}))
        .await;
    // Asking again changes nothing, so nothing follows from it.
    system.ask(Method::POST, &cancel, "vain", &json!({})).await;
    system.until(&cancelled, "CANCELLED").await;

    let is_sent = |event: &Value| event["subject"] == sent["orderId"];
    // 10 about the order that comes back, 7 about the other one, and 2 about stock that goes and comes.
    let mut stock = 0;
    for event in amqp.next_events(&queue, 19).await {
        let name = match text(&event, "type") {
            "order.created.v1"
            | "order.completed.v1"
            | "payment.processed.v1"
            | "inventory.reserved.v1"
                if is_sent(&event) =>
            {
                "placing"
            }
            "order.created.v1"
            | "order.completed.v1"
            | "payment.processed.v1"
            | "inventory.reserved.v1" => "also",
            "order.shipped.v1" | "inventory.committed.v1" => "shipping",
            "order.delivered.v1" => "delivery",
            "payment.part_refunded.v1" | "inventory.restocked.v1" | "order.returned.v1" => "return",
            "inventory.released.v1" | "payment.refunded.v1" | "order.cancelled.v1" => {
                "cancellation"
            }
            "inventory.updated.v1" => {
                stock += 1;
                if stock == 1 { "shipping" } else { "return" }
            }
            other => panic!("nobody expects {other}"),
        };
        assert_from(&event, name);
    }
    assert_eq!(stock, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_sent_again_says_who_asked_last() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let body = order("prod-1", 1, "pm_card_visa");
    let placed = system.ask(Method::POST, "/orders", "placing", &body).await;
    assert_from(&participants.command("payment").await, "placing");
    system.let_deadline_pass(&placed).await;
    let again = participants.command("payment").await;
    assert_from(&again, "placing");
    participants.reply(&[processed(&again)]).await;
    let reserve = participants.command("inventory").await;
    assert_from(&reserve, "placing");
    participants.reply(&[not_reserved(&reserve)]).await;
    for _ in 0..10 {
        assert_from(&participants.command("payment").await, "placing");
        system.let_deadline_pass(&placed).await;
    }
    let parked = system.until_saga(&placed, "PARKED").await;

    let retry = format!("/sagas/{}/retry", text(&parked, "sagaId"));
    let reason = json!({ "reason": "it is back" });
    let saga = system.ask(Method::POST, &retry, "operator", &reason).await;
    assert_eq!(saga["correlationId"], "operator");
    assert_from(&participants.command("payment").await, "operator");
    system.let_deadline_pass(&placed).await;
    assert_from(&participants.command("payment").await, "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_kept_is_refused() {
    let system = System::alone().await;
    let place = async |id: &[u8]| {
        let request = system.orders.request(Method::POST, "/orders");
        let body = order("prod-1", 1, "pm_card_visa");
        let request = request.header("x-correlation-id", id).json(&body);
        request.send().await.unwrap()
    };
    for wrong in [&[b'x'; 129][..], b"", b"a\tb", b"\xc3\xa9"] {
        let answer = place(wrong).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["x-correlation-id"].len(), 36);
        let problem: Value = answer.json().await.unwrap();
        assert!(
            text(&problem, "detail").starts_with("x-correlation-id"),
            "{problem}"
        );
    }
    let listed = system.orders.json("/orders").await;
    assert_eq!(listed["items"], json!([]), "nothing was placed");
    for good in [&[b'x'; 128][..], b"~ !"] {
        let answer = place(good).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.headers()["x-correlation-id"].as_bytes(), good);
    }
    let made = system.orders.get("/orders").await;
    assert_eq!(made.headers()["x-correlation-id"].len(), 36);
}
