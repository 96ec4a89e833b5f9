//! A proxy on the wire, between a service and a server, that makes trouble when it is told to.
//!
//! ```text
//! client ──► read ─► chunks, each due after the delay ─► write ──► server      the same back;
//!                                                          ▲                   all of it ends on cut()
//!                                              waits here while stalled
//! ```

mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use self::wire::{Mode, listen};

/// A TCP proxy on 127.0.0.1. Dropping it ends all of its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// One for each server.
    accepting: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `listen_port` (0 is a free one) and forwards to `target`, which need not be there yet.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(listen_port: u16, target: SocketAddr) -> io::Result<Self> {
        let (mode, modes) = watch::channel(Mode::default());
        let (address, accepting) = listen(listen_port, target, modes).await?;
        Ok(Self {
            address,
            mode,
            accepting: vec![accepting],
        })
    }

    /// A proxy before the server of `url`, on a free port, and the same URL at the proxy.
    ///
    /// # Errors
    /// The URL names no server.
    pub async fn before(url: &str) -> Result<(Self, Url)> {
        let url = Url::parse(url)?;
        let proxy = Self::start(0, server_of(&url)?).await?;
        let url = moved_to(proxy.address, url)?;
        Ok((proxy, url))
    }

    /// Puts the proxy before the server of another `url`, too: whatever it does, it does on both ways. Returns that URL at
    /// the proxy.
    ///
    /// # Errors
    /// The URL names no server.
    pub async fn also_before(&mut self, url: &str) -> Result<Url> {
        let url = Url::parse(url)?;
        let (address, accepting) = listen(0, server_of(&url)?, self.mode.subscribe()).await?;
        self.accepting.push(accepting);
        moved_to(address, url)
    }

    /// Where it listens for clients of its first server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to the server of `url`. Those that stand are left alone.
    ///
    /// # Errors
    /// The URL names no server.
    pub fn lead_to(&self, url: &str) -> Result<()> {
        let target = server_of(&Url::parse(url)?)?;
        self.mode.send_modify(|mode| mode.target = Some(target));
        Ok(())
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
                target: mode.target,
                ..Mode::default()
            };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

fn server_of(url: &Url) -> Result<SocketAddr> {
    let default_port = match url.scheme() {
        "amqp" => Some(5672),
        "postgres" | "postgresql" => Some(5432),
        _ => None,
    };
    let addresses = url.socket_addrs(|| default_port)?;
    let first = addresses.first().copied();
    first.context("the URL names no server")
}

fn moved_to(address: SocketAddr, mut url: Url) -> Result<Url> {
    url.set_host(Some("127.0.0.1"))?;
    let set = url.set_port(Some(address.port()));
    set.ok().context("the URL has no host")?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::servers::free_ports;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// A server that says back what it hears.
    async fn server() -> SocketAddr {
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
        target
    }

    /// The same behind a proxy.
    async fn echo() -> Proxy {
        Proxy::start(0, server().await).await.unwrap()
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
    async fn new_connections_can_be_led_elsewhere() {
        let proxy = echo().await;
        let mut before = client(&proxy).await;
        assert!(say(&mut before, b"hello").await);
        let nowhere = free_ports(1).unwrap()[0];
        let nowhere = format!("amqp://127.0.0.1:{nowhere}");
        proxy.lead_to(&nowhere).unwrap();
        proxy.heal();
        assert!(!say(&mut client(&proxy).await, b"hello").await);
        assert!(say(&mut before, b"hello").await);
        proxy
            .lead_to(&format!("amqp://{}", server().await))
            .unwrap();
        assert!(say(&mut client(&proxy).await, b"hello").await);
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
    async fn what_is_done_to_one_way_is_done_to_the_other() {
        let mut proxy = echo().await;
        let url = format!("amqp://{}", server().await);
        let other = proxy.also_before(&url).await.unwrap();
        let other = other.socket_addrs(|| None).unwrap()[0];
        assert_ne!(other, proxy.address());
        let mut ways = [
            client(&proxy).await,
            TcpStream::connect(other).await.unwrap(),
        ];
        for way in &mut ways {
            assert!(say(way, b"hello").await);
        }
        proxy.cut();
        for way in &mut ways {
            assert!(!say(way, b"hello").await);
        }
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
