//! Every command, reply and event of orders of every kind is what the published document says.

use common::contract::topology;
use lapin::BasicProperties;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{
    Amqp,
    contract::{Contract, Heard, Tap},
    eventually,
};

use crate::harness::{Api, System, id, text};

impl System {
    /// Sends an order on its way, and back.
    async fn deliver_and_send_back(&self, order: &Value) {
        let path = format!("/orders/{}", text(order, "orderId"));
        for status in ["SHIPPED", "DELIVERED"] {
            patch(
                &self.orders,
                &format!("{path}/status"),
                &json!({ "status": status }),
            )
            .await;
            self.until_open_sagas_are_none(order).await;
        }
        let items = json!({ "items": [{ "productId": "prod-1", "quantity": 1 }] });
        let answer = self.orders.post(&format!("{path}/returns"), &items).await;
        assert!(answer.status().is_success());
        self.until(order, "RETURNED").await;
    }

    /// Damages the row of an order's saga, so that it is parked.
    async fn damage(&self, order: &Value) {
        let db = self.environment.pool("order").await;
        let damage = sqlx::query(
            "UPDATE sagas SET status = 'RUNNING', current_step = 'nonsense', attempt = 1, reason = NULL, deadline_at = now()
             WHERE id = $1",
        );
        damage.bind(id(order, "sagaId")).execute(&db).await.unwrap();
        self.until_saga(order, "PARKED").await;
    }

    async fn until_open_sagas_are_none(&self, order: &Value) {
        let path = format!("/sagas?orderId={}", text(order, "orderId"));
        let none = |sagas: &Value| {
            let sagas = sagas["items"].as_array().unwrap();
            sagas.iter().all(|saga| saga["deadlineAt"].is_null())
        };
        eventually("no saga is open", || self.orders.json(&path), none).await;
    }
}

async fn patch(api: &Api, path: &str, body: &Value) {
    let answer = api.request(Method::PATCH, path).json(body).send().await;
    let answer = answer.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Every type of message but the answer to a question, which goes to who asked.
const TYPES: usize = 29;

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_what_the_document_says() {
    let overrides = [("PAYMENT_SUCCESS_RATE", "1"), ("MESSAGE_BATCH_MAX", "64")];
    let system = System::whole_with(&overrides).await;
    let url = system.environment.rabbitmq_url();
    let contract = Contract::new();
    let tap = Tap::open(&url).await.unwrap();

    let returned = system.place("prod-1", 1).await;
    let cancelled = system.place("prod-2", 2).await;
    let declined = system
        .place_with("prod-1", 1, "pm_card_visa_chargeDeclined")
        .await;
    let unknown = system.place("nothing", 1).await;
    // Of several at once, some share an AMQP message.
    let placing = (0..20).map(|_| system.placing("prod-1"));
    futures_util::future::join_all(placing).await;
    // Nearly all of it is sold, and then there is some again.
    let scarce = system.place("prod-3", 25).await;
    for (order, status) in [
        (&returned, "COMPLETED"),
        (&cancelled, "COMPLETED"),
        (&declined, "CANCELLED"),
        (&unknown, "CANCELLED"),
        (&scarce, "COMPLETED"),
    ] {
        system.until(order, status).await;
    }
    system.cancel(&cancelled).await;
    system.cancel(&scarce).await;
    system.until(&cancelled, "CANCELLED").await;
    system.until(&scarce, "CANCELLED").await;
    system.deliver_and_send_back(&returned).await;
    system.damage(&unknown).await;

    let amqp = Amqp::connect(&url).await;
    let letter = BasicProperties::default();
    amqp.publish(topology::DLX, "payment.commands", b"{}", letter)
        .await;
    let asked = ask(&url, &contract).await;
    assert_eq!(asked, ["inventory.validated.v1"]);
    let heard = async || tap.compare(&contract).await.unwrap();
    let is_all = |heard: &Heard| !heard.problems.is_empty() || heard.fit.len() == TYPES;
    let heard = eventually("every type of message comes", heard, is_all).await;
    assert!(heard.problems.is_empty(), "{heard}");
    let reserved = heard.fit["inventory.reserved.v1"];
    assert!(reserved >= 2 * 23, "replies and events: {reserved}");
}

/// Asks inventory something, as anybody may, and compares the answer.
async fn ask(url: &str, contract: &Contract) -> Vec<String> {
    let amqp = Amqp::connect(url).await;
    let answers = amqp.listen(topology::EVENTS, "nothing").await;
    let question = json!({
        "specversion": "1.0", "id": "01976a3e-7c00-7000-8000-000000000001", "source": "shop",
        "type": "inventory.validate.v1", "subject": "a basket", "time": "2026-11-20T10:00:00Z",
        "data": { "items": [{ "productId": "prod-1", "quantity": 1 }] }
    });
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_type("inventory.validate.v1".into())
        .with_reply_to(answers.as_str().into());
    let body = question.to_string();
    amqp.publish(topology::COMMANDS, "inventory", body.as_bytes(), properties)
        .await;
    let answer = amqp.next(&answers).await;
    let to = (topology::DEFAULT, answers.as_str());
    let compared = contract.check(to, &answer.properties, &answer.data);
    compared.unwrap()
}
