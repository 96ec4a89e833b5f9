//! Each way in which an order can end.

use reqwest::{Method, StatusCode};
use serde_json::json;

use test_support::eventually;

use crate::harness::{System, count, events, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_completes() {
    let system = System::whole().await;
    let order = system.place("prod-1", 2).await;
    assert_eq!(order["status"], "PENDING");
    assert_eq!(order["totalAmount"].to_string(), "39.98");

    system.until(&order, "COMPLETED").await;
    let saga = system.saga(&order).await;
    assert_eq!(saga["status"], "COMPLETED");
    assert_eq!(
        events(&saga),
        [
            "SAGA_STARTED",
            "ACTION_SENT",
            "STEP_SUCCEEDED",
            "ACTION_SENT",
            "STEP_SUCCEEDED",
            "SAGA_COMPLETED"
        ]
    );
    assert!(
        saga["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["status"] == "SUCCEEDED")
    );
    let item = system
        .inventory
        .as_ref()
        .unwrap()
        .json("/inventory/prod-1")
        .await;
    assert_eq!(
        (
            &item["quantity"],
            &item["reservedQuantity"],
            &item["availableQuantity"]
        ),
        (&100.into(), &2.into(), &98.into())
    );
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_payment_cancels_the_order() {
    let system = System::whole().await;
    let order = system
        .place_with("prod-1", 1, "pm_card_chargeDeclinedInsufficientFunds")
        .await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "PAYMENT_DECLINED");
    let saga = system.saga(&order).await;
    assert_eq!(saga["status"], "COMPENSATED");
    assert_eq!(saga["steps"][0]["status"], "REJECTED");
    assert_eq!(
        saga["steps"][0]["lastError"],
        "PAYMENT_DECLINED: insufficient_funds"
    );
    assert_eq!(saga["steps"][1]["status"], "SKIPPED");
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stock_the_money_goes_back() {
    let system = System::whole().await;
    for (product, quantity, reason) in [
        ("prod-3", 26, "OUT_OF_STOCK"),
        ("no-such-thing", 1, "UNKNOWN_PRODUCT"),
    ] {
        let order = system.place(product, quantity).await;
        let order = system.until(&order, "CANCELLED").await;
        assert_eq!(order["cancellationReason"], reason);
        let path = format!("/payments?orderId={}", text(&order, "orderId"));
        let payments = system.payments.as_ref().unwrap().json(&path).await;
        assert_eq!(payments["items"][0]["status"], "REFUNDED");
        let saga = system.saga(&order).await;
        assert_eq!(
            (&saga["steps"][0]["status"], &saga["steps"][1]["status"]),
            (&"UNDONE".into(), &"REJECTED".into())
        );
    }
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_order_can_be_cancelled() {
    let system = System::whole().await;
    let order = system.place("prod-1", 3).await;
    system.until(&order, "COMPLETED").await;
    system.cancel(&order).await;
    system.cancel(&order).await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "CUSTOMER_REQUEST");
    let saga = system.saga(&order).await;
    assert_eq!(
        events(&saga)[6..],
        [
            "CANCEL_REQUESTED",
            "COMPENSATION_STARTED",
            "COMPENSATION_SENT",
            "STEP_UNDONE",
            "COMPENSATION_SENT",
            "STEP_UNDONE",
            "SAGA_COMPENSATED"
        ]
    );
    assert_eq!(saga["log"][6]["details"]["note"], "changed my mind");
    let item = system
        .inventory
        .as_ref()
        .unwrap()
        .json("/inventory/prod-1")
        .await;
    assert_eq!(item["availableQuantity"], 100);
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_cancelled_at_once_leaves_nothing_behind() {
    let system = System::whole().await;
    for _ in 0..20 {
        let order = system.place("prod-1", 1).await;
        system.cancel(&order).await;
        system.until(&order, "CANCELLED").await;
    }
    let item = system
        .inventory
        .as_ref()
        .unwrap()
        .json("/inventory/prod-1")
        .await;
    assert_eq!(item["reservedQuantity"], 0);
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipped_order_is_final() {
    let system = System::whole().await;
    let order = system.place("prod-2", 5).await;
    let path = format!("/orders/{}/status", text(&order, "orderId"));
    let change = |status: &'static str| {
        let request = system
            .orders
            .request(Method::PATCH, &path)
            .json(&json!({ "status": status }));
        async move { request.send().await.unwrap().status() }
    };
    system.until(&order, "COMPLETED").await;
    assert_eq!(change("DELIVERED").await, StatusCode::CONFLICT);
    assert_eq!(change("SHIPPED").await, StatusCode::OK);
    assert_eq!(change("SHIPPED").await, StatusCode::OK);
    let cancel = format!("/orders/{}/cancel", text(&order, "orderId"));
    assert_eq!(
        system.orders.post(&cancel, &json!({})).await.status(),
        StatusCode::CONFLICT
    );

    let path_of_item = "/inventory/prod-2";
    let inventory = system.inventory.as_ref().unwrap();
    let is_final =
        |item: &serde_json::Value| item["quantity"] == 45 && item["reservedQuantity"] == 0;
    test_support::eventually(
        "the reservation is final",
        || inventory.json(path_of_item),
        is_final,
    )
    .await;
    assert_eq!(change("DELIVERED").await, StatusCode::OK);
    assert_eq!(change("SHIPPED").await, StatusCode::CONFLICT);
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_shipped_while_it_is_cancelled_stays_shipped() {
    let system = System::whole().await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    let db = system.environment.pool("order").await;
    let mut shipping = common::db::begin(&db).await.unwrap();
    let subject = format!("order/{}", text(&order, "orderId"))
        .parse()
        .unwrap();
    saga::store::lock_subject(&mut shipping, &subject)
        .await
        .unwrap();
    let orders = system.orders.clone();
    let path = format!("/orders/{}/cancel", text(&order, "orderId"));
    let cancelling =
        tokio::spawn(async move { orders.post(&path, &json!({ "reason": "late" })).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(
        "the cancellation waits",
        || count(&db, waiting),
        |waiting| *waiting == 1,
    )
    .await;
    sqlx::query("UPDATE orders SET status = 'SHIPPED'")
        .execute(&mut *shipping)
        .await
        .unwrap();
    shipping.commit().await.unwrap();
    let answer = cancelling.await.unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
}
