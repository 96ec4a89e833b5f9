//! Reads with locks, and then all that is to be written.

use sqlx::{PgConnection, Postgres, Transaction, postgres::PgRow};

use super::{Writes, begin};

/// One transaction that writes at its end. Where it locks nothing, that one statement is the transaction, which saves
/// two round trips.
#[derive(Debug)]
pub struct UnitOfWork<'c> {
    state: State<'c>,
    /// What will be written.
    pub writes: Writes,
}

#[derive(Debug)]
enum State<'c> {
    Idle(&'c mut PgConnection),
    Begun(Transaction<'c, Postgres>),
    /// It could not begin.
    Failed,
}

impl<'c> UnitOfWork<'c> {
    /// Nothing so far, on `connection`.
    pub fn new(connection: &'c mut PgConnection) -> Self {
        Self {
            state: State::Idle(connection),
            writes: Writes::default(),
        }
    }

    /// The transaction, for statements that read and lock.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn transaction(&mut self) -> sqlx::Result<&mut Transaction<'c, Postgres>> {
        if let State::Idle(connection) = std::mem::replace(&mut self.state, State::Failed) {
            self.state = State::Begun(begin(connection).await?);
        }
        match &mut self.state {
            State::Begun(tx) => Ok(tx),
            State::Idle(_) | State::Failed => Err(sqlx::Error::BeginFailed),
        }
    }

    /// Writes, and commits.
    ///
    /// # Errors
    /// The database's. Then nothing is written.
    pub async fn commit(self) -> sqlx::Result<Vec<PgRow>> {
        match self.state {
            State::Idle(connection) => self.writes.execute(connection).await,
            State::Begun(mut tx) => {
                let rows = self.writes.execute(&mut *tx).await?;
                tx.commit().await?;
                Ok(rows)
            }
            State::Failed => Err(sqlx::Error::BeginFailed),
        }
    }
}
