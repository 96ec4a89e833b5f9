//! What operators do about many sagas at once.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::eventually;

use crate::harness::{Api, System, count, events, text};

/// Orders whose sagas wait for somebody to take their money.
async fn orders(system: &System, orders: usize) -> Vec<Value> {
    let mut placed = Vec::new();
    for _ in 0..orders {
        placed.push(system.place("prod-1", 1).await);
    }
    placed
}

async fn ask(api: &Api, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let mut request = api.request(Method::POST, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.json(body).send().await.unwrap()
}

/// The batch that is asked for.
async fn place(api: &Api, body: &Value) -> Value {
    let answer = ask(api, "/sagas/batch", &[("x-actor", "ada")], body).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let batch: Value = answer.json().await.unwrap();
    assert_eq!(location, path(&batch));
    batch
}

fn path(batch: &Value) -> String {
    format!("/sagas/batch/{}", text(batch, "batchId"))
}

async fn until(api: &Api, batch: &Value, status: &str) -> Value {
    let path = path(batch);
    let is_so = |batch: &Value| batch["status"] == status;
    eventually(&format!("the batch is {status}"), || api.json(&path), is_so).await
}

fn skip_payment() -> Value {
    json!({ "filter": { "status": "RUNNING", "step": "payment" }, "verb": "skip", "reason": "paid by hand" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_does_the_same_about_every_saga_that_fits() {
    let system = System::alone().await;
    let orders = orders(&system, 8).await;
    let batch = place(&system.orders, &skip_payment()).await;
    assert_eq!(
        (&batch["matched"], &batch["matchedAll"]),
        (&json!(8), &json!(true))
    );
    let batch = until(&system.orders, &batch, "DONE").await;
    assert_eq!((&batch["done"], &batch["refused"]), (&json!(8), &json!(0)));
    let key = format!("batch {}", text(&batch, "batchId"));
    for order in &orders {
        let saga = system.saga(order).await;
        assert_eq!(saga["currentStep"], "inventory");
        let said = json!({ "note": "paid by hand", "actor": "ada", "idempotencyKey": key });
        assert_eq!(saga["log"][2]["details"], said);
        assert_eq!(saga["correlationId"], batch["correlationId"]);
    }
    // It is over: what comes later is not in it.
    let later = system.place("prod-1", 1).await;
    assert_eq!(system.saga(&later).await["currentStep"], "payment");
    let all = system.orders.json("/sagas/batch").await;
    assert_eq!(all["items"], json!([batch]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_counted_and_said() {
    let system = System::alone().await;
    let order = orders(&system, 1).await.remove(0);
    let retry = json!({ "filter": { "type": "create_order" }, "verb": "retry", "reason": "r" });
    let batch = place(&system.orders, &retry).await;
    let batch = until(&system.orders, &batch, "DONE").await;
    assert_eq!((&batch["done"], &batch["refused"]), (&json!(0), &json!(1)));
    let why = text(&batch, "lastRefusal");
    assert!(
        why.starts_with(&format!(
            "saga {}: retry makes no sense",
            text(&order, "sagaId")
        )),
        "{why}"
    );
    let cancel = ask(
        &system.orders,
        &format!("{}/cancel", path(&batch)),
        &[("x-actor", "bob")],
        &json!({}),
    )
    .await;
    assert_eq!(cancel.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_stopped_does_nothing_more() {
    let system = System::alone().await;
    orders(&system, 4).await;
    let mut slow = skip_payment();
    slow["perSecond"] = json!(1);
    let batch = place(&system.orders, &slow).await;
    let path = path(&batch);
    eventually(
        "it has begun",
        || system.orders.json(&path),
        |batch| batch["done"] != 0,
    )
    .await;
    let cancel = format!("{path}/cancel");
    for _ in 0..2 {
        let stopped = ask(&system.orders, &cancel, &[("x-actor", "bob")], &json!({})).await;
        assert_eq!(stopped.status(), StatusCode::OK);
        let stopped: Value = stopped.json().await.unwrap();
        assert_eq!(
            (&stopped["status"], &stopped["cancelledBy"]),
            (&json!("CANCELLED"), &json!("bob"))
        );
    }
    let db = system.environment.pool("order").await;
    let skipped = "SELECT count(*) FROM saga_log WHERE event = 'SKIP_REQUESTED'";
    let done = count(&db, skipped).await;
    assert!(done < 4, "{done}");
    // A batch that comes later finds the rest: nobody else is at work on them.
    let rest = place(&system.orders, &skip_payment()).await;
    let rest = until(&system.orders, &rest, "DONE").await;
    assert_eq!(rest["done"], json!(4 - done));
}

/// A replica dies, as everybody else sees it: its lease runs out, and another one goes on. It may only be slow, though.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_with_another_replica_and_does_nothing_twice() {
    const ORDERS: usize = 30;
    let mut system = System::alone().await;
    let orders = orders(&system, ORDERS).await;
    system.add_replica().await;
    let mut slow = skip_payment();
    slow["perSecond"] = json!(20);
    let batch = place(&system.orders, &slow).await;
    let path = path(&batch);
    let db = system.environment.pool("order").await;
    for least in [3, 12] {
        let begun = |batch: &Value| batch["done"].as_i64() >= Some(least);
        eventually("some are done", || system.orders.json(&path), begun).await;
        let lapse = "UPDATE saga_batches SET lease_until = now()";
        sqlx::query(lapse).execute(&db).await.unwrap();
    }
    let batch = until(&system.orders, &batch, "DONE").await;
    assert_eq!(
        (&batch["done"], &batch["refused"]),
        (&json!(ORDERS), &json!(0))
    );
    for order in &orders {
        let saga = system.saga(order).await;
        let skipped = events(&saga)
            .into_iter()
            .filter(|event| *event == "SKIP_REQUESTED");
        assert_eq!(skipped.count(), 1, "{saga}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_shown_before_it_is_done_and_done_once() {
    let system = System::alone().await;
    orders(&system, 3).await;
    let actor = [("x-actor", "ada")];
    let shown = ask(
        &system.orders,
        "/sagas/batch?dryRun=true",
        &actor,
        &skip_payment(),
    )
    .await;
    assert_eq!(shown.status(), StatusCode::OK);
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(
        (&shown["matched"], &shown["matchedAll"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(shown["items"].as_array().unwrap().len(), 3);
    let none = system.orders.json("/sagas/batch").await;
    assert_eq!(none["items"], json!([]));

    let keyed = [("x-actor", "ada"), ("idempotency-key", "k1")];
    let first = ask(&system.orders, "/sagas/batch", &keyed, &skip_payment()).await;
    let first: Value = first.json().await.unwrap();
    let again = ask(&system.orders, "/sagas/batch", &keyed, &skip_payment()).await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    let again: Value = again.json().await.unwrap();
    assert_eq!(again["batchId"], first["batchId"]);
    let mut other = skip_payment();
    other["verb"] = json!("abort");
    let other = ask(&system.orders, "/sagas/batch", &keyed, &other).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_meant_is_refused() {
    let system = System::alone().await;
    let with = |field: &str, value: Value| {
        let mut body = skip_payment();
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("filter", json!({})), "filter"),
        (
            with("filter", json!({ "stauts": "PARKED" })),
            "filter.stauts",
        ),
        (
            with("filter", json!({ "status": "STUCK" })),
            "filter.status",
        ),
        (with("verb", json!("delete")), "verb"),
        (with("verb", json!("reschedule")), "delaySeconds"),
        (with("delaySeconds", json!(5)), "delaySeconds"),
        (with("reason", json!("")), "reason"),
        (with("perSecond", json!(0)), "perSecond"),
    ] {
        let answer = ask(&system.orders, "/sagas/batch", &[("x-actor", "ada")], &body).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let nobody = ask(&system.orders, "/sagas/batch", &[], &skip_payment()).await;
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
    let unknown = system
        .orders
        .get("/sagas/batch/01976a3d-0000-7000-8000-000000000001")
        .await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}
