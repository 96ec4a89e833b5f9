//! AMQP 0-9-1 by hand: a publisher that says what no library would.
//!
//! Source: <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>, 4.2

use std::io;

use anyhow::Result;
use lapin::uri::AMQPUri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The largest frame that RabbitMQ takes, by default.
pub const FRAME_MAX: usize = 131_072;
/// What a frame has around its payload.
const FRAME_OVERHEAD: usize = 8;
const FRAME_END: u8 = 0xCE;
const CHANNEL: u16 = 1;

/// The type of a frame.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// A method, by the numbers of its class and its own.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);
const PUBLISH: Method = (60, 40);
const ACK: Method = (60, 80);

/// A connection with a channel that confirms.
#[derive(Debug)]
pub struct Wire(TcpStream);

/// A message, as bytes.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it is published.
    pub exchange: Vec<u8>,
    /// With which key.
    pub routing_key: Vec<u8>,
    /// The flags of its properties, and the properties.
    pub properties: Vec<u8>,
    /// What it carries.
    pub body: Vec<u8>,
}

impl Wire {
    /// Connects and opens a channel.
    ///
    /// # Errors
    /// The broker went away.
    pub async fn connect(url: &str) -> Result<Self> {
        let uri: AMQPUri = url.parse().map_err(anyhow::Error::msg)?;
        let authority = &uri.authority;
        let socket = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
        socket.set_nodelay(true)?;
        let mut wire = Self(socket);
        wire.0.write_all(b"AMQP\0\x00\x09\x01").await?;
        wire.expect(START).await?;
        let user = &authority.userinfo;
        let secret = format!("\0{}\0{}", user.username, user.password);
        let (client, locale) = (long(b""), short(b"en_US"));
        let answer = [client, short(b"PLAIN"), long(secret.as_bytes()), locale].concat();
        wire.say(0, START_OK, &answer).await?;
        wire.expect(TUNE).await?;
        let frame_max = u32::try_from(FRAME_MAX)?.to_be_bytes();
        let limits = [&[0, 8], &frame_max[..], &[0, 0]].concat();
        wire.say(0, TUNE_OK, &limits).await?;
        let vhost = [short(uri.vhost.as_bytes()), vec![0, 0]].concat();
        wire.say(0, OPEN, &vhost).await?;
        wire.expect(OPEN_OK).await?;
        wire.say(CHANNEL, CHANNEL_OPEN, &[0]).await?;
        wire.expect(CHANNEL_OPEN_OK).await?;
        wire.say(CHANNEL, CONFIRM_SELECT, &[0]).await?;
        wire.expect(CONFIRM_SELECT_OK).await?;
        Ok(wire)
    }

    /// Publishes `message`.
    ///
    /// # Errors
    /// RabbitMQ does not take it. The connection is of no use any more.
    pub async fn publish(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(&frames(message)).await?;
        self.expect(ACK).await
    }

    async fn say(&mut self, channel: u16, method: Method, arguments: &[u8]) -> io::Result<()> {
        let frame = frame(METHOD, channel, &call(method, arguments));
        self.0.write_all(&frame).await
    }

    /// Waits for `method`, which is what comes next unless RabbitMQ has something against us.
    async fn expect(&mut self, method: Method) -> io::Result<()> {
        let expected = call(method, &[]);
        loop {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).await?;
            let [kind, _, _, size @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes(size) as usize + 1];
            self.0.read_exact(&mut payload).await?;
            match kind {
                HEARTBEAT => {}
                METHOD if payload.starts_with(&expected) => return Ok(()),
                _ => return Err(io::Error::other(String::from_utf8_lossy(&payload))),
            }
        }
    }
}

fn frames(message: &Message) -> Vec<u8> {
    let Message {
        exchange,
        routing_key,
        properties,
        body,
    } = message;
    let arguments = [vec![0, 0], short(exchange), short(routing_key), vec![0]].concat();
    let size = body.len() as u64;
    let header = [&[0, 60, 0, 0], &size.to_be_bytes()[..], properties].concat();
    let mut frames = frame(METHOD, CHANNEL, &call(PUBLISH, &arguments));
    frames.extend(frame(HEADER, CHANNEL, &header));
    for part in body.chunks(FRAME_MAX - FRAME_OVERHEAD) {
        frames.extend(frame(BODY, CHANNEL, part));
    }
    frames
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = payload.len() as u32;
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(size.to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

fn call((class, id): Method, arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &id.to_be_bytes(), arguments].concat()
}

/// A short string, of which `bytes` are at most 255.
pub(super) fn short(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

/// A long string, or what else begins with its length.
pub(super) fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}
