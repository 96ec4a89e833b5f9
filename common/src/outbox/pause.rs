//! Commands to a participant that an operator holds back: they stay in the outbox, where time stands still.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};

/// That commands to a participant are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// To whom.
    pub participant: String,
    /// Who said so.
    pub actor: String,
    /// Why, in their own words.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// All that are paused now, by name.
pub(super) async fn all(db: &PgPool) -> sqlx::Result<Vec<Pause>> {
    let rows = sqlx::query(
        "SELECT participant, actor, reason, paused_at FROM outbox_pauses WHERE resumed_at IS NULL ORDER BY participant",
    )
    .fetch_all(db)
    .await?;
    let pause = |row: &sqlx::postgres::PgRow| {
        Ok(Pause {
            participant: row.try_get("participant")?,
            actor: row.try_get("actor")?,
            reason: row.try_get("reason")?,
            since: row.try_get("paused_at")?,
        })
    };
    rows.iter().map(pause).collect()
}

/// Pauses a participant. One that is paused stays so as it was.
pub(super) async fn pause(
    db: &PgPool,
    participant: &str,
    actor: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO outbox_pauses (participant, actor, reason) VALUES ($1, $2, $3)
         ON CONFLICT (participant) WHERE resumed_at IS NULL DO NOTHING",
    )
    .bind(participant)
    .bind(actor)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(())
}

/// Has commands to a participant go out again.
pub(super) async fn resume(
    db: &PgPool,
    participant: &str,
    actor: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE outbox_pauses SET resumed_at = now(), resumed_by = $2, resumed_for = $3
         WHERE participant = $1 AND resumed_at IS NULL",
    )
    .bind(participant)
    .bind(actor)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(())
}
