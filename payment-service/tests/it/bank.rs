//! A gateway with a ledger, which can be slow, away, and looked into.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use payment_service::gateway::{Charge, Error, Gateway, PartialRefund, Refund, Verdict};
use test_support::eventually;
use tokio::sync::watch;

/// Clones are the same bank.
#[derive(Clone)]
pub(crate) struct Bank(Arc<Inner>);

struct Inner {
    refuses_refunded_keys: bool,
    /// The charges, by idempotency key.
    accounts: Mutex<HashMap<String, Account>>,
    /// Idempotency keys of the parts that were given back.
    parts: Mutex<HashSet<String>>,
    away: AtomicBool,
    careless: AtomicBool,
    /// Keys of charges that it does not answer to.
    silent: Mutex<HashSet<String>>,
    /// Keys of charges that it fails for good.
    refused: Mutex<HashSet<String>>,
    /// Keys of charges whose next request is on its way for long.
    late: Mutex<HashSet<String>>,
    /// Keys of charges whose next answer is lost.
    unanswered: Mutex<HashSet<String>>,
    calls: AtomicUsize,
    /// Late requests are held up here, whatever becomes of those who made them.
    arrivals: Gate,
    /// Held up before the money moves.
    charges: Gate,
    /// Held up after the money has moved.
    refunds: Gate,
}

/// What was charged, and what of it was given back; hundredths.
struct Account {
    charged: i64,
    given_back: i64,
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
    /// A bank that says that it refuses keys that were refunded. It does not, so what is charged all the same has to be
    /// noticed.
    pub(crate) fn new() -> Self {
        Self::that_refuses(true)
    }

    /// A bank that charges under a key that was refunded, and says so.
    pub(crate) fn that_forgets_refunds() -> Self {
        let bank = Self::that_refuses(false);
        bank.0.arrivals.close();
        bank
    }

    fn that_refuses(refuses_refunded_keys: bool) -> Self {
        Self(Arc::new(Inner {
            refuses_refunded_keys,
            accounts: Mutex::default(),
            parts: Mutex::default(),
            away: AtomicBool::new(false),
            careless: AtomicBool::new(false),
            silent: Mutex::default(),
            refused: Mutex::default(),
            late: Mutex::default(),
            unanswered: Mutex::default(),
            calls: AtomicUsize::new(0),
            arrivals: Gate::new(),
            charges: Gate::new(),
            refunds: Gate::new(),
        }))
    }

    /// Where late requests wait.
    pub(crate) fn arrivals(&self) -> &Gate {
        &self.0.arrivals
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

    /// From now on it gives back more than was charged, as no gateway should.
    pub(crate) fn be_careless(&self) {
        self.0.careless.store(true, Ordering::SeqCst);
    }

    /// It does not answer to a charge under `key` until [`Self::answer_all`].
    pub(crate) fn be_silent_about(&self, key: &str) {
        self.0.silent.lock().unwrap().insert(key.to_owned());
    }

    pub(crate) fn answer_all(&self) {
        self.0.silent.lock().unwrap().clear();
    }

    /// It will never make a charge under `key`, and never say that it declines.
    pub(crate) fn refuse(&self, key: &str) {
        self.0.refused.lock().unwrap().insert(key.to_owned());
    }

    /// The next request for a charge under `key` comes in only when arrivals are open, also where nobody waits for it
    /// any more.
    pub(crate) fn delay(&self, key: &str) {
        self.0.late.lock().unwrap().insert(key.to_owned());
    }

    /// The next charge under `key` is made, and its answer never comes.
    pub(crate) fn lose_answer(&self, key: &str) {
        self.0.unanswered.lock().unwrap().insert(key.to_owned());
    }

    /// Calls so far, also those in vain.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Charges ever made.
    pub(crate) fn charged(&self) -> usize {
        self.0.accounts.lock().unwrap().len()
    }

    /// Whether the money that was charged under `key` is held.
    pub(crate) fn holds_money_of(&self, key: &str) -> bool {
        self.held(key) > 0
    }

    /// How much of what was charged under `key` is held; hundredths.
    pub(crate) fn held(&self, key: &str) -> i64 {
        let accounts = self.0.accounts.lock().unwrap();
        accounts.get(key).map_or(0, |a| a.charged - a.given_back)
    }

    /// Takes the money, unless that was done under this key before. It gets the same answer then, as real gateways do
    /// it.
    fn take(&self, key: &str, charged: i64) -> Verdict {
        let new = Account {
            charged,
            given_back: 0,
        };
        let mut accounts = self.0.accounts.lock().unwrap();
        accounts.entry(key.to_owned()).or_insert(new);
        Verdict::Captured {
            gateway_id: key.to_owned(),
        }
    }

    /// Gives a part back, unless that was done before.
    fn move_part(&self, part: PartialRefund<'_>) -> Result<(), Error> {
        let mut parts = self.0.parts.lock().unwrap();
        if parts.contains(part.idempotency_key) {
            return Ok(());
        }
        let mut accounts = self.0.accounts.lock().unwrap();
        let refused = |why| Error::Refused(anyhow::anyhow!("{why}"));
        let account = accounts
            .get_mut(part.charge_key)
            .ok_or_else(|| refused("no such charge"))?;
        let given_back = account.given_back + part.amount.minor();
        if given_back > account.charged && !self.0.careless.load(Ordering::SeqCst) {
            return Err(refused("more than was charged"));
        }
        account.given_back = given_back;
        parts.insert(part.idempotency_key.to_owned());
        Ok(())
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
    fn refuses_refunded_keys(&self) -> bool {
        self.0.refuses_refunded_keys
    }

    async fn charge(&self, charge: Charge<'_>) -> Result<Verdict, Error> {
        self.answer()?;
        let key = charge.idempotency_key;
        if self.0.silent.lock().unwrap().contains(key) {
            std::future::pending::<()>().await;
        }
        if self.0.refused.lock().unwrap().contains(key) {
            return Err(Error::Refused(anyhow::anyhow!("this card is on fire")));
        }
        let amount = charge.amount.minor();
        if self.0.late.lock().unwrap().remove(key) {
            let (bank, key) = (self.clone(), key.to_owned());
            let request = tokio::spawn(async move {
                bank.0.arrivals.pass().await;
                bank.take(&key, amount)
            });
            return Ok(request.await.unwrap());
        }
        self.0.charges.pass().await;
        let verdict = self.take(key, amount);
        if self.0.unanswered.lock().unwrap().remove(key) {
            std::future::pending::<()>().await;
        }
        Ok(verdict)
    }

    async fn refund(&self, refund: Refund<'_>) -> Result<(), Error> {
        self.answer()?;
        let key = refund.charge_key;
        assert!(self.0.refuses_refunded_keys || refund.charge.is_some());
        if let Some(account) = self.0.accounts.lock().unwrap().get_mut(key) {
            if let Some(charge) = refund.charge {
                assert_eq!(charge.gateway_id, key);
                assert!(charge.amount.minor() >= account.charged - account.given_back);
            }
            account.given_back = account.charged;
        }
        self.0.refunds.pass().await;
        Ok(())
    }

    async fn refund_part(&self, part: PartialRefund<'_>) -> Result<(), Error> {
        self.answer()?;
        self.move_part(part)?;
        self.0.refunds.pass().await;
        Ok(())
    }
}
