//! Databases on servers that the user configured. One that `up` makes carries a mark, as its comment, and `down --wipe`
//! drops only what carries it: what was there before, or was made by somebody else since, stays, and so does one into which
//! somebody else has put tables of theirs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::{config::Secret, db};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::time::timeout;
use uuid::Uuid;

use super::{maintenance_url, shown};

/// A server that has not let us in by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The tables of all services; their partitions come and go.
const TABLES: [&str; 20] = [
    "idempotency",
    "intents",
    "inventory_items",
    "kept_letters",
    "letter_notices",
    "orders",
    "outbox",
    "participant_pauses",
    "outbox_waiting",
    "payments",
    "redrives",
    "refunds",
    "removed_items",
    "reservations",
    "restocks",
    "returns",
    "saga_batches",
    "saga_log",
    "sagas",
    "seaql_migrations",
];

/// The schema of the views for operators, and these.
const VIEWS: (&str, [&str; 4]) = ("saga_v1", ["sagas", "steps", "stuck", "timeline"]);

/// A database that the services use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Database {
    /// Where it is.
    pub(super) url: String,
    /// Its comment, if it is ours.
    mark: Option<String>,
}

impl Database {
    /// One that was there before.
    pub(super) fn of_the_user(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            mark: None,
        }
    }

    /// One that is still to be made.
    pub(super) fn ours(url: &str) -> Self {
        let mark = format!("made by ./dev of Order Saga: {}", Uuid::now_v7());
        Self {
            url: url.to_owned(),
            mark: Some(mark),
        }
    }

    /// Makes it, with its mark.
    ///
    /// # Errors
    /// The server refuses, perhaps because somebody else has made it by now.
    pub(super) async fn make(&self) -> Result<()> {
        let name = name(&self.url)?;
        let mark = self.mark.as_deref().context("it is not ours to make")?;
        let mut server = connect(&maintenance_url(&self.url)?).await?;
        let (quoted, mark) = (name.replace('"', "\"\""), mark.replace('\'', "''"));
        for sql in [
            format!("CREATE DATABASE \"{quoted}\""),
            format!("COMMENT ON DATABASE \"{quoted}\" IS '{mark}'"),
        ] {
            let made = server.execute(AssertSqlSafe(sql)).await;
            made.with_context(|| format!("cannot make the database {name}"))?;
        }
        Ok(())
    }

    /// Drops it, if it is ours, and says what became of it. Returns it when it is still to be dropped.
    pub(super) async fn wipe(self) -> Option<Self> {
        let place = format!("the database at {}, on a server of yours", shown(&self.url));
        let Some(mark) = &self.mark else {
            println!("Left {place}: it was there before.");
            return None;
        };
        match drop_marked(&self.url, mark).await {
            Ok(true) => println!("Dropped {place}."),
            Ok(false) => println!("Left {place}: it is not the one that ./dev made."),
            Err(error) => {
                println!("Left {place}, until the next `./dev down --wipe`: {error:#}.");
                return Some(self);
            }
        }
        None
    }
}

/// Whether the server of `url` lacks its database.
///
/// # Errors
/// The server does not let us in.
pub(super) async fn is_missing(url: &str) -> Result<bool> {
    // The maintenance database may be closed to us.
    if connect(url).await.is_ok() {
        return Ok(false);
    }
    let mut server = connect(&maintenance_url(url)?).await?;
    let found = sqlx::query("SELECT FROM pg_database WHERE datname = $1")
        .bind(name(url)?)
        .fetch_optional(&mut server)
        .await?;
    Ok(found.is_none())
}

/// Drops the database of `url` if it carries `mark`.
async fn drop_marked(url: &str, mark: &str) -> Result<bool> {
    let name = name(url)?;
    let mut server = connect(&maintenance_url(url)?).await?;
    let comment =
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
    let found = sqlx::query(comment)
        .bind(&name)
        .fetch_optional(&mut server)
        .await?;
    if found.is_none_or(|row| row.get::<Option<&str>, _>(0) != Some(mark)) {
        return Ok(false);
    }
    let others = tables_of_others(url).await?;
    ensure!(
        others.is_empty(),
        "it holds what is not ours: {}",
        others.join(", ")
    );
    let sql = format!(
        "DROP DATABASE \"{}\" WITH (FORCE)",
        name.replace('"', "\"\"")
    );
    server.execute(AssertSqlSafe(sql)).await?;
    Ok(true)
}

/// The tables in the database of `url` that no service of ours has made, with their schemas.
async fn tables_of_others(url: &str) -> Result<Vec<String>> {
    let sql = "SELECT oid::regclass::text FROM pg_class
        WHERE relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT relispartition AND relpersistence <> 't'
            AND relnamespace <> ALL (ARRAY['pg_catalog'::regnamespace, 'information_schema'::regnamespace])
            AND NOT (relnamespace = 'public'::regnamespace AND relname = ANY ($1))
            AND NOT (relkind = 'v' AND relnamespace::regnamespace::text = $2 AND relname = ANY ($3))
        ORDER BY 1";
    let mut database = connect(url).await?;
    let (schema, views) = VIEWS;
    let others = sqlx::query_scalar(sql)
        .bind(TABLES.as_slice())
        .bind(schema)
        .bind(views.as_slice());
    let others = others.fetch_all(&mut database).await?;
    database.close().await?;
    Ok(others)
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = db::options(&Secret::new(url))?;
    let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    connected
        .context("no answer")
        .and_then(|connected| Ok(connected?))
        .with_context(|| format!("{} does not let us in", shown(url)))
}

fn name(url: &str) -> Result<String> {
    let (_, name) = db::maintenance(&Secret::new(url))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use test_support::Servers;
    use url::Url;

    use super::*;

    /// The URL of a database that is not there.
    fn somewhere() -> String {
        let mut url = Url::parse(&Servers::shared().postgres).unwrap();
        url.set_path(&format!("a \"test\" {}", Uuid::now_v7()).replace(' ', "_"));
        url.into()
    }

    async fn execute(sql: String) {
        let mut server = connect(&Servers::shared().postgres).await.unwrap();
        server.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    fn quoted(url: &str) -> String {
        format!("\"{}\"", name(url).unwrap().replace('"', "\"\""))
    }

    #[tokio::test]
    async fn what_we_made_is_dropped() {
        let url = somewhere();
        assert!(is_missing(&url).await.unwrap());
        let database = Database::ours(&url);
        database.make().await.unwrap();
        assert!(!is_missing(&url).await.unwrap());
        assert_eq!(database.wipe().await, None);
        assert!(is_missing(&url).await.unwrap());
    }

    #[tokio::test]
    async fn what_the_services_made_is_ours() {
        let environment = test_support::Environment::new().await;
        for database in common::fleet::databases() {
            let url = environment.database_url(database.short_name());
            assert_eq!(tables_of_others(&url).await.unwrap(), Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn what_somebody_else_put_into_ours_stays() {
        let url = somewhere();
        let database = Database::ours(&url);
        database.make().await.unwrap();
        let mut inside = connect(&url).await.unwrap();
        for sql in [
            "CREATE TABLE orders ()",
            "CREATE SCHEMA theirs",
            "CREATE TABLE theirs.orders ()",
        ] {
            inside.execute(sql).await.unwrap();
        }
        let error = drop_marked(&url, database.mark.as_deref().unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "it holds what is not ours: theirs.orders"
        );
        assert_eq!(database.clone().wipe().await, Some(database.clone()));
        inside.execute("DROP TABLE theirs.orders").await.unwrap();
        assert_eq!(database.wipe().await, None);
        assert!(is_missing(&url).await.unwrap());
    }

    #[tokio::test]
    async fn what_was_there_before_stays() {
        let url = somewhere();
        execute(format!("CREATE DATABASE {}", quoted(&url))).await;
        assert!(!is_missing(&url).await.unwrap());
        assert_eq!(Database::of_the_user(&url).wipe().await, None);
        assert!(!is_missing(&url).await.unwrap());
        execute(format!("DROP DATABASE {}", quoted(&url))).await;
    }

    #[tokio::test]
    async fn what_somebody_else_made_in_its_place_stays() {
        let url = somewhere();
        let database = Database::ours(&url);
        database.make().await.unwrap();
        execute(format!("DROP DATABASE {}", quoted(&url))).await;
        execute(format!("CREATE DATABASE {}", quoted(&url))).await;
        assert_eq!(database.wipe().await, None);
        assert!(!is_missing(&url).await.unwrap());
        execute(format!("DROP DATABASE {}", quoted(&url))).await;
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_dropped_the_next_time() {
        let [port] = test_support::servers::free_ports(1).unwrap()[..] else {
            unreachable!("one was asked for")
        };
        let database = Database::ours(&format!("postgres://postgres@127.0.0.1:{port}/order_db"));
        assert_eq!(database.clone().wipe().await, Some(database));
    }
}
