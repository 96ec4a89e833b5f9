//! Who publishes a row of the outbox: whoever wrote it, or one sweep of one replica.

use std::time::{Duration, Instant};

use common::{
    amqp::{Broker, Message, NotPublished, Outgoing},
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

use crate::harness::{System, count, text};

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
async fn a_sweep_publishes_the_oldest_first() {
    // More than a sweep takes at once.
    const EVENTS: usize = 600;
    let mut world = World::new().await;
    let (_, outbox, relay) = world.replica();
    let messages: Vec<_> = (0..EVENTS).map(|_| event()).collect();
    let written: Vec<_> = messages
        .iter()
        .map(|one| one.row_id().to_string())
        .collect();
    outbox.store(&messages).await.unwrap();
    world.run(relay);
    world.until_waiting(0).await;
    let events = world.amqp.next_events(&world.events, EVENTS).await;
    let came: Vec<_> = events.iter().map(|event| text(event, "id")).collect();
    assert_eq!(came, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_sent_to_a_destination_than_it_may_leave_unconfirmed() {
    // At most 256 messages are under way on a channel: this is how many batches of ten fit into that.
    const BATCH: usize = 10;
    const FIT: usize = 25;
    let world = World::new().await;
    let (proxy, url) = Proxy::before(&world.environment.rabbitmq_url())
        .await
        .unwrap();
    let (broker, ..) = world.replica_at(url.as_str());
    broker.check().await.unwrap();
    let publish = |messages: usize| {
        let messages: Vec<Outgoing> = (0..messages).map(|_| event().into()).collect();
        let broker = broker.clone();
        async move { broker.publish(&messages).await.wait().await }
    };
    assert_eq!(
        publish(1).await,
        [Ok(())],
        "the channel is open, and confirms"
    );
    // Longer than anybody waits for a place.
    proxy.delay(Duration::from_millis(1500));
    let sent: JoinSet<_> = (0..2 * FIT).map(|_| publish(BATCH)).collect();
    let results = sent.join_all().await.concat();
    let refused = results
        .iter()
        .filter(|one| **one == Err(NotPublished::Lost));
    assert_eq!(refused.count(), BATCH * FIT, "they had no place");
    assert_eq!(
        world.amqp.ready(&world.events).await as usize,
        1 + BATCH * FIT
    );
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
