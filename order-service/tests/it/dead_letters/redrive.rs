//! Letters go to their queue again.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use test_support::{PATIENCE, wait_until};

use super::{DLQ, WORKING, World, ask, command, counted, header, id_of, redrive, take_all};
use crate::harness::{Participants, System, count, events, processed, reserved, text};

#[tokio::test(flavor = "multi_thread")]
async fn one_a_group_and_all_are_sent_again() {
    let world = World::new().await;
    let orders = &world.system.orders;
    let ids = world.kill_some(5).await;
    let other = command(None);
    world.kill(&other, "handler-failed", "a bug").await;
    let one = json!({"reason": "try one", "messageIds": [ids[3]]});
    let done = world.until_done(&redrive(orders, &one).await).await;
    assert_eq!(
        (&done["redriven"], &done["actor"]),
        (&json!(1), &json!("ada@example.com"))
    );
    let again = world.amqp.next(WORKING).await;
    assert_eq!(id_of(&again), ids[3]);
    assert_eq!(header(&again, "x-redriven").as_deref(), Some("1"));
    assert_eq!(
        header(&again, "x-redrive").as_deref(),
        done["redriveId"].as_str()
    );
    assert_eq!(
        header(&again, "x-correlation-id").as_deref(),
        Some("a-request")
    );
    for gone in ["x-error-kind", "x-error", "x-failed-at", "x-attempts"] {
        assert_eq!(header(&again, gone), None, "{gone}");
    }
    assert_eq!(again.properties.delivery_mode(), &Some(2));
    assert_eq!(
        again.properties.correlation_id().as_ref().unwrap().as_str(),
        "a-request"
    );

    let letter = orders
        .json(&format!("/dead-letters/{DLQ}/{}", text(&other, "id")))
        .await;
    let group = json!({"reason": "mended", "group": letter["group"]});
    assert_eq!(
        world.until_done(&redrive(orders, &group).await).await["redriven"],
        1
    );
    assert_eq!(take_all(&world.amqp, WORKING).await, [text(&other, "id")]);

    let all = json!({"reason": "mended", "max": 3});
    assert_eq!(
        world.until_done(&redrive(orders, &all).await).await["redriven"],
        3
    );
    let all = json!({"reason": "mended"});
    let last = redrive(orders, &all).await;
    assert_eq!(world.until_done(&last).await["redriven"], 1);
    let sent = [&ids[..3], &ids[4..]].concat();
    assert_eq!(take_all(&world.amqp, WORKING).await, sent);
    assert_eq!(world.amqp.ready(DLQ).await, 0);

    let list = orders.json("/redrives?limit=2").await;
    assert_eq!(list["items"][0]["redriveId"], last["redriveId"]);
    let cursor = text(&list, "nextCursor");
    let rest = orders.json(&format!("/redrives?cursor={cursor}")).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_goes_on_when_its_letter_is_sent_again_and_its_log_tells_of_it() {
    let mut world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let command = participants.command("payment").await;
    world.kill(&command, "handler-failed", "a bug").await;
    world.system.add_participants(&[]).await;
    world.system.stock(&[("prod-1", 10)]).await;
    let orders = world.system.orders.clone();
    let of_saga = json!({"reason": "the bug is mended", "sagaId": order["sagaId"]});
    let done = redrive(&orders, &of_saga).await;
    assert_eq!(world.until_done(&done).await["redriven"], 1);
    world.system.until(&order, "COMPLETED").await;
    let saga = world.system.saga(&order).await;
    let mut log = saga["log"].as_array().unwrap().iter();
    let note = log.find(|entry| entry["event"] == "DEAD_LETTER_REDRIVEN");
    let note = &note.unwrap()["details"];
    let expected = json!({
        "queue": DLQ, "messageId": command["id"], "note": "the bug is mended", "actor": "ada@example.com"
    });
    assert_eq!(*note, expected);
    world.system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_saga_that_has_ended_is_asked_for_twice_and_an_unreadable_one_in_vain() {
    let world = World::new().await;
    let participants = Participants::of(&world.system.environment).await;
    let order = world.system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    participants.reply(&[processed(&pay)]).await;
    let reserve = participants.command("inventory").await;
    participants.reply(&[reserved(&reserve)]).await;
    world.system.until_saga(&order, "COMPLETED").await;
    world.kill(&pay, "handler-failed", "a bug").await;
    world
        .kill(&json!({"id": "x-1"}), "unreadable", "it is no event")
        .await;
    let orders = &world.system.orders;
    let all = json!({"reason": "again"});
    let stays = world.until_done(&redrive(orders, &all).await).await;
    assert_eq!(
        (&stays["redriven"], &stays["refused"]),
        (&json!(0), &json!(2))
    );
    let why = |n: usize| text(&stays["refusals"][n], "why").to_owned();
    assert!(
        why(0).contains("has ended (COMPLETED)") && why(0).contains("force"),
        "{stays}"
    );
    assert!(why(1).contains("can never be read"), "{stays}");
    assert_eq!(world.amqp.ready(WORKING).await, 0);
    let forced = json!({"reason": "again", "force": true});
    let done = world.until_done(&redrive(orders, &forced).await).await;
    assert_eq!(
        (&done["redriven"], &done["refused"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(id_of(&world.amqp.next(WORKING).await), text(&pay, "id"));
    let saga = world.system.saga(&order).await;
    assert_eq!(saga["status"], "COMPLETED");
    assert_eq!(events(&saga).last(), Some(&"DEAD_LETTER_REDRIVEN"));
    world.system.environment.make_auditor().await;
    let books = audit::Books::open(&world.system.environment.vars(&[])).unwrap();
    let report = books.audit().await.unwrap();
    let about_the_log = |violation: &String| violation.contains("log");
    let said: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    assert!(!said.iter().any(about_the_log), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = World::new().await;
    let ids = world.kill_some(3).await;
    world
        .kill(&json!({"id": "x-1"}), "unreadable", "it is no event")
        .await;
    let path = format!("/dead-letters/{DLQ}/redrive?dryRun=true");
    let body = json!({"reason": "what if", "max": 2});
    let answer = ask(&world.system.orders, Method::POST, &path, &body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let preview: Value = answer.json().await.unwrap();
    assert_eq!(preview["wouldRedrive"], 2);
    assert_eq!(preview["messageIds"], json!(ids[..2]));
    assert_eq!(preview["refusals"][0]["messageId"], "x-1");
    let db = world.system.environment.pool("order").await;
    assert_eq!(count(&db, "SELECT count(*) FROM redrives").await, 0);
    assert_eq!(world.amqp.ready(WORKING).await, 0);
    assert_eq!(world.amqp.ready(DLQ).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_with_what_is_wrong() {
    let world = World::new().await;
    let orders = &world.system.orders;
    let path = format!("/dead-letters/{DLQ}/redrive");
    let nobody = orders.post(&path, &json!({"reason": "r"})).await;
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
    assert!(nobody.text().await.unwrap().contains("x-actor"));
    for (body, field) in [
        (json!({}), "reason"),
        (json!({"reason": " "}), "reason"),
        (json!({"reason": "r", "max": 0}), "max"),
        (json!({"reason": "r", "ratePerSecond": 0}), "ratePerSecond"),
        (json!({"reason": "r", "messageIds": []}), "messageIds"),
        (json!({"reason": "r", "sagaId": "x"}), "sagaId"),
    ] {
        let answer = ask(orders, Method::POST, &path, &body).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(answer.text().await.unwrap().contains(field), "{body}");
    }
    let no_mode = ask(
        orders,
        Method::POST,
        &format!("{path}?dryRun=maybe"),
        &json!({"reason": "r"}),
    )
    .await;
    assert_eq!(no_mode.status(), StatusCode::BAD_REQUEST);
    let none = ask(
        orders,
        Method::POST,
        "/redrives/01976a3d-0000-7000-8000-000000000001/cancel",
        &json!({}),
    )
    .await;
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_one_redrive() {
    let world = World::new().await;
    world.kill_some(2).await;
    let path = format!("/dead-letters/{DLQ}/redrive");
    let ask = |body: Value| {
        let request = world.system.orders.request(Method::POST, &path);
        let request = request
            .header("x-actor", "ada")
            .header("idempotency-key", "k-1");
        async move { request.json(&body).send().await.unwrap() }
    };
    let first = ask(json!({"reason": "r", "max": 1})).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first: Value = first.json().await.unwrap();
    world.until_done(&first).await;
    let second = ask(json!({"reason": "r", "max": 1})).await;
    assert_eq!(second.headers()["idempotency-replayed"], "true");
    let second: Value = second.json().await.unwrap();
    assert_eq!(second["redriveId"], first["redriveId"]);
    let other = ask(json!({"reason": "r", "max": 2})).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.amqp.ready(DLQ).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_again_is_not_sent_a_second_time_by_the_same_request() {
    let mut world = World::of(System::alone().await).await;
    world.system.add_participants(&[]).await;
    // Nobody can make anything of it: it dies again at once.
    let hopeless = command(None);
    world
        .kill(&hopeless, "invalid-data", "there is no reason")
        .await;
    let done = redrive(&world.system.orders, &json!({"reason": "again"})).await;
    assert_eq!(world.until_done(&done).await["redriven"], 1);
    let is_back = || async { world.amqp.ready(DLQ).await == 1 };
    wait_until(PATIENCE, "it has died again", is_back).await;
    let list = world.list("").await;
    assert_eq!(list["items"][0]["redriven"], 1);
    let second = redrive(&world.system.orders, &json!({"reason": "once more"})).await;
    assert_eq!(world.until_done(&second).await["redriven"], 1);
    wait_until(PATIENCE, "it has died for the third time", is_back).await;
    assert_eq!(world.list("").await["items"][0]["redriven"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_read_and_dies_again_still_says_how_often_it_was_redriven() {
    let world = World::new().await;
    let dlq = "order.saga.replies.dlq";
    // A reply of no saga can be read, and is refused.
    let stray = processed(&command(None));
    world
        .amqp
        .publish_event("saga.replies", "order", &stray)
        .await;
    let is_there = || async { world.amqp.ready(dlq).await == 1 };
    for times in 0..3 {
        wait_until(PATIENCE, "it has died", is_there).await;
        let list = world
            .system
            .orders
            .json(&format!("/dead-letters/{dlq}"))
            .await;
        let letter = &list["items"][0];
        assert_eq!(
            (&letter["reason"]["kind"], &letter["redriven"]),
            (&json!("refused"), &json!(times))
        );
        let path = format!("/dead-letters/{dlq}/redrive");
        let asked = ask(
            &world.system.orders,
            Method::POST,
            &path,
            &json!({"reason": "again"}),
        )
        .await;
        let done = world.until_done(&asked.json().await.unwrap()).await;
        assert_eq!(done["redriven"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_keeps_its_rate_and_can_be_cancelled() {
    let world = World::new().await;
    world.kill_some(20).await;
    let orders = &world.system.orders;
    let slow = redrive(orders, &json!({"reason": "slowly", "ratePerSecond": 1})).await;
    let has_begun = || async { world.amqp.ready(WORKING).await > 0 };
    wait_until(PATIENCE, "it has begun", has_begun).await;
    let path = format!("/redrives/{}", text(&slow, "redriveId"));
    let cancel = format!("{path}/cancel");
    let answer = ask(orders, Method::POST, &cancel, &json!({})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let is_over = |redrive: &Value| redrive["status"] == "CANCELLED";
    let over = test_support::eventually("it is cancelled", || orders.json(&path), is_over).await;
    let redriven = over["redriven"].as_u64().unwrap();
    assert!((1..10).contains(&redriven), "{over}");
    let (sent, left) = (world.amqp.ready(WORKING).await, world.amqp.ready(DLQ).await);
    assert_eq!((u64::from(sent), sent + left), (redriven, 20));
    let again = ask(orders, Method::POST, &cancel, &json!({})).await;
    assert_eq!(again.status(), StatusCode::OK);
    let rest = redrive(orders, &json!({"reason": "the rest"})).await;
    let rest = world.until_done(&rest).await;
    let path = format!("/redrives/{}/cancel", text(&rest, "redriveId"));
    let done = ask(orders, Method::POST, &path, &json!({})).await;
    assert_eq!(done.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_send_each_letter_once_also_where_the_first_one_stops() {
    let world = World::new().await;
    let ids = world.kill_some(300).await;
    let limited = json!({"reason": "slowly", "ratePerSecond": 40});
    let asked = redrive(&world.system.orders, &limited).await;
    let has_begun = || async { world.amqp.ready(WORKING).await > 0 };
    wait_until(PATIENCE, "it has begun", has_begun).await;
    let World { system, amqp } = world;
    let environment = system.stop().await;
    assert!(amqp.ready(DLQ).await > 0, "it is not done");
    let mut system = System::on(environment, &[]).await;
    let other = system.add_replica().await;
    let second = redrive(&other, &json!({"reason": "the rest"})).await;
    let first = super::until_done(&other, &asked).await;
    let second = super::until_done(&system.orders, &second).await;
    assert_eq!(
        first["redriven"].as_i64().unwrap() + second["redriven"].as_i64().unwrap(),
        300
    );
    let sent = counted(take_all(&amqp, WORKING).await);
    assert_eq!(sent.len(), ids.len());
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_stay_where_nobody_takes_them() {
    let world = World::new().await;
    let ids = world.kill_some(10).await;
    // What connects declares the queues, and the service is ready for orders before it is connected.
    let health = || async { world.system.orders.get("/health").await.status() };
    test_support::eventually("it is connected", health, StatusCode::is_success).await;
    let channel = world.amqp.channel();
    let deleted = channel
        .queue_delete(WORKING.into(), Default::default())
        .await;
    deleted.unwrap();
    let asked = redrive(&world.system.orders, &json!({"reason": "again"})).await;
    let path = format!("/redrives/{}", text(&asked, "redriveId"));
    // For a moment, RabbitMQ takes what is for a queue that is being deleted, and refuses it.
    let waits = |redrive: &Value| {
        let error = redrive["lastError"].as_str();
        error.is_some_and(|error| error.contains("unroutable"))
    };
    let get = || world.system.orders.json(&path);
    let waiting = test_support::eventually("it waits", get, waits).await;
    assert_eq!(waiting["redriven"], 0);
    common::amqp::declare(channel).await.unwrap();
    assert_eq!(world.until_done(&asked).await["redriven"], 10);
    let sent = counted(take_all(&world.amqp, WORKING).await);
    assert_eq!(sent, counted(ids));
    let db = world.system.environment.pool("order").await;
    let row = sqlx::query("SELECT worker IS NULL AND lease_until IS NULL FROM redrives");
    assert!(row.fetch_one(&db).await.unwrap().get::<bool, _>(0));
}
