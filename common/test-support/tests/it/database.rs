//! Connections that were given up.

use common::{
    config::{DatabaseConfig, Secret},
    db::{self, PinnedConnection},
};
use sqlx::{Executor, PgPool};
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
