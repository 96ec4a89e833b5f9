//! Which letters are meant, and which of these stay all the same.

use std::collections::BTreeMap;

use common::contract::SagaId;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::letter::Letter;

/// Which letters of a queue are meant: those that all of these let through, so all of the queue where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selection {
    /// Messages with one of these ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_ids: Option<Vec<String>>,
    /// Letters with this fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// Letters of this saga.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) saga_id: Option<SagaId>,
}

/// A letter that stays in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusal {
    /// The message's id.
    pub(crate) message_id: String,
    /// Why it stays, and what can be done about it.
    pub(crate) why: String,
}

impl Selection {
    /// Whether `letter` is meant.
    pub(crate) fn has(&self, letter: &Letter) -> bool {
        let ids = self.message_ids.as_ref();
        ids.is_none_or(|ids| ids.contains(&letter.id))
            && self
                .group
                .as_ref()
                .is_none_or(|group| *group == letter.fingerprint)
            && self.saga_id.is_none_or(|saga| letter.sagas.contains(&saga))
    }
}

/// Parts `letters` into those that can be sent again and those that stay; with `force`, also where their saga has ended.
///
/// # Errors
/// The database failed.
pub(super) async fn refuse(
    db: &PgPool,
    letters: Vec<Letter>,
    force: bool,
) -> sqlx::Result<(Vec<Letter>, Vec<Refusal>)> {
    let ended = if force {
        BTreeMap::new()
    } else {
        ended(db, letters.iter().flat_map(|letter| &letter.sagas)).await?
    };
    let (mut fine, mut refused) = (Vec::new(), Vec::new());
    for letter in letters {
        let why = if letter.is_unreadable() {
            Some("it can never be read as it is: edit it, or delete it".to_owned())
        } else {
            why_ended(&letter, &ended)
        };
        match why {
            Some(why) => refused.push(Refusal {
                message_id: letter.id,
                why,
            }),
            None => fine.push(letter),
        }
    }
    Ok((fine, refused))
}

/// Why `letter` stays where `ended` are the sagas that have ended.
pub(super) fn why_ended(letter: &Letter, ended: &BTreeMap<SagaId, String>) -> Option<String> {
    let mut sagas = letter.sagas.iter();
    let (saga, status) = sagas.find_map(|saga| Some((saga, ended.get(saga)?)))?;
    Some(format!(
        "its saga {saga} has ended ({status}): ask again with \"force\": true if it is to go out all the same"
    ))
}

/// Those of `sagas` that have ended, with their status.
///
/// # Errors
/// The database failed.
pub(super) async fn ended(
    db: &PgPool,
    sagas: impl Iterator<Item = &SagaId>,
) -> sqlx::Result<BTreeMap<SagaId, String>> {
    let ids: Vec<Uuid> = sagas.map(|saga| saga.0).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "SELECT id, status FROM sagas WHERE id = ANY($1) AND status IN ('COMPLETED', 'COMPENSATED')",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    let ended = rows.iter();
    ended
        .map(|row| Ok((SagaId(row.try_get("id")?), row.try_get("status")?)))
        .collect()
}
