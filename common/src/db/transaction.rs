//! A transaction that begins only when it must.

use sqlx::{PgConnection, Postgres, Transaction, postgres::PgRow};

use super::{Writes, begin};
use crate::metrics::Tally;

/// A transaction that reads and locks first, and writes all at its end, in one statement.
///
/// It begins with the first read. Where nothing is read, the statement that writes is the whole transaction, which saves
/// the round trips of `BEGIN` and `COMMIT`.
#[derive(Debug)]
pub struct LazyTransaction<'c> {
    state: State<'c>,
    /// What will be written.
    pub writes: Writes,
    /// What will be counted when it is committed.
    pub tally: Tally,
}

#[derive(Debug)]
enum State<'c> {
    Idle(&'c mut PgConnection),
    Begun(Transaction<'c, Postgres>),
    /// It could not begin, and nothing can be done in it.
    Failed,
}

impl<'c> LazyTransaction<'c> {
    /// A transaction on `connection` that has not begun.
    pub fn new(connection: &'c mut PgConnection) -> Self {
        Self {
            state: State::Idle(connection),
            writes: Writes::default(),
            tally: Tally::default(),
        }
    }

    /// The transaction, begun if it was not, for statements that read and lock.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn transaction(&mut self) -> sqlx::Result<&mut Transaction<'c, Postgres>> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(connection) => State::Begun(begin(connection).await?),
            begun => begun,
        };
        match &mut self.state {
            State::Begun(tx) => Ok(tx),
            State::Idle(_) | State::Failed => Err(sqlx::Error::BeginFailed),
        }
    }

    /// Writes, and leaves it to the caller to commit. Nothing is counted.
    ///
    /// # Errors
    /// The database failed, and nothing is written.
    pub async fn write(mut self) -> sqlx::Result<Transaction<'c, Postgres>> {
        self.transaction().await?;
        match self.state {
            State::Begun(mut tx) => {
                self.writes.execute(&mut *tx).await?;
                Ok(tx)
            }
            State::Idle(_) | State::Failed => Err(sqlx::Error::BeginFailed),
        }
    }

    /// Writes, commits, and counts.
    ///
    /// # Errors
    /// The database failed, and nothing is written.
    pub async fn commit(self) -> sqlx::Result<Vec<PgRow>> {
        let rows = match self.state {
            State::Idle(connection) => self.writes.execute(connection).await?,
            State::Begun(mut tx) => {
                let rows = self.writes.execute(&mut *tx).await?;
                tx.commit().await?;
                rows
            }
            State::Failed => return Err(sqlx::Error::BeginFailed),
        };
        self.tally.count();
        Ok(rows)
    }
}
