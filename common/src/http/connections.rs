//! Connections of clients: taken while there is room, served, and closed when nothing comes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Connections that are open at once. More of them wait until one is closed.
const CONNECTIONS_MAX: usize = 8192;
/// How long the header of a request may take, from when the connection could carry it. Balancers close idle connections
/// after a minute; whoever closes one must not be faster than whoever sends on it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests that are in flight when the service stops have this long to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nobody is taken when nobody can be, for lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Binds the address of an API.
///
/// # Errors
/// It is in use, or it is not one of this machine.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}: is it in use?"))
}

/// Serves until `shutdown`, and then until the requests in flight are answered.
pub(super) async fn serve(listener: TcpListener, api: Router, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(api.clone()));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a client's connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, open.shutdown()).await.is_err() {
        warn!("some requests did not end in time");
    }
}

/// The next connection, when there is room for it. None where it was gone before, or none can be had for the moment.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Nagle's algorithm would hold small answers back for the peer's delayed ack.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) if is_the_clients(&error) => None,
        Err(error) => {
            warn!(%error, "no connections can be taken");
            sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// A server for tests, which they speak to by hand.
#[cfg(test)]
pub(super) mod testing {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    pub(in crate::http) async fn serving(api: Router) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, api, shutdown.clone()));
        (address, shutdown)
    }

    /// A connection on which this was sent, and nothing else will be.
    pub(in crate::http) async fn send(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// All that is said until the server closes the connection.
    pub(in crate::http) async fn answer(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use serde_json::Value;
    use tokio::sync::{Mutex, oneshot};

    use super::{
        testing::{answer, send, serving},
        *,
    };
    use crate::http::extract::Body;

    /// Time is tokio's, which goes on when nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_end_ends_its_connection() {
        let api = Router::new().route("/", get(|| async { "well" }));
        let (address, _shutdown) = serving(api).await;
        for sent in ["", "GET / HTT", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let stream = send(address, sent).await;
            let ended = timeout(HEADER_TIMEOUT * 2, answer(stream)).await;
            assert_eq!(ended.unwrap().contains("well"), sent.contains("host"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_refused() {
        let api = Router::new().route("/", post(async |Body(_): Body<Value>| "well"));
        let (address, _shutdown) = serving(api).await;
        let header = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                      content-type: application/json\r\ncontent-length: 9\r\n\r\n{";
        let answer = answer(send(address, header).await).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test]
    async fn what_is_in_flight_is_answered_when_the_service_stops() {
        let (begun, begins) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let once = Arc::new(Mutex::new(Some((begun, may_go_on))));
        let slow = get(async move || {
            let (begun, may_go_on) = once.lock().await.take().unwrap();
            let _ = begun.send(());
            let _ = may_go_on.await;
            "well"
        });
        let (address, shutdown) = serving(Router::new().route("/", slow)).await;
        let stream = send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        begins.await.unwrap();
        shutdown.cancel();
        // Nobody listens any more, and the answer comes all the same.
        while TcpStream::connect(address).await.is_ok() {}
        go_on.send(()).unwrap();
        assert!(answer(stream).await.contains("well"));
    }
}
