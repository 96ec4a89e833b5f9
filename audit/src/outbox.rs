//! Outboxes: messages that should have left long ago.

use anyhow::Result;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{PgPool, Row as _};

use super::report::{Report, Rule, Subject, Violation};

/// The messages that have waited in the outbox of `database` for more than a minute: the oldest 1000 of them.
pub(super) async fn check(
    database: &str,
    db: &PgPool,
    report: &mut Report,
) -> Result<Vec<Violation>> {
    let waiting: i64 = sqlx::query("SELECT count(*) FROM outbox")
        .fetch_one(db)
        .await?
        .try_get(0)?;
    report.add(Rule::Outbox, usize::try_from(waiting)?);
    let rows = sqlx::query(
        "SELECT id, message ->> 'type' AS type, message ->> 'subject' AS subject, created_at, attempts, last_error
         FROM outbox WHERE created_at < now() - interval '1 minute' ORDER BY id LIMIT 1000",
    )
    .fetch_all(db)
    .await?;
    let mut found = Vec::new();
    for row in rows {
        let kind: Option<&str> = row.try_get("type")?;
        let about: Option<&str> = row.try_get("subject")?;
        let since: DateTime<Utc> = row.try_get("created_at")?;
        let error: Option<&str> = row.try_get("last_error")?;
        let detail = format!(
            "{} about {} waits in {database} since {}, published in vain {} times: {}",
            kind.unwrap_or("?"),
            about.unwrap_or("?"),
            since.format("%F %T"),
            row.try_get::<i32, _>("attempts")?,
            error.unwrap_or("no error"),
        );
        found.push(Violation {
            subject: Subject::MessageId(row.try_get("id")?),
            rule: Rule::Outbox,
            detail,
        });
    }
    Ok(found)
}
