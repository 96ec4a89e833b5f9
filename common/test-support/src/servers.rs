//! Private PostgreSQL and RabbitMQ servers from the machine's own packages, as an ordinary process on loopback.
//!
//! Two kinds of people start them: `devtool`, whose servers outlive it and are found again by their pid file, and tests that
//! stop, kill and restart a server, which must therefore have one of their own. Both keep to the same layout:
//! ```text
//! <dir>/postgres/        data                     <dir>/rabbitmq/        data, configuration, Erlang cookie
//! <dir>/run/<name>.pid   number and start time    <dir>/log/<name>.log   everything that the server says
//! ```
//! A server value is only its settings; what runs is read from the pid file every time. So `start` on a running server waits
//! until it is ready, `stop` on a stopped one does nothing, and a server can be stopped by another process than the one that
//! started it.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! let postgres = test_support::servers::PostgresServer::on_free_ports("target/my-test".as_ref()).await?;
//! postgres.kill().await?; // as in a power cut
//! postgres.start().await?; // same port, same data
//! # Ok(()) } // dropped: stopped, and its data removed
//! ```

mod cluster;
mod guardian;
mod leftovers;
mod ports;
mod postgres;
mod probe;
mod process;
mod rabbitmq;

pub use cluster::RabbitMqCluster;
pub use leftovers::{remove, stop_left_over};
pub use ports::{free_ports, is_free};
pub use postgres::PostgresServer;
pub use probe::{probe_http, probe_postgres, probe_rabbitmq};
pub use process::{Files, Process, Signal, detached, tail, wait_ready};
pub use rabbitmq::RabbitMqServer;

use std::path::Path;

use url::Url;

/// `scheme://user:password@127.0.0.1:port/path`, percent-encoded where needed.
fn loopback_url(scheme: &str, user: &str, password: &str, port: u16, path: &str) -> String {
    let mut url =
        Url::parse(&format!("{scheme}://127.0.0.1:{port}{path}")).expect("made of valid parts");
    // Setting encodes whatever needs it, but takes a `%` for the beginning of something encoded.
    url.set_username(&user.replace('%', "%25"))
        .and_then(|()| url.set_password(Some(&password.replace('%', "%25"))))
        .expect("a URL with a host takes both");
    url.into()
}

/// What to do about data that the installed version of a server cannot read.
fn made_by_another(server: &str, made_by: &str, version: &str, data: &Path) -> String {
    let data = data.display();
    format!(
        "{data} was made by {server} {made_by}, and {version} is installed: `./dev down --wipe` drops the data; \
         or install {made_by} again"
    )
}

#[cfg(test)]
mod tests {
    use common::db::credentials;

    use super::*;

    #[test]
    fn credentials_survive_the_url() {
        let url = loopback_url("amqp", "a b", "p@ss/%41é", 1, "/");
        let (user, password) = credentials(&url).unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("a b", "p@ss/%41é"));
    }
}
