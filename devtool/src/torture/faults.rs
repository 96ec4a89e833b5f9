//! Doing what the schedule says.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use common::contract::topology::{self, QUEUES};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use test_support::servers::Signal;
use test_support::{Shuffle, Shuffled, garbage};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::schedule::{Fault, Kind, Link, Planned};
use super::stranger::QUEUE;
use super::system::{Replica, System};

/// How long messages are collected to be shuffled. Less than a step's deadline.
const COLLECT: Duration = Duration::from_millis(700);
/// Share of shuffled messages that come twice, in percent.
const TWICE_PERCENT: u8 = 40;
/// How long a shuffle may take that meets a broker which is going down.
const SHUFFLE_MAX: Duration = Duration::from_secs(20);
/// How long a queue may take to have a leader after a start, and how often it is asked.
const LEADER_MAX: Duration = Duration::from_secs(12);
const LEADER_TRIES: usize = 2;
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
            Fault::RestartBroker { hard, down } => {
                let rabbitmq = &system.servers.rabbitmq;
                let _turn = system.rabbitmq_turn.lock().await;
                if hard {
                    rabbitmq.kill().await?;
                } else {
                    rabbitmq.stop().await?;
                }
                sleep(down).await;
                rabbitmq.start().await?;
                self.wipe_if_ruined().await?;
            }
            Fault::WipeBroker { down } => {
                let _turn = system.rabbitmq_turn.lock().await;
                self.wipe(down).await?;
            }
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
                // It is gone with its connection, whatever ends that.
                let url = system.servers.rabbitmq.url();
                let full = FullQueue::bind(&url);
                if let Ok(Ok(_bound)) = timeout(SHUFFLE_MAX, full).await {
                    sleep(lasts).await;
                }
            }
        }
        Ok(())
    }

    async fn wipe(&self, down: Duration) -> Result<()> {
        let rabbitmq = &self.system.servers.rabbitmq;
        self.lock().wiped.push(Utc::now());
        rabbitmq.kill().await?;
        rabbitmq.remove_data()?;
        sleep(down).await;
        rabbitmq.start().await
    }

    /// RabbitMQ 3.10 that is killed in the seconds after a quorum queue was made may leave it without a leader for ever.
    /// An operator can only wipe it then, which is one more loss of all data.
    ///
    /// Source: <https://github.com/rabbitmq/rabbitmq-server/issues/10070>
    async fn wipe_if_ruined(&self) -> Result<()> {
        let url = self.system.servers.rabbitmq.url();
        let queues: Vec<_> = QUEUES
            .iter()
            .map(|queue| queue.name)
            .chain([QUEUE])
            .collect();
        let ruined = join_all(queues.iter().map(|queue| has_no_leader(&url, queue))).await;
        let ruined = queues.iter().zip(ruined).find(|(_, is_ruined)| *is_ruined);
        if let Some((queue, _)) = ruined {
            let why = format!("RabbitMQ has left {queue} without a leader");
            say(self.start, &Kind::WipeBroker.to_string(), &why);
            *self.lock().faults.entry(Kind::WipeBroker).or_default() += 1;
            self.wipe(Duration::ZERO).await?;
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

/// Whether nobody can consume from `queue`, though it exists.
async fn has_no_leader(url: &str, queue: &str) -> bool {
    let touch = Shuffle {
        most: 1,
        collect: Duration::from_millis(100),
        hold: Duration::ZERO,
        twice_percent: 0,
    };
    for _ in 0..LEADER_TRIES {
        let mut random = StdRng::seed_from_u64(0);
        match timeout(LEADER_MAX, touch.apply(url, queue, &mut random)).await {
            Ok(Ok(_)) => return false,
            // It was lost with all else, and nobody has declared it yet.
            Ok(Err(error))
                if error
                    .downcast_ref::<lapin::Error>()
                    .is_some_and(lapin::Error::is_amqp_soft_error) =>
            {
                return false;
            }
            _ => {}
        }
    }
    true
}

/// A queue that refuses public events.
struct FullQueue {
    // Held, for the queue goes with it.
    _connection: Connection,
}

impl FullQueue {
    async fn bind(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        arguments.insert(
            "x-overflow".into(),
            AMQPValue::LongString("reject-publish".into()),
        );
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare("".into(), exclusive, arguments)
            .await?;
        channel
            .queue_bind(
                queue.name().clone(),
                topology::EVENTS.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Self {
            _connection: connection,
        })
    }
}

async fn restart(replica: &Replica, signal: Signal, down: Duration) -> Result<()> {
    let _turn = replica.turn.lock().await;
    replica.process.end(signal).await?;
    sleep(down).await;
    replica.process.spawn()
}
