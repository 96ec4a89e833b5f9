//! PostgreSQL: connecting, and telling a database that is away from a statement that is wrong.
//!
//! Writes are set-based statements through sqlx; reads for the API go through sea-orm on the same pool.
//!
//! A transaction must not be begun in a future that can be dropped: sqlx 0.9.0 returns a connection to the pool
//! with the transaction open when `begin()` is cancelled. So transactions are begun only in tasks of their own:
//! workers, and [`in_own_task`] for HTTP handlers, whose future is dropped when the client hangs up. What takes longer
//! than [`LONGEST`] is dropped all the same: its server does not answer, and its connection is closed.
//! Source: <https://github.com/transact-rs/sqlx/issues/4393>

mod pinned;
pub mod retention;
mod transaction;
mod writes;

use std::{
    future::Future,
    io::{self, ErrorKind},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use percent_encoding::percent_decode_str;
use sqlx::{
    Acquire, Executor, PgConnection, PgPool, Postgres, Row, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::time::{error::Elapsed, timeout};
use tracing::{Instrument, Span, info, warn};

pub use self::{pinned::PinnedConnection, transaction::LazyTransaction, writes::Writes};
use crate::{
    config::{self, DatabaseConfig, Secret},
    contract::clock,
};

/// Waiting longer than this for a connection means that the database is away or overloaded.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// No unit of work takes longer: each statement has a limit of its own, which the server keeps. So whatever takes longer
/// waits for a server that has vanished, and its connection is worth nothing any more.
pub const LONGEST: Duration = Duration::from_secs(20);
/// A connection that has not answered by then is closed.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// What each connection begins with. Hot statements are planned once, on tables that were empty then: without sequential
/// scans, they do not settle for one.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '4s';
    SET idle_in_transaction_session_timeout = '30s'; SET enable_seqscan = off; SET jit = off";
/// Idle connections are tested before use only after this: when a server has stopped answering, those that are used have
/// been idle for longer by the time that somebody notices.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);

/// The value that a text column names.
///
/// # Errors
/// It holds what no version of this program wrote.
pub fn parsed<T: FromStr>(row: &PgRow, column: &str) -> sqlx::Result<T> {
    let unknown = |text| {
        sqlx::Error::Decode(format!("{column} is {text:?}, which has no meaning here").into())
    };
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|_| unknown(text))
}

/// How to connect to the database of `url`.
///
/// # Errors
/// It cannot be parsed.
pub fn options(url: &Secret) -> Result<PgConnectOptions, config::Error> {
    let options: PgConnectOptions = url.expose().parse().map_err(|error: sqlx::Error| {
        config::Error::new(
            "the database URL",
            "[redacted]",
            &format!("a PostgreSQL URL ({error})"),
        )
    })?;
    // Poolers refuse what they do not know at the start of a connection.
    Ok(options.extra_float_digits(None))
}

/// A pool of connections, opened when they are needed: the database may come later.
///
/// # Errors
/// The URL cannot be parsed.
pub fn pool(name: &str, config: &DatabaseConfig) -> Result<PgPool, config::Error> {
    let options = options(&config.url)?.application_name(name);
    let read_only = Arc::new(AtomicBool::new(false));
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let read_only = Arc::clone(&read_only);
            Box::pin(async move {
                connection.execute(SETTINGS).await?;
                only_primary(is_usable(connection).await?, &read_only)
            })
        })
        .before_acquire(|connection, meta| {
            Box::pin(
                async move { Ok(meta.idle_for < TEST_AFTER_IDLE || is_usable(connection).await?) },
            )
        })
        .after_release(|connection, _| Box::pin(is_usable(connection)))
        .connect_lazy_with(options);
    Ok(pool)
}

/// Whether a connection is good for a transaction. Whatever was given up comes back with a statement under way, perhaps to
/// a server that will never answer, or with a transaction that sqlx knows nothing of. A server that is a standby, or has
/// been made read-only, is left at once: another one is the primary, or is about to be.
///
/// The answer also tells the time, and whether the connection still has its settings.
async fn is_usable(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // In an open transaction, time stands still. A raw statement is one message, and so begins with its transaction.
    let question = sqlx::raw_sql(
        "SELECT now() = statement_timestamp() AND NOT current_setting('transaction_read_only')::bool, clock_timestamp(),
                current_setting('lock_timeout') <> '0' AND NOT current_setting('enable_seqscan')::bool",
    );
    match timeout(TEST_TIMEOUT, question.fetch_one(connection)).await {
        Ok(row) => {
            let row = row?;
            clock::set(row.try_get(1)?);
            warn_of_lost_settings(row.try_get(2)?);
            row.try_get(0)
        }
        Err(late) => Err(sqlx::Error::Io(late.into())),
    }
}

/// Says once that a pooler hands out connections to the server without what was set on them.
fn warn_of_lost_settings(has_settings: bool) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !has_settings && !SAID.swap(true, Ordering::Relaxed) {
        warn!(
            "a pooler drops the settings of connections (lock_timeout and others): \
             give them to the role with ALTER ROLE … SET, as .env.example shows"
        );
    }
}

/// Refuses a new connection to a server on which nothing can be written, and says so once.
fn only_primary(usable: bool, said: &AtomicBool) -> sqlx::Result<()> {
    if usable {
        if said.swap(false, Ordering::Relaxed) {
            info!("the database can be written again");
        }
        return Ok(());
    }
    if !said.swap(true, Ordering::Relaxed) {
        warn!("the database is read-only: waiting for one that is not");
    }
    let why = io::Error::new(ErrorKind::ReadOnlyFilesystem, "the database is read-only");
    Err(sqlx::Error::Io(why))
}

/// Begins a transaction on a connection or on one of a pool. See the module's warning.
///
/// # Errors
/// The database failed.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that begins transactions"
)]
pub async fn begin<'c>(
    on: impl Acquire<'c, Database = Postgres>,
) -> sqlx::Result<Transaction<'c, Postgres>> {
    on.begin().await
}

/// The result of `work`, which is given up after [`LONGEST`]. Its connection then goes back to its pool, which closes what
/// does not answer.
///
/// # Errors
/// The work's own, or it was given up.
pub async fn in_time<T, E: From<sqlx::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |late: Elapsed| Err(sqlx::Error::Io(late.into()).into());
    timeout(LONGEST, work).await.unwrap_or_else(late)
}

/// Runs `work` in a task of its own, so that it is completed whatever becomes of the caller, or given up when it is not
/// done [`in_time`].
///
/// # Errors
/// The work's own, or it was given up.
///
/// # Panics
/// When `work` panics.
pub async fn in_own_task<T: Send + 'static, E: From<sqlx::Error> + Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    match tokio::spawn(in_time(work.instrument(Span::current()))).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Whether two transactions waited for each other, and this one had to give way.
#[must_use]
pub fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "40P01")
}

/// Whether the same statement may work later, whatever it is about: the database is away, overloaded, failing over, not
/// migrated, without a grant, or not the one that was meant. Only what its data is at fault for will fail for ever.
#[must_use]
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        // Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| {
            matches!(
                &code[..2.min(code.len())],
                "21" // cardinality
                | "22" // data
                | "23" // constraints
                | "44" // check option
                | "54" // too large
                | "P0" // raised by a trigger
            )
        }),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}

/// Whether a statement was cancelled because it took too long, or waited for a lock for too long.
#[must_use]
pub fn is_slow(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(&*code, "57014" | "55P03"))
}

/// Whether `error` is the violation of a unique or check constraint called `name`.
#[must_use]
pub fn violates(error: &sqlx::Error, name: &str) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.constraint() == Some(name))
}

/// How to connect to the database `postgres`, which is always there, on the server of `url`; and the name of the database
/// of `url`.
///
/// # Errors
/// It cannot be parsed, or names no database.
pub fn maintenance(url: &Secret) -> anyhow::Result<(PgConnectOptions, String)> {
    let options = options(url)?;
    let name = options.get_database().filter(|name| !name.is_empty());
    let name = name
        .context("the database URL names no database")?
        .to_owned();
    Ok((options.database("postgres"), name))
}

/// User and password of a URL, decoded; an absent one is empty.
///
/// # Errors
/// It is no URL, or they are not UTF-8.
pub fn credentials(url: &str) -> anyhow::Result<(String, String)> {
    let url = url::Url::parse(url)?;
    let decode = |text| {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.context("user and password in a URL must be UTF-8")?;
        anyhow::Ok(text.into_owned())
    };
    Ok((
        decode(url.username())?,
        decode(url.password().unwrap_or_default())?,
    ))
}
