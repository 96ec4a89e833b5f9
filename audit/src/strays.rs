//! Rows that belong to no order.
//!
//! A participant's row is read before its order is looked for, and an order is there before anybody hears of
//! it: one that is not found does not exist.

use anyhow::{Context as _, Result};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use uuid::Uuid;

use super::BATCH;
use super::report::{Report, Rule, Subject, Violation};

/// Sagas without an order. No foreign key forbids them: it would cost a query and a row lock for each saga.
pub(super) async fn sagas(db: &PgPool, report: &mut Report) -> Result<()> {
    let rows = sqlx::query(
        "SELECT id, subject FROM sagas s
         WHERE NOT EXISTS (SELECT FROM orders WHERE 'order/' || orders.id = s.subject) ORDER BY id",
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let subject: String = row.try_get("subject")?;
        report.violations.push(Violation {
            subject: Subject::SagaId(row.try_get("id")?),
            rule: Rule::OneSaga,
            detail: format!("there is no {subject}"),
        });
    }
    Ok(())
}

/// Entries of the log whose saga does not exist. No foreign key forbids them.
pub(super) async fn entries(db: &PgPool, report: &mut Report) -> Result<()> {
    let mut after = Uuid::nil();
    loop {
        let rows = sqlx::query(
            "SELECT l.saga_id, s.id IS NULL AS is_stray
             FROM (SELECT DISTINCT saga_id FROM saga_log WHERE saga_id > $1 ORDER BY saga_id LIMIT $2) l
             LEFT JOIN sagas s ON s.id = l.saga_id ORDER BY l.saga_id",
        )
        .bind(after)
        .bind(BATCH)
        .fetch_all(db)
        .await?;
        let Some(end) = rows.last() else {
            return Ok(());
        };
        after = end.try_get("saga_id")?;
        for row in rows {
            if row.try_get("is_stray")? {
                report.violations.push(Violation {
                    subject: Subject::SagaId(row.try_get("saga_id")?),
                    rule: Rule::OneSaga,
                    detail: "there is no such saga, but a log".to_owned(),
                });
            }
        }
    }
}

/// Tables whose rows belong to orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    name: &'static str,
    /// What a row is called.
    row: &'static str,
    database: &'static str,
}

impl Table {
    const fn new(database: &'static str, name: &'static str, row: &'static str) -> Self {
        Self {
            name,
            row,
            database,
        }
    }
}

/// Those of the payment service.
pub(super) const PAYMENT: [Table; 2] = [
    Table::new("payment_db", "payments", "payment"),
    Table::new("payment_db", "refunds", "refund"),
];
/// Those of the inventory service.
pub(super) const INVENTORY: [Table; 2] = [
    Table::new("inventory_db", "reservations", "reservation"),
    Table::new("inventory_db", "restocks", "restock"),
];

/// Rows of unknown orders, or of a saga that is not about the order.
pub(super) async fn rows(
    db: &PgPool,
    table: Table,
    orders: &PgPool,
    report: &mut Report,
) -> Result<()> {
    let page = format!(
        "SELECT id, order_id, saga_id FROM {} WHERE id > $1 ORDER BY id LIMIT $2",
        table.name
    );
    let mut after = Uuid::nil();
    loop {
        // Made of the constants above.
        let rows = sqlx::query(AssertSqlSafe(page.as_str()))
            .bind(after)
            .bind(BATCH)
            .fetch_all(db)
            .await
            .context(table.database)?;
        let Some(end) = rows.last() else {
            return Ok(());
        };
        after = end.try_get("id")?;
        compare(table.row, &rows, orders, report)
            .await
            .context("order_db")?;
    }
}

async fn compare(what: &str, rows: &[PgRow], orders: &PgPool, report: &mut Report) -> Result<()> {
    let column = |name| {
        let values = rows.iter().map(move |row| row.try_get::<Uuid, _>(name));
        values.collect::<Result<Vec<_>, _>>()
    };
    let strays = sqlx::query(
        "SELECT r.id, r.order_id, r.saga_id, o.id IS NOT NULL AS is_ordered, s.subject AS owner
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) AS r (id, order_id, saga_id)
         LEFT JOIN orders o ON o.id = r.order_id
         LEFT JOIN sagas s ON s.id = r.saga_id
         WHERE o.id IS NULL OR s.subject IS DISTINCT FROM 'order/' || r.order_id ORDER BY r.id",
    )
    .bind(column("id")?)
    .bind(column("order_id")?)
    .bind(column("saga_id")?)
    .fetch_all(orders)
    .await?;
    report.add(Rule::Known, rows.len());
    for row in strays {
        let (id, saga): (Uuid, Uuid) = (row.try_get("id")?, row.try_get("saga_id")?);
        let detail = match row.try_get::<Option<String>, _>("owner")? {
            _ if !row.try_get("is_ordered")? => {
                format!("there is no such order, but {what} {id} is for it")
            }
            None => format!("{what} {id} for it is of saga {saga}, which does not exist"),
            Some(owner) => {
                format!("{what} {id} for it is of saga {saga}, which is about {owner}")
            }
        };
        let order = row.try_get("order_id")?;
        report
            .violations
            .push(Violation::of_order(order, Rule::Known, detail));
    }
    Ok(())
}
