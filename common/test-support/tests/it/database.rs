//! Connections that were given up.

use common::{
    config::{DatabaseConfig, Secret},
    db::{self, PinnedConnection},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection, PgPool};
use test_support::{Environment, Proxy, eventually};
use tokio::time::{Duration, timeout};

fn pool(url: &str) -> PgPool {
    let config = DatabaseConfig {
        url: Secret::new(url),
        max_connections: 4,
    };
    db::pool("test", &config).expect("the URL is one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_forgotten_does_not_come_back_with_its_connection() {
    let environment = Environment::new().await;
    let pool = pool(&environment.database_url("order"));
    for _ in 0..10 {
        let mut connection = pool.acquire().await.unwrap();
        connection.execute("SELECT 1").await.unwrap();
        drop(connection);
        eventually(
            "it is back",
            || async { pool.num_idle() },
            |idle| *idle == 1,
        )
        .await;
    }
    let mut connection = pool.acquire().await.unwrap();
    // As of a transaction whose begin was dropped: sqlx knows nothing of it.
    connection.execute("BEGIN").await.unwrap();
    drop(connection);
    eventually("it is closed", || async { pool.size() }, |size| *size == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_which_nothing_can_be_written_is_left_at_once() {
    let environment = Environment::new().await;
    let url = environment.database_url("order");
    let pool = pool(&url);
    let pinned = PinnedConnection::new(pool.clone());
    let mut connection = pinned.take().await.unwrap();
    set_read_only(&environment, true).await;
    // As of a setting that was changed while the connection stood.
    let read_only = "SET default_transaction_read_only = on";
    connection.execute(read_only).await.unwrap();
    pinned.put_back(connection);
    let mut connection = pinned.take().await.unwrap();
    let refused = connection.execute("CREATE TABLE t ()").await;
    assert_eq!(code(&refused.unwrap_err()), "25006");
    drop(connection);
    eventually("it is closed", || async { pool.size() }, |size| *size == 0).await;
    assert!(pool.acquire().await.is_err(), "a new one is not used");

    set_read_only(&environment, false).await;
    let mut connection = pinned.take().await.unwrap();
    connection.execute("CREATE TABLE t ()").await.unwrap();
}

fn code(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.expect("PostgreSQL refuses").into_owned()
}

/// Makes the order service's database one that nothing can be written to, or ends that, for connections that are made
/// from now on.
async fn set_read_only(environment: &Environment, read_only: bool) {
    let url = environment.database_url("order");
    let (_, name) = db::maintenance(&Secret::new(url.as_str())).expect("it names a database");
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
    let mut connection = PgConnection::connect(&url).await.expect("it answers");
    for sql in ["SET default_transaction_read_only = off".to_owned(), alter] {
        let done = connection.execute(AssertSqlSafe(sql)).await;
        done.expect("a superuser may");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_server_that_has_vanished_is_closed() {
    let environment = Environment::new().await;
    let database = environment.database_url("order");
    let (proxy, url) = Proxy::before(&database).await.unwrap();
    let pool = pool(url.as_str());
    let pinned = PinnedConnection::new(pool.clone());
    pinned.put_back(pinned.take().await.unwrap());
    proxy.abandon();

    let mut connection = pinned.take().await.unwrap();
    let question = connection.execute("SELECT 1");
    assert!(timeout(Duration::from_millis(300), question).await.is_err());
    drop(connection);
    eventually("it is closed", || async { pool.size() }, |size| *size == 0).await;
    pool.acquire()
        .await
        .unwrap()
        .execute("SELECT 1")
        .await
        .unwrap();
}
