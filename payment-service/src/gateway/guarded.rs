//! A gateway that is called within limits, and left alone while it does not answer.
//!
//! ```text
//! closed ──► calls beside each other, each with a timeout ──► most of the last ones failed ──► open
//!    ▲                                                                                           │
//!    └─ it worked ─ one call, and the others wait for what becomes of it ◄─ [`OPEN`] is over ────┘
//! ```

use std::{
    future::{Future, pending},
    num::NonZeroU16,
    time::Duration,
};

use anyhow::anyhow;
use common::config::{self, Vars};
use futures_util::FutureExt;
use recloser::{AsyncRecloser, Recloser};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};
use tracing::{info, warn};

use super::{Charge, Error, Gateway, PartialRefund, Refund, Verdict};
use crate::metrics::{CALL_SECONDS, CALLS, CIRCUIT_OPEN};

/// The last calls, by which a gateway is judged, ...
const JUDGED: usize = 20;
/// ... and the share of them that must have failed for it to be left alone.
const FAILED: f32 = 0.75;
/// How long it is left alone.
const OPEN: Duration = Duration::from_secs(5);

/// How many calls are made at once, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    concurrency: NonZeroU16,
    timeout: Duration,
}

impl Limits {
    /// Reads `PAYMENT_CONCURRENCY` and `PAYMENT_TIMEOUT_MS`.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        let default = NonZeroU16::new(256).expect("it is not 0");
        let milliseconds = "a number of milliseconds, at least 1";
        let timeout = vars.parse_if("PAYMENT_TIMEOUT_MS", 10_000, milliseconds, |ms| ms > 0)?;
        Ok(Self {
            concurrency: vars.parse("PAYMENT_CONCURRENCY", default, "a number from 1 to 65535")?,
            timeout: Duration::from_millis(timeout),
        })
    }
}

/// A gateway with limits and a circuit breaker.
#[derive(Debug)]
pub(crate) struct Guarded<G> {
    gateway: G,
    concurrency: NonZeroU16,
    timeout: Duration,
    permits: Semaphore,
    breaker: AsyncRecloser,
    /// When a call may be tried again; `None` while the circuit is closed.
    open_until: watch::Sender<Option<Instant>>,
    /// Whoever has it makes the one call that is made while the circuit is not closed.
    probe: Mutex<()>,
}

impl<G: Gateway> Guarded<G> {
    pub(crate) fn new(gateway: G, limits: Limits) -> Self {
        let breaker = Recloser::custom()
            .error_rate(FAILED)
            .closed_len(JUDGED)
            .half_open_len(1)
            .open_wait(OPEN)
            .build();
        Self {
            gateway,
            concurrency: limits.concurrency,
            timeout: limits.timeout,
            permits: Semaphore::new(limits.concurrency.get().into()),
            breaker: AsyncRecloser::from(breaker),
            open_until: watch::Sender::new(None),
            probe: Mutex::new(()),
        }
    }

    /// How many calls are made at once.
    pub(crate) fn concurrency(&self) -> u16 {
        self.concurrency.get()
    }

    /// Whether it is left alone.
    pub(crate) fn is_open(&self) -> bool {
        self.open_until.borrow().is_some()
    }

    /// Waits until a call can be made, or tried.
    pub(crate) async fn ready(&self) {
        let mut open_until = self.open_until.subscribe();
        let until = *open_until.borrow();
        if let Some(until) = until {
            let _ = timeout_at(until, open_until.wait_for(Option::is_none)).await;
        }
        // It is given back: what is taken now asks for as many as it needs.
        let _ = self.permits.acquire().await;
    }

    async fn call<T>(
        &self,
        kind: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let _permit = self.permits.acquire().await;
        let turn = if self.is_open() {
            Some(self.probe.lock().await)
        } else {
            None
        };
        // Where it works again by now, nobody need wait for this call.
        let _alone = turn.filter(|_| self.is_open());
        let started = Instant::now();
        let in_time = async {
            let late = |_| Err(Error::Away(anyhow!("no answer within {:?}", self.timeout)));
            timeout(self.timeout, call).await.unwrap_or_else(late)
        };
        let result = match self.breaker.call_with(Error::is_transient, in_time).await {
            Ok(done) => Ok(done),
            Err(recloser::Error::Inner(error)) => Err(error),
            Err(recloser::Error::Rejected) => {
                self.open();
                return Err(Error::Away(anyhow!("too many calls in a row failed")));
            }
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(Error::Away(_)) => "away",
            Err(Error::Refused(_)) => "refused",
        };
        CALLS.add(&[kind, outcome], 1);
        CALL_SECONDS.record(&[kind], started.elapsed().as_secs_f64());
        match (self.is_rejecting(), self.is_open()) {
            (true, _) => self.open(),
            (false, true) => self.close(),
            (false, false) => {}
        }
        result
    }

    /// Whether the circuit breaker would reject a call: one that does not end is not counted.
    fn is_rejecting(&self) -> bool {
        let call = self.breaker.call(pending::<Result<(), ()>>());
        matches!(call.now_or_never(), Some(Err(recloser::Error::Rejected)))
    }

    /// Leaves the gateway alone for a while.
    fn open(&self) {
        let until = Instant::now() + OPEN;
        if self.open_until.send_replace(Some(until)).is_none() {
            CIRCUIT_OPEN.set(&[], 1.0);
            warn!(
                "the payment gateway does not work: from now on one call is tried every {OPEN:?}"
            );
        }
    }

    fn close(&self) {
        if self.open_until.send_replace(None).is_some() {
            CIRCUIT_OPEN.set(&[], 0.0);
            info!("the payment gateway works again");
        }
    }
}

impl<G: Gateway> Gateway for Guarded<G> {
    fn refuses_refunded_keys(&self) -> bool {
        self.gateway.refuses_refunded_keys()
    }

    async fn charge(&self, charge: Charge<'_>) -> Result<Verdict, Error> {
        self.call("charge", self.gateway.charge(charge)).await
    }

    async fn refund(&self, refund: Refund<'_>) -> Result<(), Error> {
        self.call("refund", self.gateway.refund(refund)).await
    }

    async fn refund_part(&self, part: PartialRefund<'_>) -> Result<(), Error> {
        self.call("refund_part", self.gateway.refund_part(part))
            .await
    }
}
