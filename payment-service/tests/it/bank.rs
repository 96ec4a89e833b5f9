//! A gateway with a ledger, which can be slow, away, and looked into.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use payment_service::gateway::{Charge, Error, Gateway, Verdict};
use test_support::eventually;
use tokio::sync::watch;

/// Clones are the same bank.
#[derive(Clone)]
pub(crate) struct Bank(Arc<Inner>);

struct Inner {
    /// By idempotency key: whether the money of the charge is still held.
    held: Mutex<HashMap<String, bool>>,
    away: AtomicBool,
    calls: AtomicUsize,
    /// Held up before the money moves.
    charges: Gate,
    /// Held up after the money has moved.
    refunds: Gate,
}

/// Callers wait while it is closed.
pub(crate) struct Gate {
    open: watch::Sender<bool>,
    held_up: AtomicUsize,
}

impl Gate {
    fn new() -> Self {
        Self {
            open: watch::Sender::new(true),
            held_up: AtomicUsize::new(0),
        }
    }

    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Callers that are held up now.
    pub(crate) fn held_up(&self) -> usize {
        self.held_up.load(Ordering::SeqCst)
    }

    /// Waits until `count` callers are held up at once.
    pub(crate) async fn holds(&self, count: usize) {
        let held_up = async || self.held_up();
        eventually("callers are held up", held_up, |n| *n == count).await;
    }

    async fn pass(&self) {
        self.held_up.fetch_add(1, Ordering::SeqCst);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        self.held_up.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Bank {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            held: Mutex::default(),
            away: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            charges: Gate::new(),
            refunds: Gate::new(),
        }))
    }

    pub(crate) fn charges(&self) -> &Gate {
        &self.0.charges
    }

    pub(crate) fn refunds(&self) -> &Gate {
        &self.0.refunds
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    /// Calls so far, also those in vain.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Charges ever made.
    pub(crate) fn charged(&self) -> usize {
        self.0.held.lock().unwrap().len()
    }

    /// Whether the money that was charged under `key` is held.
    pub(crate) fn holds_money_of(&self, key: &str) -> bool {
        self.0
            .held
            .lock()
            .unwrap()
            .get(key)
            .copied()
            .unwrap_or_default()
    }

    fn answer(&self) -> Result<(), Error> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if self.0.away.load(Ordering::SeqCst) {
            return Err(Error::Away(anyhow::anyhow!("closed for the day")));
        }
        Ok(())
    }
}

impl Gateway for Bank {
    async fn charge(&self, charge: Charge<'_>) -> Result<Verdict, Error> {
        self.answer()?;
        self.0.charges.pass().await;
        let key = charge.idempotency_key;
        // A key that is known gets the same answer, and no money moves, as real gateways do it.
        self.0
            .held
            .lock()
            .unwrap()
            .entry(key.to_owned())
            .or_insert(true);
        Ok(Verdict::Captured {
            gateway_id: key.to_owned(),
        })
    }

    async fn refund(&self, key: &str) -> Result<(), Error> {
        self.answer()?;
        if let Some(held) = self.0.held.lock().unwrap().get_mut(key) {
            *held = false;
        }
        self.0.refunds.pass().await;
        Ok(())
    }
}
