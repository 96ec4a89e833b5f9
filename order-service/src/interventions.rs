//! What operators do about sagas: seen before it is done, done once, and written down with who and why.

use common::contract::{Origin, SagaId};
use saga::{Engine, Intervention, Rehearsal, Verb, What, Work, store};

use crate::orders::{self, Status};

/// What an operator wants.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) saga: SagaId,
    pub(crate) verb: Verb,
    /// Who, why, and under which key.
    pub(crate) by: Intervention,
    /// The versions that the operator may have seen; any, where that does not matter.
    pub(crate) seen: Option<Vec<i32>>,
    /// The request that it comes with.
    pub(crate) origin: Origin,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was done.
    Now,
    /// It was done before, under the same key.
    Before,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The saga has changed since the operator looked.
    #[error("the saga has changed since you looked: its version is {0}")]
    Changed(i32),
    /// The key was used for something else.
    #[error("the key was used before with another request: use a new key")]
    KeyReused,
    /// It is too late to undo what the saga did.
    #[error("the order is {0}: it is too late to undo what was done for it")]
    Shipped(Status),
    /// The engine's own.
    #[error(transparent)]
    Engine(#[from] saga::Error),
}

impl Refusal {
    /// Whether trying again later can help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_transient())
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Does what an operator wants.
///
/// # Errors
/// It makes no sense now, or the database failed; nothing is done.
pub(crate) async fn intervene(engine: &Engine, request: Request) -> Result<Done, Refusal> {
    let mut db = engine.db().acquire().await?;
    let mut work = engine.work(&mut db);
    let done = decide(&mut work, request).await?;
    if done == Done::Now {
        work.commit().await?;
    }
    Ok(done)
}

/// Does what an operator wants in a transaction that is never committed, and has `look` look at what it would leave.
///
/// # Errors
/// It makes no sense now, or the database failed.
pub(crate) async fn rehearse<T>(
    engine: &Engine,
    request: Request,
    look: impl AsyncFnOnce(&mut Rehearsal<'_>) -> sqlx::Result<T>,
) -> Result<T, Refusal> {
    let mut db = engine.db().acquire().await?;
    let mut work = engine.work(&mut db);
    decide(&mut work, request).await?;
    let mut rehearsal = work.rehearse().await?;
    let seen = look(&mut rehearsal).await;
    rehearsal.end().await?;
    Ok(seen?)
}

/// Decides what an operator wants, in a transaction of the caller's.
///
/// # Errors
/// It makes no sense now, or the database failed: nothing of the transaction is to be committed.
pub(crate) async fn decide(work: &mut Work<'_>, request: Request) -> Result<Done, Refusal> {
    let Request {
        saga: id,
        verb,
        by,
        seen,
        origin,
    } = request;
    if verb == Verb::Abort {
        lock_order(work, id).await?;
    }
    let saga = work.lock_one(id).await?;
    if let Some(key) = &by.idempotency_key {
        let tx = work.transaction().await?;
        if let Some(written) = store::under_key(&mut **tx, id, key).await? {
            let before = written.entry(saga.definition).map(|entry| entry.what);
            let before = before.as_ref().ok().and_then(What::intervention);
            return if before == Some((verb, &by)) {
                Ok(Done::Before)
            } else {
                Err(Refusal::KeyReused)
            };
        }
    }
    if seen.is_some_and(|versions| !versions.contains(&saga.version)) {
        return Err(Refusal::Changed(saga.version));
    }
    work.intervene(saga, verb, by, origin).await?;
    Ok(Done::Now)
}

/// Who is about to reopen a saga has the lock of its subject first. What has left the house cannot be undone.
async fn lock_order(work: &mut Work<'_>, id: SagaId) -> Result<(), Refusal> {
    let tx = work.transaction().await?;
    let Some(subject) = store::subject(&mut **tx, id).await? else {
        return Err(saga::Error::NoSuchSaga(id).into());
    };
    work.lock_subject(&subject).await?;
    let tx = work.transaction().await?;
    let order = match subject.id().parse() {
        Ok(order) => orders::find(&mut **tx, order).await?,
        Err(_) => None,
    };
    match order.map(|order| order.status) {
        Some(gone) if gone.has_left() => Err(Refusal::Shipped(gone)),
        _ => Ok(()),
    }
}
