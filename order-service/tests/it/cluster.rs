//! RabbitMQ as a cluster of three nodes that die, hang and are restarted while orders flow. Each test has a cluster of its
//! own.

use std::{collections::BTreeSet, path::PathBuf, pin::pin, time::Duration};

use common::{amqp::declare, contract::topology};
use futures_util::future::try_join_all;
use serde_json::json;
use sqlx::{PgPool, Row};
use test_support::{
    Amqp, Environment, PATIENCE, Proxy, Servers, eventually,
    servers::{PostgresServer, RabbitMqCluster, RabbitMqServer},
    wait_until,
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use url::Url;

use crate::harness::{System, assert_no_dead_letters};

const NODES: usize = 3;
/// Between two orders: fifty a second.
const PACE: Duration = Duration::from_millis(20);
const PAYMENTS: &str = topology::PAYMENT_COMMANDS.name;

/// A cluster, with a proxy before each node, and the whole system on it.
struct Cluster {
    // Dropped first: the servers must not go while services use them.
    system: System,
    db: PgPool,
    vhost: String,
    // Held, for connections end with them.
    _proxies: Vec<Proxy>,
    _postgres: PostgresServer,
    rabbitmq: RabbitMqCluster,
    /// The node that the services connected to at their start.
    connected: usize,
}

/// Where the leaders of the queues are, and to which nodes the services connect at their start.
#[derive(PartialEq)]
enum Spread {
    /// Leaders are on all nodes, and connections are made to any.
    Evenly,
    /// All leaders are on one node, and all connections are made to it.
    AllOnOne,
    /// All leaders are on one node, and all connections are made to another one.
    Apart,
}

impl Cluster {
    async fn start(name: &str, spread: Spread) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        let (postgres, rabbitmq) = tokio::try_join!(
            PostgresServer::on_free_ports(&dir),
            RabbitMqCluster::on_free_ports(&dir, NODES)
        )
        .unwrap();
        let servers = Servers {
            postgres: postgres.url(),
            rabbitmq: rabbitmq.url(),
            rabbitmq_api: rabbitmq.any().api_url(),
        };
        let environment = Environment::on(servers).await.unwrap();
        let url = Url::parse(&environment.rabbitmq_url()).unwrap();
        let vhost = url.path().trim_start_matches('/').to_owned();
        if spread != Spread::Evenly {
            let locator = json!({ "queue-leader-locator": "client-local" });
            let policy = json!({ "pattern": "", "definition": locator });
            let path = format!("{}/api/policies/{vhost}/leaders", rabbitmq.any().api_url());
            let set = reqwest::Client::new().put(path).json(&policy).send().await;
            set.unwrap().error_for_status().unwrap();
        }
        declare_queues(&environment, &rabbitmq).await;

        let (mut proxies, mut urls) = (Vec::new(), Vec::new());
        for node in rabbitmq.nodes() {
            let mut url = Url::parse(&node.url()).unwrap();
            url.set_path(&vhost);
            let (proxy, url) = Proxy::before(url.as_str()).await.unwrap();
            proxies.push(proxy);
            urls.push(url.to_string());
        }
        let leader = leader(&rabbitmq, &vhost, PAYMENTS).await;
        let only = match spread {
            Spread::Evenly => None,
            Spread::AllOnOne => Some(leader),
            Spread::Apart => Some((leader + 1) % NODES),
        };
        for (n, proxy) in proxies.iter().enumerate() {
            proxy.refuse(only.is_some_and(|only| only != n));
        }
        let urls = urls.join(",");
        let mut system = System::on(environment, &[("RABBITMQ_URL", urls.as_str())]).await;
        system
            .add_participants(&[("RABBITMQ_URL", urls.as_str())])
            .await;
        proxies.iter().for_each(Proxy::heal);
        system.stock(&[("prod-1", 100_000)]).await;
        let db = system.environment.pool("order").await;
        let cluster = Self {
            system,
            db,
            vhost,
            _proxies: proxies,
            _postgres: postgres,
            rabbitmq,
            connected: only.unwrap_or(0),
        };
        cluster.orders_during(sleep(Duration::from_secs(2))).await;
        cluster.until_all_completed().await;
        cluster
    }

    /// The node that all services connected to, and the others.
    fn connected_and_others(&self) -> (&RabbitMqServer, Vec<&RabbitMqServer>) {
        let mut nodes: Vec<_> = self.rabbitmq.nodes().iter().collect();
        (nodes.remove(self.connected), nodes)
    }

    /// Places orders at a steady rate until `fault` is over. Each must be accepted.
    async fn orders_during(&self, fault: impl Future<Output = ()>) {
        let mut fault = pin!(fault);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut fault => return,
                _ = ticks.tick() => {}
            }
            self.system.place("prod-1", 1).await;
        }
    }

    async fn until_all_completed(&self) {
        let left = "SELECT count(*) FILTER (WHERE status = 'PENDING'),
                           count(*) FILTER (WHERE status = 'CANCELLED'), (SELECT count(*) FROM outbox)
                    FROM orders";
        let left = || async {
            let row = sqlx::query_as::<_, (i64, i64, i64)>(left);
            row.fetch_one(&self.db).await.unwrap()
        };
        let done = |left: &(i64, i64, i64)| *left == (0, 0, 0);
        eventually(
            "all orders are completed, none pending, cancelled or unsent",
            left,
            done,
        )
        .await;
    }

    /// The database's time, in seconds since 1970.
    async fn now(&self) -> f64 {
        let now = sqlx::query("SELECT extract(epoch FROM clock_timestamp())::float8");
        now.fetch_one(&self.db).await.unwrap().get(0)
    }

    /// The longest time without an ended saga since `from`, in seconds. All of them have ended.
    async fn longest_standstill_since(&self, from: f64) -> f64 {
        let longest = sqlx::query(
            "SELECT max(extract(epoch FROM at) - extract(epoch FROM before))::float8
             FROM (SELECT at, lag(at, 1, to_timestamp($1)) OVER (ORDER BY at) AS before
                   FROM saga_log WHERE event = 'SAGA_COMPLETED' AND at >= to_timestamp($1)) AS ends",
        );
        let slowest = "SELECT max(took)::float8 FROM (
                           SELECT extract(epoch FROM max(at) - min(at)) AS took FROM saga_log GROUP BY saga_id
                       ) AS sagas";
        let slowest = sqlx::query_scalar::<_, f64>(slowest);
        let slowest = slowest.fetch_one(&self.db).await.unwrap();
        let row = longest.bind(from).fetch_one(&self.db).await.unwrap();
        let longest = row.get(0);
        println!("no saga ended for up to {longest:.1} s; the slowest one took {slowest:.1} s");
        longest
    }

    /// Asserts that all orders are completed, and nothing was lost.
    async fn assert_all_is_well(&self) {
        self.until_all_completed().await;
        self.system.audit().await;
        assert_no_dead_letters(&self.rabbitmq_url()).await;
    }

    /// The virtual host at a node that runs.
    fn rabbitmq_url(&self) -> String {
        let mut url = Url::parse(&self.rabbitmq.url()).unwrap();
        url.set_path(&self.vhost);
        url.into()
    }
}

/// Declares everything, and waits until no node forgets it in a power cut.
async fn declare_queues(environment: &Environment, rabbitmq: &RabbitMqCluster) {
    let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
    declare(amqp.channel()).await.unwrap();
    let queues = topology::QUEUES.map(|queue| queue.name);
    let saved = || async { rabbitmq.nodes().iter().all(|node| node.has_saved(&queues)) };
    wait_until(PATIENCE, "all nodes have saved their queues", saved).await;
}

async fn leader(rabbitmq: &RabbitMqCluster, vhost: &str, queue: &str) -> usize {
    let leader = || async { rabbitmq.leader(vhost, queue).await.ok().flatten() };
    let leader = eventually("the queue has a leader", leader, Option::is_some).await;
    leader.expect("just checked")
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_go_on_without_the_node_that_had_all_leaders_and_connections() {
    let cluster = Cluster::start("node-dies", Spread::AllOnOne).await;
    let (node, _) = cluster.connected_and_others();
    let from = cluster.now().await;
    let dies = async {
        node.kill().await.unwrap();
        sleep(Duration::from_secs(12)).await;
    };
    cluster.orders_during(dies).await;
    cluster.assert_all_is_well().await;
    assert!(node.process().is_none(), "it stays away");
    let standstill = cluster.longest_standstill_since(from).await;
    assert!(standstill < 5.0, "{standstill} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_go_on_without_a_node_that_hangs_and_had_all_connections() {
    let cluster = Cluster::start("node-hangs", Spread::Apart).await;
    let (node, _) = cluster.connected_and_others();
    let from = cluster.now().await;
    let hangs = async {
        node.pause().unwrap();
        sleep(Duration::from_secs(25)).await;
        node.resume().unwrap();
    };
    cluster.orders_during(hangs).await;
    cluster.assert_all_is_well().await;
    let standstill = cluster.longest_standstill_since(from).await;
    assert!(standstill < 15.0, "{standstill} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_wait_without_a_majority_and_go_on_when_it_is_back() {
    let cluster = Cluster::start("no-majority", Spread::AllOnOne).await;
    let (node, others) = cluster.connected_and_others();
    let die = async {
        let two = [node, others[0]];
        try_join_all(two.map(RabbitMqServer::kill)).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        try_join_all(two.map(RabbitMqServer::start)).await.unwrap();
    };
    cluster.orders_during(die).await;
    let back = cluster.now().await;
    cluster.orders_during(sleep(Duration::from_secs(5))).await;
    cluster.assert_all_is_well().await;
    let standstill = cluster.longest_standstill_since(back).await;
    assert!(standstill < 10.0, "{standstill} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_leaders_are_spread_and_nodes_can_be_restarted_one_after_the_other() {
    let cluster = Cluster::start("nodes-restart", Spread::Evenly).await;
    let rabbitmq = &cluster.rabbitmq;
    let on = || async { BTreeSet::from_iter(rabbitmq.connections().await.unwrap()) };
    // Nine connections: all on one node in one of 6561 runs.
    eventually("connections are spread", on, |nodes| nodes.len() > 1).await;
    let mut leaders = BTreeSet::new();
    for queue in topology::QUEUES {
        leaders.insert(leader(rabbitmq, &cluster.vhost, queue.name).await);
    }
    assert_eq!(leaders.len(), NODES, "leaders are spread");

    let from = cluster.now().await;
    let restart = async {
        for node in rabbitmq.nodes() {
            node.stop().await.unwrap();
            node.start().await.unwrap();
        }
    };
    cluster.orders_during(restart).await;
    cluster.assert_all_is_well().await;
    let standstill = cluster.longest_standstill_since(from).await;
    assert!(standstill < 10.0, "{standstill} s");
}
