//! The table `intents`: charges that the gateway may be making at this moment, where it does not refuse a key that was
//! refunded ([`Gateway::refuses_refunded_keys`](crate::gateway::Gateway::refuses_refunded_keys)).
//!
//! ```text
//! payment   open: a row ─────────► charge ────────────────────────────────► the outcome, and the row goes
//! refund    close: nobody opens ─► charge again, under the same key ─► refund ─► the tombstone, and the row goes
//! ```
//!
//! A row is there whenever the gateway may have been asked to charge and no outcome is recorded; whoever dies leaves it
//! behind. A refund that finds one cannot know whether the charge was made, or is still to come: a request may be on its
//! way whoever sent it is dead or has stopped waiting. So it asks for the same charge once more, until it has the
//! verdict. From then on the gateway gives this verdict to any request under the key, however late it comes, and the
//! refund knows what it has to give back. It takes money for this only where no request has come through before.
//!
//! Nobody opens what is closed. When the row is gone, an outcome or a tombstone is there in its place: who opens or closes
//! looks for it after its row is written, and takes the row back. Rows are inserted and closed under their primary key, so
//! one of the two always comes first.

use std::collections::{HashMap, HashSet};

use common::{
    contract::{Money, payment::ProcessPayment},
    db::{self, Writes},
    participant::idempotency::{self, Key},
};
use sqlx::{PgConnection, Row};

use crate::payments::action_key;

/// A charge that the gateway may have been asked for.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) amount: Money,
    pub(crate) currency: String,
    pub(crate) payment_method: Option<String>,
}

/// Writes the intents of `charges`, in a transaction of their own, and gives the keys of those that the gateway may be
/// asked for: nothing is recorded of them, and no refund has closed them.
///
/// # Errors
/// The database failed, and nothing is written.
pub(crate) async fn open(
    db: &mut PgConnection,
    charges: &[(&Key, &ProcessPayment)],
) -> sqlx::Result<HashSet<Key>> {
    if charges.is_empty() {
        return Ok(HashSet::new());
    }
    // The order is the same in all transactions, so that two of them cannot wait for each other.
    let mut charges = charges.to_vec();
    charges.sort_unstable_by_key(|(key, _)| *key);
    let mut tx = db::begin(db).await?;
    let (sagas, steps, _) = Key::columns(charges.iter().map(|(key, _)| *key));
    let rows = sqlx::query(
        "INSERT INTO intents AS i (saga_id, step, amount_minor, currency, payment_method)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[])
         ON CONFLICT (saga_id, step) DO UPDATE SET closed = i.closed WHERE NOT i.closed
         RETURNING saga_id, step",
    )
    .bind(sagas)
    .bind(steps)
    .bind(
        charges
            .iter()
            .map(|(_, asked)| asked.amount.minor())
            .collect::<Vec<_>>(),
    )
    .bind(
        charges
            .iter()
            .map(|(_, asked)| asked.currency.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        charges
            .iter()
            .map(|(_, asked)| asked.payment_method.as_deref())
            .collect::<Vec<_>>(),
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut open: HashSet<_> = rows.iter().map(action_key).collect();
    let keys: Vec<_> = open.iter().cloned().collect();
    for recorded in take_back(&mut tx, &keys).await? {
        open.remove(&recorded);
    }
    tx.commit().await?;
    Ok(open)
}

/// Sees to it that the gateway is not asked any more for the charges that `compensations` undo, but by who refunds them,
/// and gives those that it may have been asked for, by their actions.
///
/// # Errors
/// The database failed, and nothing is closed.
pub(crate) async fn close(
    db: &mut PgConnection,
    compensations: &[Key],
) -> sqlx::Result<HashMap<Key, Intent>> {
    if compensations.is_empty() {
        return Ok(HashMap::new());
    }
    let mut keys = compensations.to_vec();
    keys.sort_unstable();
    let mut tx = db::begin(db).await?;
    let (sagas, steps, _) = Key::columns(&keys);
    let rows = sqlx::query(
        "INSERT INTO intents (saga_id, step, closed)
         SELECT saga_id, step, true FROM UNNEST($1::uuid[], $2::text[]) AS a (saga_id, step)
         ON CONFLICT (saga_id, step) DO UPDATE SET closed = true
         RETURNING saga_id, step, amount_minor, currency, payment_method",
    )
    .bind(sagas)
    .bind(steps)
    .fetch_all(&mut *tx)
    .await?;
    take_back(&mut tx, &keys).await?;
    tx.commit().await?;
    let intents = rows.iter().filter_map(|row| {
        let intent = Intent {
            amount: Money::from_minor(row.get::<Option<_>, _>("amount_minor")?),
            currency: row.get("currency"),
            payment_method: row.get("payment_method"),
        };
        Some((action_key(row), intent))
    });
    Ok(intents.collect())
}

/// Deletes the intents of those of `keys` that were recorded meanwhile, and gives their keys. It is a statement of its own
/// after the insert, so that it sees what was committed while that waited for a row to go.
async fn take_back(tx: &mut PgConnection, keys: &[Key]) -> sqlx::Result<Vec<Key>> {
    let recorded = idempotency::find(&mut *tx, keys).await?;
    let recorded: Vec<_> = recorded.into_keys().collect();
    let mut writes = Writes::default();
    delete(&mut writes, &recorded);
    writes.execute(tx).await?;
    Ok(recorded)
}

/// Adds to what the caller writes, with the outcomes or tombstones of the same steps, that the intents of `keys` are gone.
pub(crate) fn delete(writes: &mut Writes, keys: &[Key]) {
    if keys.is_empty() {
        return;
    }
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let (sagas, steps, _) = Key::columns(&keys);
    writes
        .add(
            "DELETE FROM intents i USING UNNEST($1::uuid[], $2::text[]) AS a (saga_id, step)
             WHERE i.saga_id = a.saga_id AND i.step = a.step",
        )
        .bind(sagas)
        .bind(steps);
}
