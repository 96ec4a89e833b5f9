//! A later version's schema, under this version's services: columns are added while they run, and they start on it.

use sqlx::Executor;

use crate::harness::System;

const TABLES: [&str; 6] = [
    "orders",
    "returns",
    "sagas",
    "saga_log",
    "idempotency",
    "outbox",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_on_the_schema_of_a_later_one() {
    let mut system = System::whole().await;
    // Every statement is prepared on the tables as they are now.
    let before = system.place("prod-1", 1).await;
    system.until(&before, "COMPLETED").await;
    let db = system.environment.pool("order").await;
    system.environment.add_columns("order", &TABLES).await;
    let migrated =
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)";
    db.execute(migrated).await.unwrap();

    system.cancel(&before).await;
    system.until(&before, "CANCELLED").await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    let orders = system.orders.json("/orders").await;
    assert_eq!(orders["items"].as_array().unwrap().len(), 2);
    system.audit().await;

    // An earlier program's migrations have nothing to do there, and its services start.
    let environment = system.stop().await;
    let url = common::config::Secret::new(environment.database_url("order"));
    migrations::migrate::<migrations::Order>(&url)
        .await
        .unwrap();
    system = System::on(environment, &[]).await;
    assert_eq!(system.saga(&order).await["status"], "COMPLETED");
}
