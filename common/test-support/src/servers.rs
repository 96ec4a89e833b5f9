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

mod guardian;
mod leftovers;
mod ports;
mod postgres;
mod probe;
mod process;
mod rabbitmq;

pub use leftovers::{remove, stop_left_over};
pub use ports::{free_ports, is_free};
pub use postgres::PostgresServer;
pub use probe::{probe_http, probe_postgres, probe_rabbitmq};
pub use process::{Files, Process, Signal, detached, tail, wait_ready};
pub use rabbitmq::RabbitMqServer;

use anyhow::Context as _;
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

/// User and password of `url`, decoded; an absent one is empty.
fn credentials(url: &Url) -> anyhow::Result<(String, String)> {
    let decode = |text: &str| {
        String::from_utf8(percent_decode(text.as_bytes()))
            .context("user and password in a URL must be UTF-8")
    };
    Ok((
        decode(url.username())?,
        decode(url.password().unwrap_or_default())?,
    ))
}

/// `%41` becomes `A`; a `%` that starts no such triple stays.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let triple = text[at..].strip_prefix(b"%").and_then(|rest| rest.get(..2));
        let hex = triple.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_the_url() {
        let url = loopback_url("amqp", "a b", "p@ss/%41é", 1, "/");
        let (user, password) = credentials(&Url::parse(&url).unwrap()).unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("a b", "p@ss/%41é"));
    }
}
