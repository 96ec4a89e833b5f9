//! What has ended costs nothing: what a saga reads does not depend on how many there were before it.

use std::time::Instant;

use sqlx::{PgPool, Row};
use test_support::{Environment, PATIENCE, Proxy, wait_until};

use crate::harness::{System, count, setting};

/// Sagas that ended in the last weeks.
const ENDED: i64 = 50_000;
/// Orders that are placed after that, of each kind.
const ORDERS: usize = 8;

/// The id of the ended saga `i`: UUID v7, so many minutes old.
const IDS: &str = "CREATE TEMPORARY TABLE ended AS
    SELECT i, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - i * 30000), 12, '0') || '7' || substr(md5(i::text), 1, 3)
               || '8' || substr(md5(i::text), 4, 15))::uuid AS id
    FROM generate_series(1, $1::bigint) i";

const ORDER_DB: &[&str] = &[
    "INSERT INTO orders (id, saga_id, customer_id, status, items, currency, total_minor, event_sequence)
     SELECT id, id, 'customer-' || i % 100, 'COMPLETED', '[]', 'USD', 1, 3 FROM ended",
    "INSERT INTO sagas (id, subject, data, type, definition_version, status, version, correlation_id)
     SELECT id, 'order/' || id, '{}', 'create_order', 1, 'COMPLETED', 6, 'test' FROM ended",
    "INSERT INTO saga_log (saga_id, seq, event, details)
     SELECT id, seq, 'STEP_SUCCEEDED', '{}' FROM ended, generate_series(1, 6) seq",
    "INSERT INTO idempotency (saga_id, step, direction, message_id)
     SELECT id, step, 'ACTION', id FROM ended, UNNEST('{payment,inventory}'::text[]) step",
];
const PAYMENT_DB: &[&str] = &[
    "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status, gateway_id)
     SELECT id, id, 'payment', id, 'customer-1', 1, 'USD', 'CAPTURED', 'sim_1' FROM ended",
    "INSERT INTO idempotency (saga_id, step, direction, message_id, outcome)
     SELECT id, 'payment', 'ACTION', id, '{}' FROM ended",
];
const INVENTORY_DB: &[&str] = &[
    "INSERT INTO reservations (id, saga_id, step, order_id, items, status)
     SELECT id, id, 'inventory', id, '[]', 'RELEASED' FROM ended",
    "INSERT INTO inventory_items (product_id, quantity) SELECT 'product-' || i, 100 FROM ended",
    "INSERT INTO idempotency (saga_id, step, direction, message_id, outcome)
     SELECT id, 'inventory', 'ACTION', id, '{}' FROM ended",
];

const DATABASES: [(&str, &[&str]); 3] = [
    ("order", ORDER_DB),
    ("payment", PAYMENT_DB),
    ("inventory", INVENTORY_DB),
];

/// Of each table and index, the rows that sessions which have ended read there. A scan, also of an index, reads all.
async fn rows_read(db: &PgPool) -> Vec<(String, i64)> {
    let rows = sqlx::query(
        "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables
         UNION ALL SELECT indexrelname::text, idx_tup_read FROM pg_stat_user_indexes ORDER BY 1",
    )
    .fetch_all(db)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits for the services' sessions, whose reads are counted when they end.
async fn until_sessions_end(db: &PgPool) {
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name <> ''";
    let ended = || async { count(db, others).await == 0 };
    wait_until(PATIENCE, "all sessions have ended", ended).await;
}

/// One order of each kind: completed, declined, out of stock, cancelled.
async fn place_each(system: &System) {
    let completed = system.place("prod-1", 1).await;
    let declined = system
        .place_with("prod-1", 1, "pm_card_chargeDeclined")
        .await;
    let refused = system.place("prod-1", 1000).await;
    for (order, status) in [
        (&completed, "COMPLETED"),
        (&declined, "CANCELLED"),
        (&refused, "CANCELLED"),
    ] {
        system.until(order, status).await;
    }
    system.cancel(&completed).await;
    system.until(&completed, "CANCELLED").await;
    system.saga(&completed).await;
}

/// Fails when orders make somebody read more rows than they have to do with. Ends the system.
async fn read_little(system: System) -> Environment {
    let environment = &system.environment;
    let mut before = Vec::new();
    for (service, _) in DATABASES {
        before.push(rows_read(&environment.pool(service).await).await);
    }
    for _ in 0..ORDERS {
        place_each(&system).await;
    }
    let environment = system.stop().await;
    for ((service, _), before) in DATABASES.into_iter().zip(before) {
        let db = environment.pool(service).await;
        until_sessions_end(&db).await;
        for ((name, before), (_, after)) in before.into_iter().zip(rows_read(&db).await) {
            let read = after - before;
            assert!(read < ENDED / 10, "{read} rows of {name} were read");
        }
    }
    environment
}

/// The outbox as it is after many messages were sent: much room, and few rows when somebody last looked.
const SPARSE_OUTBOX: [&str; 4] = [
    "INSERT INTO outbox (id, exchange, routing_key, message, lease_until)
     SELECT gen_random_uuid(), 'saga.events', 'test', '{}', now() + interval '1 h' FROM generate_series(1, 20000)",
    "DELETE FROM outbox WHERE id <> (SELECT id FROM outbox LIMIT 1)",
    "VACUUM (TRUNCATE false, ANALYZE) outbox",
    "INSERT INTO outbox (id, exchange, routing_key, message, lease_until)
     SELECT gen_random_uuid(), 'saga.events', 'test', '{}', now() + interval '1 h' FROM generate_series(1, 3000)",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_reads_each_row_of_the_outbox_once() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    for statement in SPARSE_OUTBOX {
        sqlx::query(statement).execute(&db).await.unwrap();
    }
    let mut system = System::on(environment, &[]).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 100)]).await;
    place_each(&system).await;
    let _environment = system.stop().await;
    let reads = || async {
        let rows = rows_read(&db).await;
        rows.into_iter()
            .find(|(name, _)| name == "outbox_pkey")
            .unwrap()
            .1
    };
    wait_until(PATIENCE, "the sweeps are counted", || async {
        reads().await >= 3000
    })
    .await;
    let reads = reads().await;
    assert!(reads < 1_000_000, "{reads} rows were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_reads_no_more_when_many_have_ended_before_it() {
    let system = System::whole_with(&[("DATABASE_MAX_CONNECTIONS", "4")]).await;
    // Now statements are planned, some for good, on tables that are empty.
    for _ in 0..ORDERS {
        place_each(&system).await;
    }
    for (service, fill) in DATABASES {
        let db = system.environment.pool(service).await;
        let mut connection = db.acquire().await.unwrap();
        let ids = sqlx::query(IDS).bind(ENDED);
        ids.execute(&mut *connection).await.unwrap();
        for table in fill {
            sqlx::query(*table).execute(&mut *connection).await.unwrap();
        }
        drop(connection);
        db.close().await;
    }
    let environment = read_little(system).await;
    // And with plans that know of the rows.
    for (service, _) in DATABASES {
        let db = environment.pool(service).await;
        sqlx::query("ANALYZE").execute(&db).await.unwrap();
        db.close().await;
    }
    let mut system = System::on(environment, &[]).await;
    system.add_participants(&[]).await;
    read_little(system).await;
}

/// What orders take, in milliseconds.
#[derive(Debug)]
#[expect(dead_code, reason = "they are printed")]
struct Latencies {
    /// Half of those that come one after the other.
    half: u128,
    /// All of them.
    all: u128,
    /// Some that were placed while RabbitMQ was away, from its return until all have ended.
    after_an_outage: u128,
}

async fn latencies(system: &System, proxy: &Proxy) -> Latencies {
    let mut took = Vec::new();
    for _ in 0..10 * ORDERS {
        let placed = Instant::now();
        let order = system.place("prod-1", 1).await;
        system.until(&order, "COMPLETED").await;
        took.push(placed.elapsed().as_millis());
    }
    took.sort_unstable();
    proxy.refuse(true);
    proxy.cut();
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(system.place("prod-1", 1).await);
    }
    proxy.heal();
    let back = Instant::now();
    for order in &orders {
        system.until(order, "COMPLETED").await;
    }
    Latencies {
        half: took[took.len() / 2],
        all: took[took.len() - 1],
        after_an_outage: back.elapsed().as_millis(),
    }
}

/// How the relay claims the rows of one destination among all others.
const CLAIM: &str = "EXPLAIN (ANALYZE, BUFFERS)
    SELECT id FROM outbox_waiting WHERE exchange = 'saga.commands' AND routing_key = 'payment' AND lease_until <= now()
    ORDER BY lease_until, id LIMIT 256 FOR UPDATE SKIP LOCKED";

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_for_one_destination_is_in_nobody_elses_way() {
    let backlog = setting("OUTBOX_BACKLOG", 200_000);
    let environment = Environment::new().await;
    let (proxy, url) = Proxy::before(&environment.rabbitmq_url()).await.unwrap();
    let broker = [("RABBITMQ_URL", url.as_str())];
    let mut system = System::on(environment, &broker).await;
    system.add_participants(&[]).await;
    system.stock(&[("prod-1", 10_000)]).await;
    let without = latencies(&system, &proxy).await;
    let environment = system.stop().await;
    let db = environment.pool("order").await;
    // On both sides of all others, in the order of destinations, and none of it due.
    for exchange in ["", "saga.zzz"] {
        sqlx::query(
            "INSERT INTO outbox_waiting (id, exchange, routing_key, message, lease_until)
             SELECT gen_random_uuid(), $1, 'somebody', '{}', now() + interval '1 h' FROM generate_series(1, $2)",
        )
        .bind(exchange)
        .bind(backlog / 2)
        .execute(&db)
        .await
        .unwrap();
    }
    let mut system = System::on(environment, &broker).await;
    system.add_participants(&[]).await;
    let with = latencies(&system, &proxy).await;
    println!("ms without and with {backlog} rows: {without:?}, {with:?}");
    for line in sqlx::query(CLAIM).fetch_all(&db).await.unwrap() {
        println!("{}", line.get::<String, _>(0));
    }
    let _environment = system.stop().await;
    until_sessions_end(&db).await;
    for (name, read) in rows_read(&db).await {
        if name.starts_with("outbox_waiting") {
            assert!(read < backlog / 20, "{read} rows of {name} were read");
        }
    }
}
