//! The views for operators: they are what docs/SQL.md says, and tell the same as the API.

use std::collections::BTreeMap;

use common::config::Secret;
use migrations::{Order, migrate, roll_back};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, Row};
use test_support::{Environment, PATIENCE, wait_until};

use crate::harness::{
    Participants, System, count, id, not_reserved, processed, refunded, reply_to,
};

type Columns = BTreeMap<String, Vec<(String, String)>>;

/// The columns of each view and their types, in order, as the document lists them.
fn documented() -> Columns {
    let document = include_str!("../../../docs/SQL.md");
    let mut views = Columns::new();
    let mut view = None;
    for line in document.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            view = title
                .strip_prefix("`saga_v1.")
                .map(|name| name.trim_end_matches('`'));
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let (Some(view), [_, column, kind, ..]) = (view, &cells[..])
            && let Some(column) = column.strip_prefix('`')
        {
            let column = (column.trim_end_matches('`').to_owned(), (*kind).to_owned());
            views.entry(view.to_owned()).or_default().push(column);
        }
    }
    views
}

async fn actual(db: &PgPool) -> Columns {
    let sql = "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
               WHERE table_schema = 'saga_v1' ORDER BY table_name, ordinal_position";
    let mut views = Columns::new();
    for row in sqlx::query(sql).fetch_all(db).await.unwrap() {
        let columns = views.entry(row.get(0)).or_default();
        columns.push((row.get(1), row.get(2)));
    }
    views
}

#[tokio::test]
async fn the_views_have_the_columns_that_are_promised() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    let promised = documented();
    assert_eq!(promised.len(), 4);
    assert_eq!(actual(&db).await, promised);
    // And without them, nothing of their schema is left.
    let url = Secret::new(environment.database_url("order"));
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'saga_v1'";
    while count(&db, schemas).await > 0 {
        roll_back::<Order>(&url).await.unwrap();
    }
    migrate::<Order>(&url).await.unwrap();
    assert_eq!(actual(&db).await, promised);
}

#[tokio::test]
async fn indexes_are_made_anew_where_a_migration_was_interrupted() {
    let environment = Environment::new().await;
    let db = environment.pool("order").await;
    let url = Secret::new(environment.database_url("order"));
    let versions =
        "SELECT count(*) FROM seaql_migrations WHERE version > 'm20261122_000010_finding'";
    while count(&db, versions).await > 0 {
        roll_back::<Order>(&url).await.unwrap();
    }
    // One index is made, one is broken, one is not begun, and none of it is noted.
    for sql in [
        "DELETE FROM seaql_migrations WHERE version = 'm20261122_000010_finding'",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sagas_error'::regclass",
        "DROP INDEX sagas_ended",
    ] {
        sqlx::query(sql).execute(&db).await.unwrap();
    }
    migrate::<Order>(&url).await.unwrap();
    let valid = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid
                 WHERE indisvalid AND relname IN ('sagas_reason', 'sagas_error', 'sagas_ended')";
    assert_eq!(count(&db, valid).await, 3);
}

/// The rows of a query, as JSON.
async fn rows(db: &PgPool, sql: &str) -> Vec<Value> {
    let sql = format!("SELECT to_jsonb(r) FROM ({sql}) AS r");
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(db)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_tell_what_the_api_tells() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let undone = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    let inventory = participants.command("inventory").await;
    let mut refusal = not_reserved(&inventory);
    // What no text of PostgreSQL can be.
    refusal["data"]["detail"] = json!("prod-1\u{0}");
    participants.reply(&[refusal]).await;
    let refund = participants.command("payment").await;
    participants.reply(&[refunded(&refund)]).await;
    system.until(&undone, "CANCELLED").await;
    let declined = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    let data = json!({ "amount": "19.99", "currency": "USD", "reason": "PAYMENT_DECLINED", "detail": "lost_card" });
    participants
        .reply(&[reply_to(&payment, "payment.failed.v1", &data)])
        .await;
    system.until(&declined, "CANCELLED").await;
    let waiting = system.place("prod-1", 1).await;
    participants.command("payment").await;
    system.let_deadline_pass(&waiting).await;
    participants.command("payment").await;
    wait_until(PATIENCE, "it is asked again", || async {
        system.saga(&waiting).await["version"] == 4
    })
    .await;

    let db = system.environment.pool("order").await;
    for order in [&undone, &declined, &waiting] {
        let saga = system.saga(order).await;
        let of = format!("WHERE saga_id = '{}'", id(order, "sagaId"));
        let [row] = &rows(&db, &format!("SELECT * FROM saga_v1.sagas {of}")).await[..] else {
            panic!("one row")
        };
        for (column, field) in [
            ("saga_id", "sagaId"),
            ("type", "type"),
            ("status", "status"),
            ("current_step", "currentStep"),
            ("reason", "reason"),
            ("last_error", "lastError"),
            ("version", "version"),
            ("subject", "subject"),
            ("subject_id", "orderId"),
            ("correlation_id", "correlationId"),
        ] {
            assert_eq!(row[column], saga[field], "{column} of {row}");
        }
        assert_eq!(row["ended_at"].is_null(), order == &waiting);
        let steps = rows(&db, &format!("SELECT * FROM saga_v1.steps {of}")).await;
        let shown = saga["steps"].as_array().unwrap().iter();
        let begun: Vec<_> = shown.filter(|step| !step["startedAt"].is_null()).collect();
        assert_eq!(steps.len(), begun.len());
        for step in begun {
            let row = steps
                .iter()
                .find(|row| row["step"] == step["name"])
                .unwrap();
            assert_eq!(row["status"], step["status"], "{row}");
        }
        let sql =
            format!("SELECT seq, event, step, reason FROM saga_v1.timeline {of} ORDER BY seq");
        let log = saga["log"].as_array().unwrap().iter().map(|entry| {
            json!({ "seq": entry["seq"], "event": entry["event"], "step": entry["step"],
                    "reason": entry["details"]["reason"] })
        });
        let mut log: Vec<_> = log.collect();
        if order == &undone {
            log[4]["reason"] = Value::Null;
        }
        assert_eq!(rows(&db, &sql).await, log);
    }
    assert_eq!(
        system.saga(&undone).await["lastError"],
        "inventory: OUT_OF_STOCK: prod-1 "
    );

    assert!(rows(&db, "SELECT * FROM saga_v1.stuck").await.is_empty());
    let late = "UPDATE sagas SET deadline_at = now() - interval '2 min', definition_version = 9 WHERE id = $1";
    sqlx::query(late)
        .bind(id(&waiting, "sagaId"))
        .execute(&db)
        .await
        .unwrap();
    let stuck = rows(&db, "SELECT saga_id, why FROM saga_v1.stuck").await;
    assert_eq!(
        stuck,
        [json!({ "saga_id": waiting["sagaId"], "why": "OVERDUE" })]
    );
    let listed = system.orders.json("/sagas?stuck=true").await;
    assert_eq!(listed["items"][0]["sagaId"], waiting["sagaId"]);
}
