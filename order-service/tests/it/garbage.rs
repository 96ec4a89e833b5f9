//! Messages that nobody can want, while orders flow.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use common::contract::topology::{QUEUES, dead_letter_queue};
use lapin::{message::Delivery, types::AMQPValue};
use rand::{SeedableRng as _, rngs::StdRng};
use reqwest::StatusCode;
use test_support::{
    Amqp, eventually,
    garbage::{self, odd, wire::Wire},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use crate::harness::{System, count, setting, slowest_sagas};

/// How many throw it, and how much at a time.
const THROWERS: u64 = 4;
const SOME: usize = 10;
/// Between two orders.
const PACE: Duration = Duration::from_millis(100);
/// No order takes longer.
const PATIENCE_MS: f64 = 15_000.0;

/// Lines of the log that somebody should look at.
static LINES: AtomicU64 = AtomicU64::new(0);

/// A log whose lines are counted.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        print!("{}", String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_end_while_garbage_rains_on_all_queues() {
    // As in production.
    let log = tracing_subscriber::fmt().with_env_filter("lapin=off,warn");
    log.with_writer(|| Lines).init();
    let lasts = Duration::from_secs(setting("GARBAGE_SECONDS", 10));
    let system = System::whole().await;
    system.stock(&[("many", 100_000)]).await;
    let url = system.environment.rabbitmq_url();
    let seed: u64 = setting("GARBAGE_SEED", rand::random());
    println!("GARBAGE_SEED={seed}");
    let (start, mut raining) = (Instant::now(), JoinSet::new());
    for thrower in 0..THROWERS {
        let url = url.clone();
        raining.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(thrower));
            let mut thrown = 0;
            while start.elapsed() < lasts {
                garbage::throw(&url, SOME, &mut random).await.unwrap();
                thrown += SOME;
            }
            thrown
        });
    }
    let (mut placed, mut pace) = (0, interval(PACE));
    while start.elapsed() < lasts {
        pace.tick().await;
        system.place("many", 1).await;
        placed += 1;
    }
    let thrown: usize = raining.join_all().await.into_iter().sum();
    let db = system.environment.pool("order").await;
    let completed = "SELECT count(*) FROM orders WHERE status = 'COMPLETED'";
    let completed = || count(&db, completed);
    eventually("all orders end", completed, |done| *done == placed).await;
    let [half, most, slowest] = slowest_sagas(&db, placed).await;
    let lines = LINES.load(Ordering::Relaxed);
    println!(
        "{thrown} messages of garbage, {lines} lines in the log; \
         {placed} orders: half in {half} ms, 99 % in {most} ms, all in {slowest} ms"
    );
    assert!(slowest < PATIENCE_MS);
    assert!(lines < 30 * lasts.as_secs());

    // All of it is gone from the queues, and kept where it can be looked at.
    let amqp = Amqp::connect(&url).await;
    for queue in QUEUES {
        let left = || amqp.ready(queue.name);
        eventually("it is handled", left, |left| *left == 0).await;
        assert_eq!(amqp.consumers(queue.name).await, 1, "{}", queue.name);
        let dead = dead_letter_queue(queue.name);
        assert!(amqp.ready(&dead).await > 0, "{dead}");
    }
    for api in [
        Some(&system.orders),
        system.payments.as_ref(),
        system.inventory.as_ref(),
    ] {
        let ready = api.unwrap().get("/health/ready").await;
        assert_eq!(ready.status(), StatusCode::OK);
    }
    system.audit().await;
}

/// How often a message had been delivered before it was made the dead letter `letter`.
fn delivered_before(letter: &Delivery) -> i64 {
    let headers = letter.properties.headers().as_ref().unwrap().inner();
    match headers.get("x-delivery-count") {
        Some(AMQPValue::LongLongInt(times)) => *times,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_no_library_writes_cost_only_themselves() {
    let system = System::whole().await;
    let url = system.environment.rabbitmq_url();
    let amqp = Amqp::connect(&url).await;
    for queue in QUEUES {
        let (mut taken, mut wrong) = (Vec::new(), Vec::new());
        let mut wire = Wire::connect(&url).await.unwrap();
        for (what, must_be_taken, message) in odd::each(queue.name) {
            match wire.publish(&message).await {
                Ok(()) => taken.push(what),
                Err(reason) => {
                    wire = Wire::connect(&url).await.unwrap();
                    wrong.extend(must_be_taken.then_some((what, reason)));
                }
            }
        }
        let order = system.place("prod-1", 1).await;
        system.until(&order, "COMPLETED").await;
        let dead = dead_letter_queue(queue.name);
        for what in taken {
            let letter = amqp.next(&dead).await;
            let headers = letter.properties.headers().as_ref().unwrap().inner();
            let kind = headers.get("x-error-kind");
            let unreadable = AMQPValue::LongString("unreadable".into());
            assert_eq!(kind, Some(&unreadable), "{what}");
            // Nobody lost his connection for it.
            assert_eq!(delivered_before(&letter), 0, "{what}");
        }
        assert_eq!(amqp.ready(&dead).await, 0);
        // Otherwise the test does not show what it says.
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let db = system.environment.pool("order").await;
    let [_, _, slowest] = slowest_sagas(&db, 3).await;
    assert!(slowest < PATIENCE_MS, "{slowest} ms");
    system.audit().await;
}
