//! Commands to a participant that an operator holds back: they stay in the outbox, where time stands still.
//!
//! Who is paused is in the database. Each replica looks there, and tells its outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::{db, outbox::Outbox, watchdog::Turns};
use sqlx::{PgPool, Row, postgres::PgRow};
use tokio_util::sync::CancellationToken;

/// How often a replica looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// That commands to a participant are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// To whom.
    pub(crate) participant: String,
    /// Who said so.
    pub(crate) actor: String,
    /// Why, in their own words.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since: DateTime<Utc>,
}

/// All that are paused now, by name.
pub(crate) async fn all(db: &PgPool) -> sqlx::Result<Vec<Pause>> {
    let rows = sqlx::query(
        "SELECT participant, actor, reason, paused_at FROM participant_pauses WHERE resumed_at IS NULL ORDER BY participant",
    )
    .fetch_all(db)
    .await?;
    let pause = |row: &PgRow| {
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
pub(crate) async fn pause(
    db: &PgPool,
    participant: &str,
    actor: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO participant_pauses (participant, actor, reason) VALUES ($1, $2, $3)
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
pub(crate) async fn resume(
    db: &PgPool,
    participant: &str,
    actor: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE participant_pauses SET resumed_at = now(), resumed_by = $2, resumed_for = $3
         WHERE participant = $1 AND resumed_at IS NULL",
    )
    .bind(participant)
    .bind(actor)
    .bind(reason)
    .execute(db)
    .await?;
    Ok(())
}

/// Tells `outbox` who is paused, until `stop`. Where the database does not tell, whoever was paused stays so.
pub(crate) async fn run(db: PgPool, outbox: Outbox, stop: CancellationToken) {
    let mut turns = Turns::new(LOOK_EVERY, stop);
    while turns.next().await {
        if let Ok(pauses) = db::in_time(all(&db)).await {
            let paused: Vec<_> = pauses.into_iter().map(|one| one.participant).collect();
            outbox.hold_back(&paused);
        }
    }
}
