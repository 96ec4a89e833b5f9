//! Who publishes a row of the outbox: whoever wrote it, or one sweep of one replica.

use std::time::{Duration, Instant};

use common::{
    amqp::{Broker, Message},
    batch::AdmissionControl,
    config::BrokerConfig,
    contract::{Envelope, OrderId, Reason, payment::PaymentFailed, topology},
    db::Writes,
    outbox::{Outbox, Relay},
};
use sqlx::PgPool;
use test_support::{Amqp, Environment, Proxy, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{System, count};

const WAITING: &str = "SELECT count(*) FROM outbox";

/// A database whose outbox nobody looks after, and a queue of all events.
struct World {
    environment: Environment,
    db: PgPool,
    amqp: Amqp,
    events: String,
    relays: JoinSet<()>,
    shutdown: CancellationToken,
}

impl World {
    async fn new() -> Self {
        let environment = System::alone().await.stop().await;
        let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
        Self {
            db: environment.pool("order").await,
            events: amqp.listen(topology::EVENTS, "#").await,
            environment,
            amqp,
            relays: JoinSet::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// The outbox of a replica, which is not connected yet.
    fn replica(&self) -> (Broker, Outbox, Relay) {
        self.replica_at(&self.environment.rabbitmq_url())
    }

    /// The outbox of a replica that knows RabbitMQ by this URL.
    fn replica_at(&self, url: &str) -> (Broker, Outbox, Relay) {
        let vars = self.environment.vars(&[("RABBITMQ_URL", url)]);
        let config = BrokerConfig::from_vars(&vars).unwrap();
        let broker = Broker::new("a test", &config);
        let (outbox, relay) =
            Outbox::new(self.db.clone(), broker.clone(), AdmissionControl::default());
        (broker, outbox, relay)
    }

    fn run(&mut self, relay: Relay) {
        self.relays.spawn(relay.run(self.shutdown.clone()));
    }

    async fn until_waiting(&self, rows: i64) {
        let waiting = || count(&self.db, WAITING);
        eventually("so many rows are left", waiting, |n| *n == rows).await;
    }

    /// Asserts that so many events have come when everything is settled.
    async fn assert_events(mut self, expected: usize) {
        self.shutdown.cancel();
        while let Some(ended) = self.relays.join_next().await {
            ended.unwrap();
        }
        let events = self.amqp.next_events(&self.events, expected).await;
        assert_eq!(events.len(), expected);
        assert_eq!(self.amqp.ready(&self.events).await, 0, "each came once");
    }
}

fn event() -> Message {
    let failed = PaymentFailed {
        order_id: OrderId::generate(),
        payment_id: None,
        amount: None,
        currency: None,
        detail: None,
        reason: Reason::ALREADY_COMPENSATED,
    };
    Message::event(Envelope::new("a test", "an order", &failed))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_to_the_sweep_is_not_published_besides() {
    let mut world = World::new().await;
    let (broker, outbox, relay) = world.replica();
    // It is not connected yet, so the row is for the sweep, which is faster than who wrote it.
    let mut writes = Writes::default();
    let enqueued = outbox.enqueue(&mut writes, vec![event()]);
    broker.check().await.unwrap();
    writes.execute(&world.db).await.unwrap();
    world.run(relay);
    world.until_waiting(0).await;
    outbox.hand_over(enqueued).await;
    world.assert_events(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_out_any_more_waits_for_no_lease() {
    // A row belongs to who wrote it for 10 s.
    const LEASED: Duration = Duration::from_secs(8);
    let mut world = World::new().await;
    let (broker, outbox, relay) = world.replica();
    broker.check().await.unwrap();
    let mut writes = Writes::default();
    let enqueued = outbox.enqueue(&mut writes, vec![event()]);
    writes.execute(&world.db).await.unwrap();
    let written = Instant::now();
    broker.close().await;
    outbox.hand_over(enqueued).await;
    world.run(relay);
    world.until_waiting(0).await;
    assert!(written.elapsed() < LEASED, "{:?}", written.elapsed());
    world.assert_events(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_sweep_each_row_once_also_one_that_is_stored_twice() {
    const EVENTS: usize = 1000;
    let mut world = World::new().await;
    let messages: Vec<_> = (0..EVENTS).map(|_| event()).collect();
    let (_, outbox, relay) = world.replica();
    let (_, _, other_relay) = world.replica();
    outbox.store(&messages).await.unwrap();
    outbox.store(&messages[..1]).await.unwrap();
    world.run(relay);
    world.run(other_relay);
    world.until_waiting(0).await;
    world.assert_events(EVENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_sent_or_is_confirmed_too_late_stays() {
    let mut world = World::new().await;
    let (proxy, url) = Proxy::before(&world.environment.rabbitmq_url())
        .await
        .unwrap();
    let (broker, outbox, relay) = world.replica_at(url.as_str());
    broker.check().await.unwrap();
    world.run(relay);
    // First it takes too long to open a channel, then there is one, and the confirm takes too long.
    for latency in [Duration::from_millis(700), Duration::from_millis(5200)] {
        proxy.delay(latency);
        outbox.store(&[event()]).await.unwrap();
        let tried = "SELECT count(*) FROM outbox WHERE attempts > 0";
        let tried = || count(&world.db, tried);
        eventually("it was tried in vain", tried, |n| *n == 1).await;
        proxy.heal();
        world.until_waiting(0).await;
    }
    let events = world.amqp.next_events(&world.events, 2).await;
    assert_eq!(events.len(), 2);
}
