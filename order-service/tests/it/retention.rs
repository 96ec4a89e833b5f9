//! What is kept for some days only: made ahead, found while it is there, dropped whole, and missed by nobody.

use std::time::{Duration, Instant, SystemTime};

use common::{
    config::{Secret, Vars},
    contract::SagaId,
    db::{
        Writes,
        retention::{Retention, Table, maintain},
    },
    participant::idempotency::{self, Direction, Key, Record},
};
use migrations::{Order, migrate, roll_back};
use order_service::sagas::PlacedOrder;
use saga::store;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Row};
use test_support::{Environment, PATIENCE, wait_until};
use uuid::{NoContext, Timestamp, Uuid};

use crate::harness::{System, count, events, id, text};

const TABLES: &[Table] = &[
    store::TABLE,
    Table {
        in_use: store::TABLE.in_use,
        ..idempotency::TABLE
    },
];

fn retention(days: &str) -> Retention {
    Retention::from_vars(&Vars::from_iter([("RETENTION_DAYS", days)])).unwrap()
}

/// A saga that began `days` ago.
fn began(days: u64) -> SagaId {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let at = Timestamp::from_unix(NoContext, now - days * 24 * 3600, 0);
    SagaId(Uuid::new_v7(at))
}

async fn script(db: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap();
}

/// The days from today of the partitions of `table`.
async fn days(db: &PgPool, table: &str) -> Vec<i32> {
    let query = r"SELECT to_date(right(relname, 8), 'YYYYMMDD') - (now() AT TIME ZONE 'UTC')::date AS day
                  FROM pg_inherits JOIN pg_class ON oid = inhrelid
                  WHERE inhparent = $1::regclass AND relname ~ '\d{8}$' ORDER BY day";
    let rows = sqlx::query(query).bind(table).fetch_all(db).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Makes it look as if the tables had been made `days` ago, and nobody had looked after them since.
async fn age(db: &PgPool, days: u32) {
    for Table { name, .. } in TABLES {
        let sql = format!(
            "DO $$ DECLARE
                 first text := (SELECT inhrelid::regclass FROM pg_inherits
                                WHERE inhparent = '{name}'::regclass AND inhrelid <> '{name}_default'::regclass);
                 day date := (now() AT TIME ZONE 'UTC')::date - {days};
             BEGIN
                 EXECUTE 'DROP TABLE ' || first;
                 EXECUTE format('CREATE TABLE %I PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (first_id(%L))',
                                '{name}_' || to_char(day, 'YYYYMMDD'), day + 1);
             END $$"
        );
        script(db, &sql).await;
    }
}

/// A saga with an order, a log and a recorded reply.
async fn saga(db: &PgPool, id: SagaId, status: &str) {
    let about = ("subject, data", format!("'order/{id}', '{{}}'"));
    saga_about(db, id, status, about).await;
}

/// A completed saga of the first schema, in which all sagas were about orders.
async fn first_saga(db: &PgPool, id: SagaId) {
    saga_about(db, id, "COMPLETED", ("order_id", format!("'{id}'"))).await;
}

async fn saga_about(db: &PgPool, id: SagaId, status: &str, (columns, about): (&str, String)) {
    let sql = format!(
        "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, event_sequence)
         VALUES ('{id}', '{id}', 'customer-1', 'PENDING', '[]', 'USD', 1, 1);
         INSERT INTO sagas (id, {columns}, type, definition_version, status, current_step, reason, version, correlation_id)
         VALUES ('{id}', {about}, 'create_order', 1, 'COMPLETED', NULL, NULL, 1, 'test');
         UPDATE sagas SET status = '{status}', reason = 'TIMEOUT', current_step = 'payment'
         WHERE '{status}' = 'PARKED' AND id = '{id}';
         INSERT INTO saga_log (saga_id, seq, event, details) VALUES ('{id}', 1, 'SAGA_STARTED', '{{}}');
         INSERT INTO idempotency (saga_id, step, direction, message_id) VALUES ('{id}', 'payment', 'ACTION', '{id}')"
    );
    script(db, &sql).await;
}

/// What each saga is about, and its data.
async fn subjects(db: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("SELECT subject, data::text FROM sagas")
        .fetch_all(db)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_migration_keeps_what_is_there_both_ways() {
    let environment = Environment::new().await;
    let url = Secret::new(environment.database_url("order"));
    let db = environment.pool("order").await;
    let is_partitioned = "SELECT count(*) FROM pg_class WHERE relkind = 'p' AND relname IN ('idempotency', 'saga_log')";
    assert_eq!(count(&db, is_partitioned).await, 2);
    let before_retention = || async {
        while count(&db, is_partitioned).await > 0 {
            roll_back::<Order>(&url).await.unwrap();
        }
    };
    before_retention().await;
    // The last one is in no range of time.
    for id in [began(400), began(0), SagaId(Uuid::max())] {
        first_saga(&db, id).await;
    }
    for _ in 0..2 {
        migrate::<Order>(&url).await.unwrap();
        assert_eq!(count(&db, "SELECT count(*) FROM saga_log").await, 3);
        assert_eq!(count(&db, "SELECT count(*) FROM idempotency").await, 3);
        assert_eq!(count(&db, "SELECT count(*) FROM saga_log_default").await, 1);
        for (subject, data) in subjects(&db).await {
            let placed: PlacedOrder = serde_json::from_str(&data).unwrap();
            assert_eq!(subject, format!("order/{}", placed.order_id));
            assert_eq!(placed.total.to_string(), "0.01");
        }
        // Nobody changes the log, whatever the way to it.
        let day: String =
            sqlx::query_scalar("SELECT tableoid::regclass::text FROM saga_log LIMIT 1")
                .fetch_one(&db)
                .await
                .unwrap();
        for table in ["saga_log", "saga_log_default", &day] {
            for change in [
                format!("DELETE FROM {table}"),
                format!("UPDATE {table} SET event = ''"),
            ] {
                let error = sqlx::query(AssertSqlSafe(change)).execute(&db).await;
                assert!(error.unwrap_err().to_string().contains("append-only"));
            }
        }
        before_retention().await;
        assert_eq!(count(&db, "SELECT count(*) FROM saga_log").await, 3);
        assert_eq!(count(&db, "SELECT count(*) FROM idempotency").await, 3);
        let orphan = "INSERT INTO saga_log (saga_id, seq, event, details) VALUES (gen_random_uuid(), 1, '', '{}')";
        assert!(sqlx::query(orphan).execute(&db).await.is_err());
    }
    roll_back::<Order>(&url).await.unwrap();
}

#[tokio::test]
async fn days_are_made_ahead_and_dropped_when_they_are_old() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    // New tables hold today and tomorrow together.
    assert_eq!(days(&db, "saga_log").await, [1]);
    maintain(&db, TABLES, retention("30")).await.unwrap();
    assert_eq!(days(&db, "saga_log").await, [1, 2, 3]);

    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    age(&db, 40).await;
    maintain(&db, TABLES, retention("0")).await.unwrap();
    let all: Vec<_> = (-40..=3).collect();
    assert_eq!(days(&db, "saga_log").await, all);
    for age in [0, 30, 31, 35, 36, 40] {
        saga(&db, began(age), "COMPLETED").await;
    }
    let parked = began(37);
    saga(&db, parked, "PARKED").await;
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log_default").await, 0);

    maintain(&db, TABLES, retention("30")).await.unwrap();
    for table in ["saga_log", "idempotency"] {
        // The parked saga keeps its day, and only that.
        let kept: Vec<_> = [-37].into_iter().chain(-30..=3).collect();
        assert_eq!(days(&db, table).await, kept);
    }
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log").await, 3);
    let ended = format!(
        "UPDATE sagas SET status = 'COMPENSATED', current_step = NULL WHERE id = '{parked}'"
    );
    script(&db, &ended).await;
    maintain(&db, TABLES, retention("30")).await.unwrap();
    assert_eq!(days(&db, "saga_log").await, (-30..=3).collect::<Vec<_>>());
    assert_eq!(count(&db, "SELECT count(*) FROM sagas").await, 7);
}

#[tokio::test]
async fn what_was_written_before_its_day_was_made_moves_there() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    age(&db, 5).await;
    let no_day = SagaId(Uuid::max());
    for id in [began(3), began(0), no_day] {
        saga(&db, id, "COMPLETED").await;
    }
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log_default").await, 3);
    maintain(&db, TABLES, retention("30")).await.unwrap();
    for table in ["saga_log", "idempotency"] {
        assert_eq!(days(&db, table).await, (-5..=3).collect::<Vec<_>>());
    }
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log").await, 3);
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log_default").await, 1);
    assert_eq!(
        count(&db, "SELECT count(*) FROM idempotency_default").await,
        1
    );
}

#[tokio::test]
async fn a_key_is_recorded_once_whatever_the_day() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    maintain(&db, &[idempotency::TABLE], retention("30"))
        .await
        .unwrap();
    let record = |saga| Record {
        key: Key {
            saga,
            step: "inventory".to_owned(),
            direction: Direction::Action,
        },
        message_id: Uuid::now_v7(),
        reply: Some("{}".into()),
        tombstone: false,
    };
    for id in [began(9), began(1), began(0), SagaId(Uuid::max())] {
        saga(&db, id, "COMPLETED").await;
        let first = record(id);
        for (one, new) in [(first.clone(), 1), (record(id), 0)] {
            let mut writes = Writes::default();
            idempotency::insert_new(&mut writes, &[one]);
            let rows = writes.execute(&db).await.unwrap();
            assert_eq!(rows.len(), new);
        }
        let found = idempotency::find(&db, std::slice::from_ref(&first.key))
            .await
            .unwrap();
        assert_eq!(found[&first.key].message_id, first.message_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_replicas_do_it_at_once() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    age(&db, 9).await;
    saga(&db, began(8), "COMPLETED").await;
    let replicas = (0..8).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { maintain(&db, TABLES, retention("5")).await })
    });
    for replica in replicas.collect::<Vec<_>>() {
        replica.await.unwrap().unwrap();
    }
    for table in ["saga_log", "idempotency"] {
        assert_eq!(days(&db, table).await, (-5..=3).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn nobody_waits_for_long_while_a_day_cannot_be_dropped() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    age(&db, 9).await;
    maintain(&db, TABLES, retention("0")).await.unwrap();
    let mut reader = common::db::begin(&db).await.unwrap();
    sqlx::query("SELECT FROM saga_log")
        .execute(&mut *reader)
        .await
        .unwrap();
    let began_at = Instant::now();
    let (dropped, ()) = tokio::join!(
        maintain(&db, TABLES, retention("5")),
        saga(&db, began(0), "COMPLETED"),
    );
    assert!(common::db::is_transient(&dropped.unwrap_err()));
    assert!(began_at.elapsed() < Duration::from_secs(3));
    assert_eq!(days(&db, "saga_log").await.len(), 13);
    reader.rollback().await.unwrap();
    maintain(&db, TABLES, retention("5")).await.unwrap();
    assert_eq!(days(&db, "saga_log").await, (-5..=3).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_taken_up_while_its_day_is_dropped_keeps_its_log() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    age(&db, 8).await;
    maintain(&db, TABLES, retention("0")).await.unwrap();
    let old = began(8);
    saga(&db, old, "COMPLETED").await;

    let mut taking_up = common::db::begin(&db).await.unwrap();
    for sql in [
        "UPDATE sagas SET status = 'COMPENSATING', current_step = 'payment', reason = 'A_TEST', deadline_at = now()",
        "INSERT INTO saga_log (saga_id, seq, event, details) SELECT id, 2, 'A_TEST', '{}' FROM sagas",
    ] {
        sqlx::query(sql).execute(&mut *taking_up).await.unwrap();
    }
    let dropping = tokio::spawn({
        let db = db.clone();
        // Each time it waits for a tenth of a second only.
        async move { while maintain(&db, TABLES, retention("5")).await.is_err() {} }
    });
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation
                   WHERE NOT granted AND relname LIKE 'saga_log%'";
    let waiting = || async { count(&db, waiting).await > 0 };
    wait_until(PATIENCE, "the day waits to be dropped", waiting).await;
    taking_up.commit().await.unwrap();
    dropping.await.unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM saga_log").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_log_was_dropped_is_read_and_cancelled_like_any_other() {
    let system = System::whole().await;
    let order = system.place("prod-1", 2).await;
    system.until(&order, "COMPLETED").await;
    system.until_outbox_is_empty().await;
    assert_eq!(system.saga(&order).await["logDropped"], false);
    // As it is when its day is over for long: all that was recorded of it is gone.
    for (service, table) in [
        ("order", "saga_log"),
        ("order", "idempotency"),
        ("payment", "idempotency"),
        ("inventory", "idempotency"),
    ] {
        let db = system.environment.pool(service).await;
        let day = format!(
            "SELECT tableoid::regclass::text FROM {table} WHERE saga_id = '{}'",
            text(&order, "sagaId")
        );
        let day: String = sqlx::query_scalar(AssertSqlSafe(day))
            .fetch_one(&db)
            .await
            .unwrap();
        script(&db, &format!("DROP TABLE {day}")).await;
    }
    system.audit().await;
    let saga = system.saga(&order).await;
    assert_eq!(saga["logDropped"], true);
    assert_eq!(saga["log"], json!([]));
    assert_eq!(saga["status"], "COMPLETED");
    assert_eq!(saga["steps"][1]["status"], "SUCCEEDED");

    system.cancel(&order).await;
    system.until(&order, "CANCELLED").await;
    let saga = system.saga(&order).await;
    assert_eq!(saga["logDropped"], true);
    assert_eq!(saga["log"][0]["seq"], 7);
    assert_eq!(events(&saga)[0], "CANCEL_REQUESTED");
    assert_eq!(saga["steps"][0]["status"], "UNDONE");
    let payments = system.environment.pool("payment").await;
    let refunded = "SELECT count(*) FROM payments WHERE status = 'REFUNDED'";
    assert_eq!(count(&payments, refunded).await, 1);
    let inventory = system.environment.pool("inventory").await;
    let held = "SELECT sum(reserved_quantity)::bigint FROM inventory_items";
    assert_eq!(count(&inventory, held).await, 0);
    assert_eq!(id(&saga, "sagaId"), id(&order, "sagaId"));
    system.audit().await;
    system.stop().await;
}
