//! Doing what the schedule says.

mod broker;
mod nodes;
mod strangers;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use common::fleet;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use test_support::servers::Signal;
use test_support::{Shuffle, Shuffled, garbage};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::strangers::{BoundQueue, Takes};
use super::fault::{Fault, Kind, Link};
use super::schedule::Planned;
use super::system::{REFUND_REFUSAL_RATE, Replica, System};

/// How long messages are collected to be shuffled. Less than a step's deadline.
const COLLECT: Duration = Duration::from_millis(700);
/// Share of shuffled messages that come twice, in percent.
const TWICE_PERCENT: u8 = 40;
/// How long a shuffle may take that meets a broker which is going down.
const SHUFFLE_MAX: Duration = Duration::from_secs(20);
/// How often somebody looks whether all replicas run.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Faults by kind.
    pub(super) faults: BTreeMap<Kind, usize>,
    /// Messages that were re-ordered, and those of them that came twice.
    pub(super) shuffled: Shuffled,
    /// When RabbitMQ lost all of its data.
    pub(super) wiped: Vec<DateTime<Utc>>,
    /// Replicas that ended without being told to.
    pub(super) ended: Vec<String>,
}

/// Inflicts the schedule upon the system.
#[derive(Debug)]
pub(super) struct Torturer<'a> {
    system: &'a System,
    start: Instant,
    seed: u64,
    tally: Mutex<Tally>,
}

impl<'a> Torturer<'a> {
    pub(super) fn new(system: &'a System, start: Instant, seed: u64) -> Self {
        Self {
            system,
            start,
            seed,
            tally: Mutex::default(),
        }
    }

    /// Carries out `schedule`; done when the last fault is over and nothing is left of it.
    ///
    /// # Errors
    /// Something cannot be stopped or started.
    pub(super) async fn run(self, schedule: Vec<Planned>) -> Result<Tally> {
        tokio::select! {
            result = self.carry_out(schedule) => result?,
            () = self.watch() => {}
        }
        for replica in &self.system.replicas {
            for link in [Link::Rabbitmq, Link::Postgres] {
                replica.link(link).heal();
            }
        }
        Ok(self.tally.into_inner().expect("nobody panics with it"))
    }

    async fn carry_out(&self, schedule: Vec<Planned>) -> Result<()> {
        // Several at once. Not tasks: they end with this.
        let mut faults = FuturesUnordered::new();
        for (n, planned) in schedule.into_iter().enumerate() {
            let mut due = pin!(sleep_until(self.start + planned.at));
            loop {
                tokio::select! {
                    () = &mut due => break,
                    Some(ended) = faults.next() => ended?,
                }
            }
            let fault = planned.fault;
            say(self.start, &fault.kind().to_string(), &fault.to_string());
            *self.lock().faults.entry(fault.kind()).or_default() += 1;
            let random = StdRng::seed_from_u64(self.seed.wrapping_add(n as u64));
            faults.push(Box::pin(async move {
                let inflicted = self.inflict(fault, random).await;
                inflicted.with_context(|| format!("{}: {fault}", fault.kind()))
            }));
        }
        while let Some(ended) = faults.next().await {
            ended?;
        }
        Ok(())
    }

    async fn inflict(&self, fault: Fault, mut random: StdRng) -> Result<()> {
        let system = self.system;
        match fault {
            Fault::Kill { whom, down } => {
                restart(system.replica(whom), Signal::KILL, down).await?;
            }
            Fault::Restart { whom } => {
                restart(system.replica(whom), Signal::TERM, Duration::ZERO).await?;
            }
            Fault::RestartBroker { hard, down } => self.restart_broker(hard, down).await?,
            Fault::WipeBroker { down } => self.wipe_broker(down).await?,
            Fault::CrashPostgres { down } => {
                let _turn = system.postgres_turn.lock().await;
                system.servers.postgres.kill().await?;
                sleep(down).await;
                system.servers.postgres.start().await?;
            }
            Fault::Cut { whom, link } => system.replica(whom).link(link).cut(),
            Fault::Stall { whom, link, lasts } => {
                system.replica(whom).link(link).stall(lasts);
                sleep(lasts).await;
            }
            Fault::Delay {
                whom,
                link,
                latency,
                lasts,
            } => {
                let proxy = system.replica(whom).link(link);
                proxy.delay(latency);
                sleep(lasts).await;
                proxy.delay(Duration::ZERO);
            }
            Fault::Partition { whom, link, lasts } => {
                let proxy = system.replica(whom).link(link);
                proxy.refuse(true);
                proxy.cut();
                sleep(lasts).await;
                proxy.refuse(false);
            }
            Fault::Shuffle { queue, most, hold } => {
                self.shuffle(queue, most, hold, &mut random).await;
            }
            Fault::Garbage { count } => {
                // Where the broker goes down meanwhile, there is less of it.
                let _ = garbage::throw(&system.servers.rabbitmq.url(), count, &mut random).await;
            }
            Fault::FullQueue { lasts } => {
                let url = system.servers.rabbitmq.url();
                let full = BoundQueue::bind(&url, Takes::One);
                if let Ok(Ok(_bound)) = timeout(SHUFFLE_MAX, full).await {
                    sleep(lasts).await;
                }
            }
            Fault::Silence {
                whom,
                link,
                lasts,
                lost,
            } => {
                let proxy = system.replica(whom).link(link);
                if lost {
                    proxy.abandon();
                }
                proxy.stall(lasts);
                sleep(lasts).await;
                if lost {
                    // The server, too, learns that nobody is there any more.
                    proxy.cut();
                }
            }
            Fault::Alarm { lasts } => self.alarm(lasts).await?,
            Fault::NoLeader { queue, lasts } => self.no_leader(queue, lasts).await?,
            Fault::MendGateway => self.mend_gateway().await?,
            Fault::Nodes(fault) => self.befall_nodes(fault).await?,
        }
        Ok(())
    }

    /// A service learns of its gateway's configuration when it starts.
    async fn mend_gateway(&self) -> Result<()> {
        for replica in self.system.of_service(&fleet::PAYMENT) {
            replica.process.set(REFUND_REFUSAL_RATE, "0");
            restart(replica, Signal::TERM, Duration::ZERO).await?;
        }
        Ok(())
    }

    async fn shuffle(&self, queue: &str, most: u16, hold: Duration, random: &mut StdRng) {
        let shuffle = Shuffle {
            most,
            collect: COLLECT,
            hold,
            twice_percent: TWICE_PERCENT,
        };
        let url = self.system.servers.rabbitmq.url();
        let shuffling = timeout(SHUFFLE_MAX, shuffle.apply(&url, queue, random));
        // It fails when the broker goes down meanwhile, which is another fault's doing, and nothing is lost.
        if let Ok(Ok(done)) = shuffling.await {
            let mut tally = self.lock();
            tally.shuffled.taken += done.taken;
            tally.shuffled.twice += done.twice;
        }
    }

    /// Starts replicas again that end by themselves, which they never should.
    async fn watch(&self) {
        loop {
            for replica in &self.system.replicas {
                // Whoever has the turn knows that it does not run.
                let Ok(_turn) = replica.turn.try_lock() else {
                    continue;
                };
                if replica.process.running().is_none() {
                    let whom = replica.target.to_string();
                    say(self.start, "ENDED BY ITSELF", &whom);
                    self.lock().ended.push(whom);
                    // Tried again at the next look.
                    let _ = replica.process.spawn();
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nobody panics with it")
    }
}

/// One line of what happens.
pub(super) fn say(start: Instant, what: &str, to_whom: &str) {
    let since = start.elapsed().as_secs_f64();
    println!("{since:7.1} s  {what:<16}  {to_whom}");
}

async fn restart(replica: &Replica, signal: Signal, down: Duration) -> Result<()> {
    let _turn = replica.turn.lock().await;
    replica.process.end(signal).await?;
    sleep(down).await;
    replica.process.spawn()
}
