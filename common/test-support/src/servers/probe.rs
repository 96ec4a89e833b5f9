//! Does it answer, and does it let us in?

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::{config::Secret, db};
use lapin::{Connection, ConnectionProperties};
use sqlx::Connection as _;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

/// Logs in to the database of `url` and asks it something.
///
/// # Errors
/// When nothing answers within five seconds, or it does not let us in.
pub async fn probe_postgres(url: &str) -> Result<()> {
    let options = db::options(&Secret::new(url))?;
    timeout(PATIENCE, async {
        let mut connection = sqlx::PgConnection::connect_with(&options).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    })
    .await
    .context("PostgreSQL does not answer")?
    .context("PostgreSQL refuses")
}

/// Opens an AMQP connection to the virtual host of `url`.
///
/// # Errors
/// When nothing answers within five seconds, or it does not let us in.
pub async fn probe_rabbitmq(url: &str) -> Result<()> {
    timeout(PATIENCE, async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        connection.close(200, "probe".into()).await
    })
    .await
    .context("RabbitMQ does not answer")?
    .context("RabbitMQ refuses")
}

/// `GET url`; user and password in it are sent as basic authentication.
///
/// # Errors
/// When there is no answer with a 2xx status within five seconds.
pub async fn probe_http(url: &str) -> Result<()> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .build()?;
    let status = client.get(url).send().await?.status();
    ensure!(status.is_success(), "it answers {status}");
    Ok(())
}
