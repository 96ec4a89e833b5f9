//! PostgreSQL's primary dies, hangs or is switched over to its synchronous standby while orders flow. Each test has two
//! servers of its own, with the databases of all services, behind a proxy that is pointed to the one that is the primary.

use std::{path::PathBuf, pin::pin, time::Duration};

use serde_json::Value;
use sqlx::{PgPool, Row};
use test_support::{
    Environment, PATIENCE, Proxy, Servers, eventually, servers::PostgresServer, wait_until,
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use crate::harness::{System, assert_no_dead_letters, id};

/// Between two orders: fifty a second.
const PACE: Duration = Duration::from_millis(20);

struct Pair {
    // Dropped first: the servers must not go while services use them.
    system: System,
    proxy: Proxy,
    primary: PostgresServer,
    standby: PostgresServer,
}

/// An order that a client was told is accepted, and when it sent the request.
struct Accepted {
    id: Uuid,
    sent: Instant,
    answered: Instant,
}

impl Pair {
    async fn start(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        let primary = PostgresServer::on_free_ports(&dir.join("a")).await.unwrap();
        let standby = primary.add_standby(&dir.join("b")).await.unwrap();
        let (proxy, url) = Proxy::before(&primary.url()).await.unwrap();
        let servers = Servers {
            postgres: url.into(),
            ..Servers::shared()
        };
        let environment = Environment::on(servers).await.unwrap();
        let mut system = System::on(environment, &[]).await;
        system.add_participants(&[]).await;
        system.stock(&[("prod-1", 100_000)]).await;
        let pair = Self {
            system,
            proxy,
            primary,
            standby,
        };
        let (accepted, ()) = pair.orders_during(sleep(Duration::from_secs(2))).await;
        pair.assert_completed(&accepted).await;
        pair
    }

    /// Makes the standby the primary, to which new connections lead from now on: when that was, also for the databases.
    async fn promote(&self) -> (Instant, f64) {
        self.standby.promote().await.unwrap();
        self.proxy.lead_to(&self.standby.url()).unwrap();
        let promoted = Instant::now();
        let now = "SELECT extract(epoch FROM clock_timestamp())::float8";
        let now = sqlx::query_scalar(now).fetch_one(&self.db().await).await;
        (promoted, now.unwrap())
    }

    /// The order service's database at the server that the proxy leads to.
    async fn db(&self) -> PgPool {
        self.system.environment.pool("order").await
    }

    /// Places orders at a steady rate until `fault` is over, and returns those that were accepted, and what it gives.
    async fn orders_during<T>(&self, fault: impl Future<Output = T>) -> (Vec<Accepted>, T) {
        let mut fault = pin!(fault);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = JoinSet::new();
        let given = loop {
            tokio::select! {
                biased;
                given = &mut fault => break given,
                _ = ticks.tick() => {}
            }
            let placing = self.system.placing("prod-1");
            let sent = Instant::now();
            requests.spawn(async move { (sent, placing.await, Instant::now()) });
        };
        let answers = requests.join_all().await;
        let all = answers.len();
        let accepted = |(sent, order, answered): (_, Option<Value>, _)| {
            let id = id(&order?, "orderId");
            Some(Accepted { id, sent, answered })
        };
        let accepted: Vec<_> = answers.into_iter().filter_map(accepted).collect();
        println!("{} of {all} orders were accepted", accepted.len());
        (accepted, given)
    }

    /// Asserts that all orders, and so also those that were accepted, are completed. Those that were not are there or not.
    async fn assert_completed(&self, accepted: &[Accepted]) {
        let db = self.db().await;
        let left =
            "SELECT count(*) FILTER (WHERE status = 'PENDING'), (SELECT count(*) FROM outbox),
                           count(*) FILTER (WHERE status = 'CANCELLED')
                    FROM orders";
        let left = || async {
            let row = sqlx::query_as::<_, (i64, i64, i64)>(left);
            row.fetch_one(&db).await.unwrap()
        };
        let done = |left: &(i64, i64, i64)| *left == (0, 0, 0);
        eventually("no order is pending, unsent or cancelled", left, done).await;
        let ids: Vec<_> = accepted.iter().map(|order| order.id).collect();
        let there = sqlx::query("SELECT count(*) FROM orders WHERE id = ANY($1)");
        let there: i64 = there.bind(&ids).fetch_one(&db).await.unwrap().get(0);
        assert_eq!(there, i64::try_from(ids.len()).unwrap(), "none is lost");
    }

    /// Asserts that all is well, and that new orders were accepted and sagas ended again within `limit` of the promotion.
    async fn assert_went_on(
        self,
        (promoted, at): (Instant, f64),
        accepted: &[Accepted],
        limit: Duration,
    ) {
        self.assert_completed(accepted).await;
        self.system.audit().await;
        assert_no_dead_letters(&self.system.environment.rabbitmq_url()).await;
        let after = accepted.iter().filter(|order| order.sent > promoted);
        let first = after.map(|order| order.answered - promoted).min();
        let first = first.expect("orders are accepted again");
        let ended = "SELECT min(extract(epoch FROM at) - $1)::float8 FROM saga_log
                     WHERE event = 'SAGA_COMPLETED' AND at > to_timestamp($1)";
        let ended = sqlx::query_scalar::<_, f64>(ended).bind(at);
        let ended = Duration::from_secs_f64(ended.fetch_one(&self.db().await).await.unwrap());
        println!(
            "after the promotion, the first order was accepted after {first:.1?}, the first saga ended after {ended:.1?}"
        );
        assert!(first < limit && ended < limit, "{first:?}, {ended:?}");
        // No service ended by itself.
        self.system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_at_the_standby_of_a_primary_that_dies() {
    let pair = Pair::start("primary-dies").await;
    let fails_over = async {
        sleep(Duration::from_secs(2)).await;
        pair.primary.die().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let promoted = pair.promote().await;
        sleep(Duration::from_secs(15)).await;
        promoted
    };
    let (accepted, promoted) = pair.orders_during(fails_over).await;
    let limit = Duration::from_secs(15);
    pair.assert_went_on(promoted, &accepted, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_at_the_standby_of_a_primary_that_hangs_and_comes_back() {
    let pair = Pair::start("primary-hangs").await;
    let fails_over = async {
        sleep(Duration::from_secs(2)).await;
        pair.primary.pause().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let promoted = pair.promote().await;
        sleep(Duration::from_secs(30)).await;
        // It still takes itself for the primary, and nobody has its consent.
        pair.primary.resume().unwrap();
        sleep(Duration::from_secs(5)).await;
        promoted
    };
    let (accepted, promoted) = pair.orders_during(fails_over).await;
    let limit = Duration::from_secs(30);
    pair.assert_went_on(promoted, &accepted, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_has_become_a_standby_is_left_at_once() {
    let pair = Pair::start("primary-demoted").await;
    let switches_over = async {
        sleep(Duration::from_secs(2)).await;
        pair.primary.stop().await.unwrap();
        pair.primary.demote().unwrap();
        pair.primary.start().await.unwrap();
        // Everybody connects to it, and nobody can write.
        sleep(Duration::from_secs(5)).await;
        let promoted = pair.promote().await;
        sleep(Duration::from_secs(5)).await;
        promoted
    };
    let (accepted, promoted) = pair.orders_during(switches_over).await;
    let left = || async {
        let there = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%-service'";
        let old = PgPool::connect(&pair.primary.url()).await.unwrap();
        let there: i64 = sqlx::query_scalar(there).fetch_one(&old).await.unwrap();
        there == 0
    };
    wait_until(PATIENCE, "nobody is connected to the old primary", left).await;
    let limit = Duration::from_secs(5);
    pair.assert_went_on(promoted, &accepted, limit).await;
}
