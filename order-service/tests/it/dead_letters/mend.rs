//! Letters that are edited or deleted, one by one.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use super::{DLQ, WORKING, World, ask, command};
use crate::harness::{Participants, count, events, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_goes_out_under_a_new_id_and_the_original_is_kept() {
    let mut world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    let mut broken = pay.clone();
    broken["data"]["amount"] = json!("19,99");
    world
        .kill(&broken, "invalid-data", "the amount has a comma")
        .await;
    let orders = world.system.orders.clone();
    let path = format!("/dead-letters/{DLQ}/{}/redrive", text(&pay, "id"));
    let no_event = json!({"reason": "r", "body": {"specversion": "1.0"}});
    let refused = ask(&orders, Method::POST, &path, &no_event).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let edit = json!({"reason": "a comma", "body": pay});
    let mut first = None;
    for replayed in [false, true] {
        let request = orders.request(Method::POST, &path).header("x-actor", "ada");
        let request = request.header("idempotency-key", "k-2").json(&edit);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            answer.headers().contains_key("idempotency-replayed"),
            replayed
        );
        let kept: Value = answer.json().await.unwrap();
        assert_eq!(kept["messageId"], pay["id"]);
        assert_eq!(*first.get_or_insert(kept.clone()), kept);
    }
    let kept = first.unwrap();
    let sent = world.amqp.next_events(WORKING, 1).await.remove(0);
    assert_eq!(sent["id"], kept["editedAs"]);
    assert_eq!(
        (&sent["causationid"], &sent["data"]),
        (&pay["id"], &pay["data"])
    );
    assert_eq!(world.amqp.ready(DLQ).await, 0);
    let db = world.system.environment.pool("order").await;
    let row = sqlx::query("SELECT body, headers::text, actor, action FROM kept_letters");
    let row = row.fetch_one(&db).await.unwrap();
    let body: Value = serde_json::from_slice(&row.get::<Vec<u8>, _>(0)).unwrap();
    assert_eq!(body, broken);
    assert!(row.get::<&str, _>(1).contains("invalid-data"));
    assert_eq!(
        (row.get::<&str, _>(2), row.get::<&str, _>(3)),
        ("ada", "EDITED")
    );
    let saga = world.system.saga(&order).await;
    let note = saga["log"].as_array().unwrap().last().unwrap();
    assert_eq!(note["event"], "DEAD_LETTER_REDRIVEN");
    assert_eq!(note["details"]["editedAs"], kept["editedAs"]);
    world.system.add_participants(&[]).await;
    world.system.stock(&[("prod-1", 10)]).await;
    world
        .amqp
        .publish_event("saga.commands", "payment", &sent)
        .await;
    world.system.until(&order, "COMPLETED").await;
    world.system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn even_what_cannot_be_read_can_be_edited() {
    let world = World::new().await;
    world
        .kill(&json!({"id": "x-1"}), "unreadable", "it is no event")
        .await;
    let path = format!("/dead-letters/{DLQ}/x-1/redrive");
    let edit = json!({"reason": "as it was meant", "body": command(None)});
    let answer = ask(&world.system.orders, Method::POST, &path, &edit).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        world.amqp.next_events(WORKING, 1).await[0]["type"],
        "payment.refund.v1"
    );
    let again = ask(&world.system.orders, Method::POST, &path, &edit).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_an_ended_saga_is_edited_only_when_asked_twice() {
    let world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    let db = world.system.environment.pool("order").await;
    sqlx::query("UPDATE sagas SET status = 'COMPLETED', current_step = NULL, deadline_at = NULL, attempt = 0")
        .execute(&db)
        .await
        .unwrap();
    world.kill(&pay, "invalid-data", "wrong").await;
    let path = format!("/dead-letters/{DLQ}/{}/redrive", text(&pay, "id"));
    let mut edit = json!({"reason": "r", "body": pay});
    let refused = ask(&world.system.orders, Method::POST, &path, &edit).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/dead-letter-refused");
    assert!(
        text(&problem, "detail").contains(text(&order, "sagaId")),
        "{problem}"
    );
    assert_eq!(world.amqp.ready(DLQ).await, 1);
    edit["force"] = json!(true);
    let answer = ask(&world.system.orders, Method::POST, &path, &edit).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_letter_is_kept_and_its_saga_knows() {
    let world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    world.kill(&pay, "refused", "no").await;
    let stays = world.kill_some_more(2).await;
    let path = format!("/dead-letters/{DLQ}/{}", text(&pay, "id"));
    let nobody = world.system.orders.request(Method::DELETE, &path);
    let nobody = nobody.json(&json!({"reason": "r"})).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
    let answer = ask(
        &world.system.orders,
        Method::DELETE,
        &path,
        &json!({"reason": "a test"}),
    )
    .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let kept: Value = answer.json().await.unwrap();
    assert_eq!(
        (&kept["editedAs"], &kept["reason"]),
        (&Value::Null, &json!("a test"))
    );
    assert_eq!(world.take_all().await, stays);
    let db = world.system.environment.pool("order").await;
    let deleted =
        "SELECT count(*) FROM kept_letters WHERE action = 'DELETED' AND actor = 'ada@example.com'";
    assert_eq!(count(&db, deleted).await, 1);
    let saga = world.system.saga(&order).await;
    assert_eq!(events(&saga).last(), Some(&"DEAD_LETTER_DELETED"));
    let gone = ask(
        &world.system.orders,
        Method::DELETE,
        &path,
        &json!({"reason": "a test"}),
    )
    .await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

impl World {
    /// Makes letters of no saga behind those that are there.
    async fn kill_some_more(&self, number: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..number {
            let body = command(Some(Uuid::now_v7()));
            self.kill(&body, "refused", "no").await;
            ids.push(text(&body, "id").to_owned());
        }
        ids
    }
}
