//! What happens to the bytes between clients and one server.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Bytes that are forwarded at a time,
const CHUNK: usize = 16 * 1024;
/// and chunks that are under way in one direction; after that, the sender feels the stall.
const CHUNKS: usize = 64;

/// What it does to bytes and connections now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// How often everything was cut.
    pub(super) cuts: u64,
    /// How often everything was abandoned.
    pub(super) abandoned: u64,
    pub(super) stalled_until: Option<Instant>,
    pub(super) delay: Duration,
    pub(super) refusing: bool,
    /// Where new connections lead, when that is somewhere else than at first.
    pub(super) target: Option<SocketAddr>,
}

/// Listens on `port` (0 is a free one) and forwards to `target`, until the task is aborted: where it listens.
pub(super) async fn listen(
    port: u16,
    target: SocketAddr,
    modes: watch::Receiver<Mode>,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    Ok((address, tokio::spawn(accept(listener, target, modes))))
}

async fn accept(listener: TcpListener, target: SocketAddr, modes: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, which its client notices.
                let mode = *modes.borrow();
                if let Ok((client, _)) = accepted && !mode.refusing {
                    let target = mode.target.unwrap_or(target);
                    connections.spawn(connect(client, target, modes.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until both sides have said all, or it is cut.
async fn connect(client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    let Mode {
        cuts, abandoned, ..
    } = *modes.borrow();
    let (up, down) = (modes.clone(), modes.clone());
    let mut abandoning = modes.clone();
    let mut forwarding = pin!(async {
        // Without a server there is nothing to forward, and the client is closed, too.
        let server = TcpStream::connect(target).await?;
        // Small frames must not wait for each other: the proxy is to add no latency of its own.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::try_join!(
            forward(client_read, server_write, up),
            forward(server_read, client_write, down),
        )
    });
    let abandoned = async {
        let _ = abandoning
            .wait_for(|mode| mode.abandoned != abandoned)
            .await;
    };
    let forwarded = async {
        tokio::select! {
            _ = &mut forwarding => {}
            // The sockets stay open, and nobody reads or writes any more.
            () = abandoned => pending().await,
        }
    };
    tokio::select! {
        () = forwarded => {}
        _ = modes.wait_for(|mode| mode.cuts != cuts) => {}
    }
}

/// One direction, until its sender has said all.
async fn forward(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let (chunks, due) = mpsc::channel(CHUNKS);
    tokio::try_join!(read(from, chunks, modes.clone()), write(to, due, modes)).map(drop)
}

type Chunk = (Instant, Vec<u8>);

async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<Chunk>,
    modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        let due = Instant::now() + modes.borrow().delay;
        if chunks.send((due, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<Chunk>,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        not_stalled(&mut modes).await;
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}

async fn not_stalled(modes: &mut watch::Receiver<Mode>) {
    loop {
        let until = modes.borrow_and_update().stalled_until;
        let Some(until) = until.filter(|&until| until > Instant::now()) else {
            return;
        };
        tokio::select! {
            () = sleep_until(until) => {}
            _ = modes.changed() => {}
        }
    }
}
