//! Deadlines: every silent step, sagas that nobody answers, and workers that compete.

use common::{
    amqp::Broker, batch::AdmissionControl, config::DatabaseConfig, contract::topology, db,
    outbox::Outbox,
};
use order_service::{
    follow::Orders,
    sagas::{self, SAGAS},
};
use saga::{Engine, Program, deadlines};
use serde_json::json;
use test_support::{Amqp, eventually};

use crate::harness::{
    Participants, System, count, events, id, processed, refunded, released, text,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_step_may_stay_silent() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    participants
        .reply(&[processed(&participants.command("payment").await)])
        .await;
    for _ in 0..3 {
        assert_eq!(
            participants.command("inventory").await["type"],
            "inventory.reserve.v1"
        );
        system.let_deadline_pass(&order).await;
    }
    // It may have run: undoing begins with it.
    participants
        .reply(&[released(&participants.command("inventory").await)])
        .await;
    participants
        .reply(&[refunded(&participants.command("payment").await)])
        .await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "TIMEOUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_parked_and_can_be_resumed() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let told = amqp.listen(topology::EVENTS, "saga.parked.v1").await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    system.cancel(&order).await;
    for _ in 0..10 {
        assert_eq!(
            participants.command("payment").await["type"],
            "payment.refund.v1"
        );
        system.let_deadline_pass(&order).await;
    }
    let saga = system.until_saga(&order, "PARKED").await;
    assert_eq!(saga["deadlineAt"], serde_json::Value::Null);
    assert_eq!(saga["currentStep"], "payment");
    let stuck = system.orders.json("/sagas?stuck=true").await;
    assert_eq!(stuck["items"][0]["sagaId"], saga["sagaId"]);

    let [event] = &amqp.next_events(&told, 1).await[..] else {
        unreachable!("one was asked for")
    };
    assert_eq!(event["subject"], saga["sagaId"]);
    assert_eq!(event["sagaid"], saga["sagaId"]);
    assert_eq!(event["correlationid"], saga["correlationId"]);
    let data = &event["data"];
    assert_eq!(data["type"], "create_order");
    let subject = format!("order/{}", text(&order, "orderId"));
    assert_eq!(data["subject"], subject.as_str());
    assert_eq!(data["step"], "payment");
    assert_eq!(data["reason"], "CUSTOMER_REQUEST");
    assert_eq!(data["lastError"], saga["lastError"]);

    let answer = system.orders.intervene(&saga, "retry").await;
    assert_eq!(answer.status(), 200);
    participants
        .reply(&[refunded(&participants.command("payment").await)])
        .await;
    system.until(&order, "CANCELLED").await;
    let saga = system.saga(&order).await;
    assert!(events(&saga).ends_with(&[
        "RETRY_REQUESTED",
        "COMPENSATION_SENT",
        "STEP_UNDONE",
        "SAGA_COMPENSATED"
    ]));
    assert!(amqp.get(&told).await.is_none(), "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_saga_goes_on_when_the_answer_comes_after_all() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    system.cancel(&order).await;
    let refund = participants.command("payment").await;
    for _ in 0..9 {
        system.let_deadline_pass(&order).await;
        participants.command("payment").await;
    }
    system.let_deadline_pass(&order).await;
    system.until_saga(&order, "PARKED").await;
    participants.reply(&[refunded(&refund)]).await;
    system.until(&order, "CANCELLED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deadline_workers_at_once_take_each_saga_once() {
    // The service's own worker stops with it, so that only the two below work.
    let system = System::alone().await;
    for _ in 0..300 {
        system.place("prod-1", 1).await;
    }
    let environment = system.stop().await;
    // As if all commands had left, though nobody takes them.
    let pool = environment.pool("order").await;
    sqlx::query("DELETE FROM outbox")
        .execute(&pool)
        .await
        .unwrap();
    let vars = environment.vars(&[]);
    let config = DatabaseConfig::from_vars(&vars, "ORDER_DATABASE_URL", "order_db").unwrap();
    let broker = common::config::BrokerConfig::from_vars(&vars).unwrap();
    let workers = [(); 2].map(|()| {
        let pool = db::pool("test", &config).unwrap();
        // Its relay does not run: messages stay in the outbox.
        let (outbox, _) = Outbox::new(
            pool.clone(),
            Broker::new("test", &broker),
            AdmissionControl::default(),
        );
        let program = Program {
            source: "test",
            reply_to: "order",
            deadline_scale: 1.0,
        };
        let registry = sagas::registry(SAGAS).unwrap();
        Engine::new(program, registry, Orders::new(SAGAS), pool, outbox)
    });
    sqlx::query("UPDATE sagas SET deadline_at = now()")
        .execute(&pool)
        .await
        .unwrap();
    let work = |worker: Engine| async move {
        let mut woken = 0;
        loop {
            match deadlines::wake_due(&worker).await.unwrap() {
                0 => return woken,
                sagas => woken += sagas,
            }
        }
    };
    let [first, second] = workers;
    let (first, second) = tokio::join!(tokio::spawn(work(first)), tokio::spawn(work(second)));
    assert_eq!(first.unwrap() + second.unwrap(), 300);
    let twice = "SELECT count(*) FROM sagas WHERE attempt <> 2 OR version <> 4";
    assert_eq!(count(&pool, twice).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_stands_still_for_a_command_that_has_not_left() {
    let system = System::alone().await;
    let order = system.place("prod-1", 1).await;
    system.until_outbox_is_empty().await;
    let db = system.environment.pool("order").await;
    // As if the broker were away: the command of the saga is in the outbox, leased for long.
    sqlx::query(
        "INSERT INTO outbox (id, exchange, routing_key, message, lease_until, created_at)
         SELECT command_id, 'saga.commands', 'payment', '{}', now() + interval '1 h', now() - interval '2 min' FROM sagas",
    )
    .execute(&db)
    .await
    .unwrap();
    system.let_deadline_pass(&order).await;
    let moved = "SELECT count(*) FROM sagas WHERE deadline_at > now() + interval '5 s'";
    eventually("the deadline is moved", || count(&db, moved), |n| *n == 1).await;
    let stuck = system.orders.json("/sagas?stuck=true").await;
    assert_eq!(stuck["items"][0]["sagaId"], order["sagaId"]);
    // Had time passed for it, its command would have been sent again.
    assert_eq!(system.saga(&order).await["version"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_of_a_later_version_is_left_to_those_who_have_its_definition() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let db = system.environment.pool("order").await;
    let [theirs, ours] = [
        system.place("prod-1", 1).await,
        system.place("prod-1", 1).await,
    ];
    for _ in 0..2 {
        participants.command("payment").await;
    }
    sqlx::query("UPDATE sagas SET definition_version = 99, deadline_at = now() - interval '1 h' WHERE id = $1")
        .bind(id(&theirs, "sagaId"))
        .execute(&db)
        .await
        .unwrap();
    // It is due first, and yet only the other one is taken.
    system.let_deadline_pass(&ours).await;
    assert_eq!(
        participants.command("payment").await["subject"],
        ours["orderId"]
    );
    let left = system.saga(&theirs).await;
    assert_eq!(
        (&left["status"], &left["version"]),
        (&json!("RUNNING"), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_a_saga_of_a_later_version_waits_for_those_who_have_its_definition() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let db = system.environment.pool("order").await;
    let order = system.place("prod-1", 1).await;
    let paid = processed(&participants.command("payment").await);
    let mut unheard_of = paid.clone();
    unheard_of["id"] = json!(uuid::Uuid::now_v7());
    unheard_of["type"] = json!("payment.deferred.v1");
    let be_of = |version: i32| {
        let saga = id(&order, "sagaId");
        sqlx::query("UPDATE sagas SET definition_version = $2 WHERE id = $1")
            .bind(saga)
            .bind(version)
            .execute(&db)
    };
    be_of(99).await.unwrap();
    participants.reply(&[paid, unheard_of]).await;
    let waiting = || {
        count(
            &db,
            "SELECT count(*) FROM outbox WHERE routing_key = 'order.saga.replies'",
        )
    };
    eventually("both wait", waiting, |replies| *replies == 2).await;
    let dead = common::contract::topology::dead_letter_queue("order.saga.replies");
    assert_eq!(participants.amqp.ready(&dead).await, 0);

    // As if a replica that has the definition took them.
    be_of(1).await.unwrap();
    assert_eq!(
        participants.command("inventory").await["subject"],
        order["orderId"]
    );
    let letter = participants.amqp.next(&dead).await;
    let letter: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
    assert_eq!(letter["type"], "payment.deferred.v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_database_is_no_fault_of_sagas() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let command = participants.command("payment").await;
    let db = system.environment.pool("order").await;
    // Somebody drops a column: nothing can be decided, and nothing is given up for it.
    let rename = |from: &'static str, to: &'static str| {
        let db = db.clone();
        async move {
            let rename = format!("ALTER TABLE saga_log RENAME COLUMN {from} TO {to}");
            sqlx::query(sqlx::AssertSqlSafe(rename))
                .execute(&db)
                .await
                .unwrap();
        }
    };
    rename("details", "gone").await;
    system.let_deadline_pass(&order).await;
    participants.reply(&[processed(&command)]).await;
    let ready = || async { system.orders.get("/health/ready").await.status().as_u16() };
    eventually("readiness is red", ready, |status| *status == 503).await;
    rename("gone", "details").await;
    assert_eq!(
        participants.command("inventory").await["subject"],
        order["orderId"]
    );
    assert_eq!(system.saga(&order).await["status"], "RUNNING");
    let dead = common::contract::topology::dead_letter_queue("order.saga.replies");
    assert_eq!(participants.amqp.ready(&dead).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_saga_is_quarantined_and_the_others_go_on() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let told = amqp.listen(topology::EVENTS, "saga.parked.v1").await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(system.place("prod-1", 1).await);
        participants.command("payment").await;
    }
    let db = system.environment.pool("order").await;
    let corrupt = |order: &serde_json::Value, statement: &'static str| {
        let saga = id(order, "sagaId");
        let statement = sqlx::query(statement).bind(saga);
        let db = db.clone();
        async move { statement.execute(&db).await.unwrap() }
    };
    // A step that no definition has, a log that says something else than the row, and what is no reason.
    corrupt(
        &orders[0],
        "UPDATE sagas SET current_step = 'teleport' WHERE id = $1",
    )
    .await;
    corrupt(&orders[1], "INSERT INTO saga_log (saga_id, seq, event, details) VALUES ($1, 3, 'SAGA_COMPLETED', '{}')").await;
    corrupt(
        &orders[2],
        "UPDATE sagas SET status = 'COMPENSATING', reason = 'little green men' WHERE id = $1",
    )
    .await;
    sqlx::query("UPDATE sagas SET deadline_at = now()")
        .execute(&db)
        .await
        .unwrap();

    // The good one is asked again.
    let again = participants.command("payment").await;
    assert_eq!(again["subject"], orders[3]["orderId"]);
    for order in &orders[..3] {
        let saga = system.until_saga(order, "PARKED").await;
        assert_eq!(events(&saga).last(), Some(&"SAGA_QUARANTINED"), "{saga}");
        let log = saga["log"].as_array().unwrap();
        assert!(!text(&log.last().unwrap()["details"], "problem").is_empty());
    }
    let parked = system.orders.json("/sagas?status=PARKED").await;
    assert_eq!(parked["items"].as_array().unwrap().len(), 3);
    let parked = amqp.next_events(&told, 3).await;
    for order in &orders[..3] {
        let is_of = |event: &&serde_json::Value| event["subject"] == order["sagaId"];
        let event = parked.iter().find(is_of).unwrap();
        assert!(!text(&event["data"], "lastError").is_empty(), "{event}");
    }
    let retried = system.orders.intervene(&orders[0], "retry").await;
    assert_eq!(retried.status(), 409);
    participants.reply(&[processed(&again)]).await;
    assert_eq!(
        participants.command("inventory").await["subject"],
        orders[3]["orderId"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_order_somebody_has_locked_is_not_quarantined_beside_a_corrupt_one() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let [corrupt, late] = [
        system.place("prod-1", 1).await,
        system.place("prod-1", 1).await,
    ];
    for _ in 0..2 {
        participants.command("payment").await;
    }
    let db = system.environment.pool("order").await;
    let mut somebody = db::begin(&db).await.unwrap();
    sqlx::query("SELECT FROM orders WHERE id = $1 FOR UPDATE")
        .bind(id(&late, "orderId"))
        .execute(&mut *somebody)
        .await
        .unwrap();
    // Both are due, and what follows for the second one changes its order.
    sqlx::query(
        "UPDATE sagas SET attempt = 3, deadline_at = now(),
             current_step = CASE id WHEN $1 THEN 'teleport' ELSE current_step END",
    )
    .bind(id(&corrupt, "sagaId"))
    .execute(&db)
    .await
    .unwrap();
    system.until_saga(&corrupt, "PARKED").await;
    // It waits for the lock in vain, and then once more.
    let waits = || async {
        let waits = sqlx::query_scalar::<_, Option<String>>(
            "SELECT max(xact_start)::text FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        waits.fetch_one(&db).await.unwrap()
    };
    let first = eventually("it waits", waits, Option::is_some).await;
    let again = |wait: &Option<String>| wait.is_some() && *wait != first;
    eventually("it waits again", waits, again).await;
    assert_eq!(system.saga(&late).await["status"], "RUNNING");
    somebody.rollback().await.unwrap();
    let refund = participants.command("payment").await;
    assert_eq!(refund["sagaid"], late["sagaId"]);
    assert_eq!(refund["type"], "payment.refund.v1");
}
