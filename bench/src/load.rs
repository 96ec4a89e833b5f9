//! Clients that place orders over HTTP, each with a connection that it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::now;
use crate::orders::Orders;

/// An order that was accepted. Times are those of [`now`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shot {
    pub(crate) order: Uuid,
    /// When it was to be sent; later than that, the system or the driver was too slow.
    pub(crate) due: i64,
    pub(crate) answered: i64,
}

/// What the clients did.
#[derive(Debug, Default)]
pub(crate) struct Fired {
    pub(crate) accepted: Vec<Shot>,
    /// When requests were answered 503.
    pub(crate) refused: Vec<i64>,
}

/// When the next order is due.
#[derive(Debug)]
pub(crate) enum Tickets {
    /// At once, until the time.
    Saturated(i64),
    /// As soon as one of the orders before has ended, until the time.
    Closed(i64, Arc<Semaphore>),
    /// At a fixed rate, whatever becomes of the orders before.
    Paced(Mutex<UnboundedReceiver<i64>>),
}

impl Tickets {
    /// `rate` a second until the time, or until `stop`.
    pub(crate) fn paced(rate: u32, until: i64, stop: Arc<AtomicBool>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        // A thread of its own sleeps to some 50 µs; the timers of tokio round up to the next millisecond.
        std::thread::spawn(move || {
            let start = now();
            let mut due = start;
            for n in 1.. {
                if due >= until || stop.load(Ordering::Relaxed) || sender.send(due).is_err() {
                    return;
                }
                due = start + n * 1_000_000 / i64::from(rate);
                let wait = u64::try_from(due - now()).unwrap_or_default();
                std::thread::sleep(Duration::from_micros(wait));
            }
        });
        Self::Paced(Mutex::new(receiver))
    }

    /// When the next order is to be sent: now or in the past. `None`: no more.
    async fn next(&self) -> Option<i64> {
        let until = match self {
            Self::Paced(due) => return due.lock().await.recv().await,
            Self::Closed(until, ended) => {
                ended.acquire().await.ok()?.forget();
                until
            }
            Self::Saturated(until) => until,
        };
        let now = now();
        if now >= *until {
            // The others need not wait for another end.
            if let Self::Closed(_, ended) = self {
                ended.close();
            }
            return None;
        }
        Some(now)
    }
}

/// Has clients, spread over `addresses`, place orders until there are no more tickets.
///
/// # Errors
/// A connection breaks, or an order is refused otherwise than with a 503 that says when to come again.
pub(crate) async fn fire(
    addresses: &[String],
    clients: usize,
    tickets: Tickets,
    orders: Orders,
) -> Result<Fired> {
    let shared = Arc::new((tickets, orders));
    let mut running = JoinSet::new();
    for address in addresses.iter().cycle().take(clients) {
        let shared = Arc::clone(&shared);
        let connection = connect(address).await?;
        running.spawn(async move { client(connection, &shared.0, &shared.1).await });
    }
    let mut all = Fired::default();
    while let Some(fired) = running.join_next().await {
        let fired = fired.context("a client panicked")??;
        all.accepted.extend(fired.accepted);
        all.refused.extend(fired.refused);
    }
    Ok(all)
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(address: &str) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    // Its error is the request's, too.
    tokio::spawn(driver);
    Ok(connection)
}

async fn client(mut connection: Connection, tickets: &Tickets, orders: &Orders) -> Result<Fired> {
    let mut fired = Fired::default();
    while let Some(due) = tickets.next().await {
        let request = Request::post("/orders")
            .header(HOST, "bench")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(orders.next()))?;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let says_when = answer.headers().contains_key(RETRY_AFTER);
        let body = answer.into_body().collect().await?.to_bytes();
        if status == StatusCode::CREATED {
            fired.accepted.push(Shot {
                order: order_id(&body).context("an answer without an order's id")?,
                due,
                answered: now(),
            });
        } else if status == StatusCode::SERVICE_UNAVAILABLE && says_when {
            fired.refused.push(now());
        } else {
            let said = String::from_utf8_lossy(&body);
            bail!("placing an order was answered {status}: {said}");
        }
    }
    Ok(fired)
}

/// The order's id, without reading the rest.
fn order_id(body: &[u8]) -> Option<Uuid> {
    const NAME: &[u8] = br#""orderId":""#;
    let at = body.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    Uuid::try_parse_ascii(body.get(at..at + 36)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_is_found() {
        let id = Uuid::from_u128(7);
        let body = format!(r#"{{"currency":"USD","orderId":"{id}","sagaId":"x"}}"#);
        assert_eq!(order_id(body.as_bytes()), Some(id));
        assert_eq!(order_id(br#"{"orderId":"7"}"#), None);
    }

    #[tokio::test]
    async fn paced_orders_are_due_at_the_rate_however_late_they_are_asked_for() {
        let stop = Arc::new(AtomicBool::new(false));
        let tickets = Tickets::paced(5000, i64::MAX, Arc::clone(&stop));
        let mut due = Vec::new();
        while due.len() < 10 {
            due.extend(tickets.next().await);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(
            due.windows(2).all(|pair| pair[1] - pair[0] == 200),
            "{due:?}"
        );
    }
}
