//! Operators find sagas by what went wrong, and count them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Participants, System, not_reserved, processed, refunded, text};

async fn ids(system: &System, query: &str) -> Vec<Value> {
    let page = system.orders.json(&format!("/sagas?{query}")).await;
    assert_eq!(page["nextCursor"], Value::Null);
    let items = page["items"].as_array().unwrap().iter();
    items.map(|saga| saga["sagaId"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_found_by_what_went_wrong_last() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    // One is undone, one has been silent once, one is quarantined.
    let undone = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    let inventory = participants.command("inventory").await;
    participants.reply(&[not_reserved(&inventory)]).await;
    let refund = participants.command("payment").await;
    participants.reply(&[refunded(&refund)]).await;
    system.until(&undone, "CANCELLED").await;
    let silent = system.place("prod-1", 1).await;
    participants.command("payment").await;
    system.let_deadline_pass(&silent).await;
    participants.command("payment").await;
    let broken = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let db = system.environment.pool("order").await;
    let breaking =
        "UPDATE sagas SET current_step = 'nonsense', deadline_at = now() WHERE id = $1::uuid";
    let breaking = sqlx::query(breaking).bind(text(&broken, "sagaId"));
    breaking.execute(&db).await.unwrap();
    system.until_saga(&broken, "PARKED").await;

    for (order, error) in [
        (&undone, "inventory: OUT_OF_STOCK: prod-1"),
        (&silent, "payment: no reply to attempt 1"),
    ] {
        assert_eq!(system.saga(order).await["lastError"], error);
    }
    let of = |order: &Value| vec![order["sagaId"].clone()];
    for (query, order) in [
        ("error=out_of_STOCK", &undone),
        ("reason=OUT_OF_STOCK&type=create_order", &undone),
        ("status=COMPENSATED", &undone),
        ("error=no+reply+to&status=RUNNING", &silent),
        ("step=payment", &silent),
        ("error=cannot+be+understood", &broken),
        ("step=nonsense&stuck=true", &broken),
    ] {
        assert_eq!(ids(&system, query).await, of(order), "{query}");
    }
    let subject = format!("subject=order/{}", text(&undone, "orderId"));
    assert_eq!(ids(&system, &subject).await, of(&undone));
    for nothing in ["error=100%25", "reason=TIMEOUT", "type=ship_order"] {
        assert!(ids(&system, nothing).await.is_empty(), "{nothing}");
    }

    let stats = system.orders.json("/sagas/stats?minutes=5").await;
    assert_eq!(stats["waitingComplete"], true);
    let at = |status: &str, step: &str| {
        let mut waiting = stats["waiting"].as_array().unwrap().iter();
        let found = waiting.find(|one| one["status"] == status && one["step"] == step);
        found.unwrap_or_else(|| panic!("{status} at {step} in {stats}"))
    };
    for (one, order) in [
        (at("RUNNING", "payment"), &silent),
        (at("PARKED", "nonsense"), &broken),
    ] {
        assert_eq!(
            (&one["count"], &one["oldest"]),
            (&json!(1), &order["sagaId"])
        );
        assert_eq!(one["oldestAt"], system.saga(order).await["createdAt"]);
    }
    let [ended] = &stats["ended"]["byType"].as_array().unwrap()[..] else {
        panic!("one type in {stats}")
    };
    assert_eq!(
        (&ended["status"], &ended["count"]),
        (&json!("COMPENSATED"), &json!(1))
    );
    assert!(ended["p50Ms"].as_f64().unwrap() > 0.0 && ended["p99Ms"] == ended["p50Ms"]);
    let minutes = stats["ended"]["perMinute"].as_array().unwrap();
    assert!((6..=7).contains(&minutes.len()), "{stats}");
    let compensated = minutes
        .iter()
        .map(|one| one["compensated"].as_i64().unwrap());
    assert_eq!(compensated.sum::<i64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_make_no_sense_are_refused_by_name() {
    let system = System::alone().await;
    for (query, field) in [
        ("?error=", "error"),
        ("?error=%00", "error"),
        ("?updatedFrom=yesterday", "updatedFrom"),
        (
            "?updatedFrom=2026-11-20T10:00:00Z&updatedBefore=2026-11-20T10:00:00Z",
            "updatedBefore",
        ),
        ("?status=LOST", "status"),
        ("/stats?minutes=0", "minutes"),
        ("/stats?minutes=61", "minutes"),
    ] {
        let answer = system.orders.get(&format!("/sagas{query}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}
