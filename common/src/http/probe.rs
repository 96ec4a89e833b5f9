//! What a container's health check asks: the program that listens beside it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the program that listens at `address` says that it lives.
pub(crate) async fn is_alive(address: SocketAddr) -> bool {
    matches!(
        timeout(TIMEOUT, ask(reachable(address))).await,
        Ok(Ok(true))
    )
}

/// Where to reach who listens at `address`: all addresses of a machine are none that one could connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).await?;
    Ok(status_line.ends_with(b"200"))
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    /// Listens at `ip` and answers with `status`; nobody listens at other addresses with this port.
    async fn listener(ip: &str, status: StatusCode) -> SocketAddr {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Router::new().route("/health/live", get(async move || status));
        tokio::spawn(async move { axum::serve(listener, api).await });
        address
    }

    #[tokio::test]
    async fn the_address_that_is_configured_is_asked() {
        for ip in ["127.0.0.1", "127.0.0.2", "0.0.0.0"] {
            let address = listener(ip, StatusCode::OK).await;
            assert!(is_alive(address).await, "{address}");
        }
        let elsewhere = listener("127.0.0.2", StatusCode::OK).await;
        let not_there = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), elsewhere.port());
        assert!(!is_alive(not_there).await);
    }

    // A machine need not have IPv6.
    #[test]
    fn all_addresses_are_asked_at_loopback() {
        for (configured, asked) in [
            ("[::]:1", "[::1]:1"),
            ("[::1]:1", "[::1]:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
        ] {
            assert_eq!(
                reachable(configured.parse().unwrap()),
                asked.parse().unwrap()
            );
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_or_says_no_does_not_live() {
        let address = listener("127.0.0.1", StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(!is_alive(address).await);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(!is_alive(silent.local_addr().unwrap()).await);
    }
}
