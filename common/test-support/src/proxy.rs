//! A proxy on the wire, between a service and a server, that makes trouble when it is told to.
//!
//! ```text
//! client ──► read ─► chunks, each due after the delay ─► write ──► server      the same back;
//!                                                          ▲                   all of it ends on cut()
//!                                              waits here while stalled
//! ```

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use url::Url;

/// Bytes that are forwarded at a time,
const CHUNK: usize = 16 * 1024;
/// and chunks that are under way in one direction; after that, the sender feels the stall.
const CHUNKS: usize = 64;

/// A TCP proxy on 127.0.0.1. Dropping it ends all of its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

/// What it does to bytes and connections now.
#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    /// How often everything was cut.
    cuts: u64,
    /// How often everything was abandoned.
    abandoned: u64,
    stalled_until: Option<Instant>,
    delay: Duration,
    refusing: bool,
}

impl Proxy {
    /// Listens on `listen_port` (0 is a free one) and forwards to `target`, which need not be there yet.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(listen_port: u16, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", listen_port)).await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::default());
        let accepting = tokio::spawn(accept(listener, target, modes));
        Ok(Self {
            address,
            mode,
            accepting,
        })
    }

    /// A proxy before the server of `url`, on a free port, and the same URL at the proxy.
    ///
    /// # Errors
    /// The URL names no server.
    pub async fn before(url: &str) -> Result<(Self, Url)> {
        let mut url = Url::parse(url)?;
        let default_port = match url.scheme() {
            "amqp" => Some(5672),
            "postgres" | "postgresql" => Some(5432),
            _ => None,
        };
        let target = url.socket_addrs(|| default_port)?;
        let target = target.first().context("the URL names no server")?;
        let proxy = Self::start(0, *target).await?;
        url.set_host(Some("127.0.0.1"))?;
        let set = url.set_port(Some(proxy.address.port()));
        set.ok().context("the URL has no host")?;
        Ok((proxy, url))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops every connection now. New ones are welcome.
    pub fn cut(&self) {
        self.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Forwards nothing any more on connections that stand, and does not close them: their peer has vanished without a
    /// word. New ones are welcome.
    pub fn abandon(&self) {
        self.mode.send_modify(|mode| mode.abandoned += 1);
    }

    /// Forwards nothing for `duration`, in either direction, and loses nothing: connections stay, and new ones are accepted.
    pub fn stall(&self, duration: Duration) {
        let until = Instant::now() + duration;
        self.mode
            .send_modify(|mode| mode.stalled_until = Some(until));
    }

    /// Forwards whatever is read from now on `latency` later.
    pub fn delay(&self, latency: Duration) {
        self.mode.send_modify(|mode| mode.delay = latency);
    }

    /// Whether new connections are closed at once. Those that stand are left alone.
    pub fn refuse(&self, refuse: bool) {
        self.mode.send_modify(|mode| mode.refusing = refuse);
    }

    /// No trouble any more; what was stalled goes on.
    pub fn heal(&self) {
        self.mode.send_modify(|mode| {
            *mode = Mode {
                cuts: mode.cuts,
                abandoned: mode.abandoned,
                ..Mode::default()
            };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, modes: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error is that of one connection, which its client notices.
                if let Ok((client, _)) = accepted && !modes.borrow().refusing {
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

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// A server that says back what it hears, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::start(0, target).await.unwrap()
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// Says `word` and waits until it comes back, which is at most [`LONG`]; `false` when the connection ends.
    async fn say(stream: &mut TcpStream, word: &[u8]) -> bool {
        let mut heard = vec![0; word.len()];
        let both = async {
            stream.write_all(word).await?;
            stream.read_exact(&mut heard).await
        };
        let came_back = timeout(LONG, both).await.expect("an end").is_ok();
        came_back && heard == word
    }

    #[tokio::test]
    async fn all_bytes_come_through_in_order_and_ends_too() {
        let proxy = echo().await;
        let (mut from, mut to) = client(&proxy).await.into_split();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        let reading = from.read_to_end(&mut heard);
        timeout(LONG, reading).await.unwrap().unwrap();
        sending.await.unwrap();
        assert!(heard == expected);
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_new_ones_are_made() {
        let proxy = echo().await;
        let mut before = client(&proxy).await;
        assert!(say(&mut before, b"hello").await);
        proxy.cut();
        assert!(!say(&mut before, b"hello").await);
        assert!(say(&mut client(&proxy).await, b"hello").await);
    }

    #[tokio::test]
    async fn a_stall_loses_nothing_and_healing_ends_it() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        assert!(say(&mut stream, b"hello").await);
        proxy.stall(SHORT);
        let start = Instant::now();
        assert!(say(&mut stream, b"after a while").await);
        assert!(start.elapsed() >= SHORT);

        proxy.stall(LONG * 2);
        assert!(timeout(SHORT, say(&mut stream, b"a")).await.is_err());
        proxy.heal();
        let mut heard = [0];
        let reading = stream.read_exact(&mut heard);
        timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(&heard, b"a");
    }

    #[tokio::test]
    async fn a_stall_is_also_for_connections_that_are_made_meanwhile() {
        let proxy = echo().await;
        proxy.stall(SHORT);
        let start = Instant::now();
        assert!(say(&mut client(&proxy).await, b"hello").await);
        assert!(start.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn a_delay_is_added_in_both_directions() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        proxy.delay(SHORT);
        let start = Instant::now();
        assert!(say(&mut stream, b"hello").await);
        assert!(start.elapsed() >= SHORT * 2);
    }

    #[tokio::test]
    async fn refusing_is_for_new_connections() {
        let proxy = echo().await;
        let mut before = client(&proxy).await;
        assert!(say(&mut before, b"hello").await);
        proxy.refuse(true);
        assert!(!say(&mut client(&proxy).await, b"hello").await);
        assert!(say(&mut before, b"hello").await);
        proxy.heal();
        assert!(say(&mut client(&proxy).await, b"hello").await);
    }

    #[tokio::test]
    async fn a_dropped_proxy_ends_its_connections() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        assert!(say(&mut stream, b"hello").await);
        drop(proxy);
        assert!(!say(&mut stream, b"hello").await);
    }
}
