//! A connection's socket, from which lapin reads nothing that it cannot read.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_util::{
    Stream as Interval,
    io::{AsyncRead, AsyncWrite},
};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, tcp::AMQPUriTcpExt, uri::AMQPUri};

use super::legible::Legible;

/// How much is read at once.
const READ_MAX: usize = 16 * 1024;

/// Connects to the broker at `url`, for a program that reads what anybody may have written. A connection that lapin makes
/// ends the process when a header is nested too deeply.
///
/// # Errors
/// It is no AMQP URL, or the broker does not let us in.
pub async fn connect_to(url: &str) -> lapin::Result<Connection> {
    let uri = url.parse().map_err(io::Error::other)?;
    connect(uri, ConnectionProperties::default()).await
}

/// Connects to `uri`.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let tokio = Runtime::tokio_current();
    let runtime = Runtime::new(RuntimeParts::new(
        Tokio::current(),
        Sockets(Tokio::current()),
    ));
    let connect = async move |uri: AMQPUri, _| {
        let stream = Stream::new(uri.connect_async(&tokio).await?, uri.query.frame_max);
        Ok(AsyncTcpStream::Plain(stream))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

/// What lapin reads from and writes to.
struct Stream {
    socket: AsyncTcpStream<<Tokio as Reactor>::TcpStream>,
    read: Box<[u8]>,
    legible: Legible,
}

impl Stream {
    fn new(socket: AsyncTcpStream<<Tokio as Reactor>::TcpStream>, frame_max: Option<u32>) -> Self {
        Self {
            socket,
            read: vec![0; READ_MAX].into(),
            legible: Legible::new(frame_max),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let pulled = this.legible.pull(buffer);
            if pulled > 0 {
                return Poll::Ready(Ok(pulled));
            }
            let read = Pin::new(&mut this.socket).poll_read(context, &mut this.read);
            match ready!(read)? {
                0 => return Poll::Ready(Ok(0)),
                length => this.legible.push(&this.read[..length]),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_close(context)
    }
}

/// Tokio's sockets and timers, so that lapin knows of [`Stream`].
#[derive(Clone, Debug)]
struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Stream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Interval<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Stream>> + Send + 'static {
        let socket = self.0.tcp_connect_addr(address);
        async move { Ok(Stream::new(AsyncTcpStream::Plain(socket.await?), None)) }
    }
}
