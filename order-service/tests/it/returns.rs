//! Returns of delivered orders: their sagas, and what is refused.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::eventually;

use crate::harness::{Participants, System, count, events, processed, reply_to, reserved, text};

impl System {
    /// Changes the status of an order.
    async fn change(&self, order: &Value, status: &str) -> StatusCode {
        let path = format!("/orders/{}/status", text(order, "orderId"));
        let request = self.orders.request(Method::PATCH, &path);
        let answer = request.json(&json!({ "status": status })).send().await;
        answer.unwrap().status()
    }

    /// An order that has arrived, and whose stock has left.
    async fn delivered(&self, items: &Value) -> Value {
        let body =
            json!({ "customerId": "customer-1", "items": items, "paymentMethod": "pm_card_visa" });
        let order: Value = self
            .orders
            .post("/orders", &body)
            .await
            .json()
            .await
            .unwrap();
        self.until(&order, "COMPLETED").await;
        assert_eq!(self.change(&order, "SHIPPED").await, StatusCode::OK);
        self.until_open_sagas(&order, 0).await;
        assert_eq!(self.change(&order, "DELIVERED").await, StatusCode::OK);
        order
    }

    /// Waits until the order has so many sagas that are at work.
    async fn until_open_sagas(&self, order: &Value, expected: usize) {
        let path = format!("/sagas?orderId={}", text(order, "orderId"));
        let open = |sagas: &Value| {
            let sagas = sagas["items"].as_array().unwrap().iter();
            sagas.filter(|saga| saga["deadlineAt"].is_string()).count() == expected
        };
        eventually("the sagas have ended", || self.orders.json(&path), open).await;
    }

    /// An order of so many of `prod-1` that was shipped, with participants that the test plays.
    async fn shipped_by(&self, participants: &Participants, quantity: u32) -> Value {
        let order = self.place("prod-1", quantity).await;
        let paid = processed(&participants.command("payment").await);
        participants.reply(&[paid]).await;
        let held = reserved(&participants.command("inventory").await);
        participants.reply(&[held]).await;
        self.until(&order, "COMPLETED").await;
        assert_eq!(self.change(&order, "SHIPPED").await, StatusCode::OK);
        order
    }

    async fn send_back(&self, order: &Value, body: &Value) -> (StatusCode, Value) {
        let path = format!("/orders/{}/returns", text(order, "orderId"));
        let answer = self.orders.post(&path, body).await;
        (answer.status(), answer.json().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_comes_back_in_parts_until_all_of_it_is_returned() {
    let system = System::whole().await;
    let order = system
        .delivered(&json!([
            { "productId": "prod-1", "quantity": 3, "unitPrice": 10.00 },
            { "productId": "prod-1", "quantity": 1, "unitPrice": 8.50 },
            { "productId": "prod-2", "quantity": 1, "unitPrice": 5.25 }
        ]))
        .await;
    let first =
        json!({ "items": [{ "productId": "prod-1", "quantity": 2 }], "reason": "too small" });
    let (status, one) = system.send_back(&order, &first).await;
    assert_eq!(status, StatusCode::CREATED, "{one}");
    assert_eq!(one["refundAmount"], 20.0);
    assert_eq!(one["reason"], "too small");
    system.until_open_sagas(&order, 0).await;
    assert_eq!(
        system.until(&order, "DELIVERED").await["status"],
        "DELIVERED"
    );

    let rest = json!({ "items": [{ "productId": "prod-2", "quantity": 1 }, { "productId": "prod-1", "quantity": 2 }] });
    let (status, two) = system.send_back(&order, &rest).await;
    assert_eq!(status, StatusCode::CREATED, "{two}");
    assert_eq!(two["refundAmount"], 23.75);
    system.until(&order, "RETURNED").await;

    let path = format!("/orders/{}/returns", text(&order, "orderId"));
    let returns = system.orders.json(&path).await;
    let statuses: Vec<_> = returns["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(statuses, ["COMPLETED", "COMPLETED"]);
    let saga = system
        .orders
        .json(&format!("/sagas/{}", text(&two, "sagaId")))
        .await;
    assert_eq!(saga["type"], "return_order");
    assert_eq!(saga["orderId"], order["orderId"]);
    let happy = [
        "SAGA_STARTED",
        "ACTION_SENT",
        "STEP_SUCCEEDED",
        "ACTION_SENT",
        "STEP_SUCCEEDED",
        "SAGA_COMPLETED",
    ];
    assert_eq!(events(&saga), happy);

    let item = system
        .inventory
        .as_ref()
        .unwrap()
        .json("/inventory/prod-1")
        .await;
    assert_eq!(
        (&item["quantity"], &item["reservedQuantity"]),
        (&json!(100), &json!(0))
    );
    let payments = system.payments.as_ref().unwrap();
    let payments = payments
        .json(&format!("/payments?orderId={}", text(&order, "orderId")))
        .await;
    assert_eq!(payments["items"][0]["refundedAmount"], 43.75, "{payments}");
    assert_eq!(payments["items"][0]["status"], "REFUNDED");
    let (status, _) = system.send_back(&order, &first).await;
    assert_eq!(status, StatusCode::CONFLICT);
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_or_bought_does_not_come_back() {
    let system = System::whole().await;
    let one = json!({ "items": [{ "productId": "prod-1", "quantity": 1 }] });
    let waiting = system.place("prod-1", 1).await;
    system.until(&waiting, "COMPLETED").await;
    let (status, problem) = system.send_back(&waiting, &one).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text(&problem, "detail").contains("only a DELIVERED one"));

    let order = system
        .delivered(&json!([{ "productId": "prod-1", "quantity": 2, "unitPrice": 10.00 }]))
        .await;
    for (items, field, message) in [
        (json!([]), "items", "must have 1 to 100 items"),
        (
            json!([{ "productId": "prod-1", "quantity": 0 }]),
            "items[0].quantity",
            "must be from 1",
        ),
        (
            json!([{ "productId": "prod-1", "quantity": 3 }]),
            "items[0].quantity",
            "only 2 of prod-1",
        ),
        (
            json!([{ "productId": "prod-9", "quantity": 1 }]),
            "items[0].quantity",
            "only 0 of prod-9",
        ),
        (
            json!([{ "productId": "prod-1", "quantity": 1 }, { "productId": "prod-1", "quantity": 1 }]),
            "items[1].productId",
            "another product",
        ),
    ] {
        let (status, problem) = system.send_back(&order, &json!({ "items": items })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{items}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        assert!(
            text(&problem["errors"][0], "message").contains(message),
            "{problem}"
        );
    }
    let nobody = json!({ "orderId": "01976a3d-0000-7000-8000-000000000001" });
    assert_eq!(
        system.send_back(&nobody, &one).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_requests_at_once_return_no_more_than_was_bought() {
    let system = System::whole().await;
    let order = system
        .delivered(&json!([{ "productId": "prod-1", "quantity": 4, "unitPrice": 10.00 }]))
        .await;
    let one = json!({ "items": [{ "productId": "prod-1", "quantity": 1 }] });
    let answers =
        futures_util::future::join_all((0..10).map(|_| system.send_back(&order, &one))).await;
    let accepted = answers
        .iter()
        .filter(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!(accepted.count(), 4);
    system.until(&order, "RETURNED").await;
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_is_sent_again_with_its_key_is_one_return() {
    let system = System::whole().await;
    let order = system
        .delivered(&json!([{ "productId": "prod-1", "quantity": 4, "unitPrice": 10.00 }]))
        .await;
    let path = format!("/orders/{}/returns", text(&order, "orderId"));
    let send = |quantity: u32| {
        let body = json!({ "items": [{ "productId": "prod-1", "quantity": quantity }] });
        let request = system
            .orders
            .request(Method::POST, &path)
            .header("idempotency-key", "again");
        async move { request.json(&body).send().await.unwrap() }
    };
    let first = send(1).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first: Value = first.json().await.unwrap();
    let second = send(1).await;
    assert_eq!(second.headers()["idempotency-replayed"], "true");
    let second: Value = second.json().await.unwrap();
    assert_eq!(second["returnId"], first["returnId"]);
    assert_eq!(send(2).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        system.orders.json(&path).await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Of one order, no two sagas are open that exclude each other.
#[tokio::test(flavor = "multi_thread")]
async fn goods_come_back_only_after_they_have_left() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.shipped_by(&participants, 2).await;
    assert_eq!(system.change(&order, "DELIVERED").await, StatusCode::OK);
    let commit = participants.command("inventory").await;
    assert_eq!(commit["type"], "inventory.commit.v1");

    let one = json!({ "items": [{ "productId": "prod-1", "quantity": 1 }] });
    let (status, problem) = system.send_back(&order, &one).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text(&problem, "detail").contains("ship_order"), "{problem}");
    // Nor while that saga is parked: it goes on some day.
    let db = system.environment.pool("order").await;
    let park = "UPDATE sagas SET status = 'PARKED', attempt = 0, deadline_at = NULL WHERE type = 'ship_order'";
    sqlx::query(park).execute(&db).await.unwrap();
    let (status, _) = system.send_back(&order, &one).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let committed = reply_to(&commit, "inventory.committed.v1", &json!({ "items": [] }));
    participants.reply(&[committed]).await;
    let parked = || count(&db, "SELECT count(*) FROM sagas WHERE status = 'PARKED'");
    eventually("the reply ends the saga", parked, |sagas| *sagas == 0).await;
    assert_eq!(system.send_back(&order, &one).await.0, StatusCode::CREATED);
    let restock = participants.command("inventory").await;
    assert_eq!(restock["type"], "inventory.restock.v1");
    assert_eq!(
        restock["data"]["items"],
        json!([{ "productId": "prod-1", "quantity": 1 }])
    );
    let data =
        json!({ "returnId": restock["data"]["returnId"], "items": restock["data"]["items"] });
    participants
        .reply(&[reply_to(&restock, "inventory.restocked.v1", &data)])
        .await;
    let refund = participants.command("payment").await;
    assert_eq!(refund["type"], "payment.refund_part.v1");
    assert_eq!(refund["data"]["amount"], "19.99");
}

/// Nothing takes back what has left: the command is sent again until it is done, or the saga is parked.
#[tokio::test(flavor = "multi_thread")]
async fn shipping_is_asked_for_until_it_is_done() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.shipped_by(&participants, 1).await;
    let sagas = system
        .orders
        .json(&format!("/sagas?orderId={}", text(&order, "orderId")))
        .await;
    let shipping = sagas["items"][0].clone();
    assert_eq!(shipping["type"], "ship_order");
    let mut commit = participants.command("inventory").await;
    for _ in 0..9 {
        system.let_deadline_pass(&shipping).await;
        commit = participants.command("inventory").await;
    }
    system.let_deadline_pass(&shipping).await;
    let parked = system.until_saga(&shipping, "PARKED").await;
    assert_eq!(parked["reason"], Value::Null);
    assert_eq!(parked["currentStep"], "inventory");
    let cancel = format!("/orders/{}/cancel", text(&order, "orderId"));
    assert_eq!(
        system.orders.post(&cancel, &json!({})).await.status(),
        StatusCode::CONFLICT
    );

    let answer = system.orders.intervene(&parked, "retry").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let again = participants.command("inventory").await;
    assert_eq!(again["data"], commit["data"]);
    participants
        .reply(&[reply_to(
            &again,
            "inventory.committed.v1",
            &json!({ "items": [] }),
        )])
        .await;
    system.until_saga(&shipping, "COMPLETED").await;
}
