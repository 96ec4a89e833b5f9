//! The service: its configuration, and its workers.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use common::{
    amqp::consumer,
    config::{self, BrokerConfig, DatabaseConfig, Vars},
    contract::topology,
    db::retention::{self, Retention},
    fleet,
    http::gated,
    metrics::{ORCHESTRATOR, describe},
    participant::idempotency,
    service::{Service, Worker, wait_for_schema},
};
use saga::{Definition, Engine, Program, Replies, deadlines, gauges, store};
use tokio_util::sync::CancellationToken;

use crate::{
    batches,
    dead_letters::{self, Desk, growth},
    follow::Orders,
    http,
    intake::{self, Intake},
    live::Live,
    metrics::LIST,
    orders::SOURCE,
    page::{self, Links},
    pauses,
    sagas::{self, CREATE_ORDER, OrderSaga, PlacedOrder, SAGAS},
};

/// Tables whose days are dropped when they are old, except for what an open or parked saga needs.
const PARTITIONED: &[retention::Table] = &[
    store::TABLE,
    retention::Table {
        name: idempotency::TABLE.name,
        in_use: store::TABLE.in_use,
    },
];

/// The sagas that the service runs.
#[derive(Clone, Copy, Debug)]
pub struct Sagas {
    /// The saga that places orders.
    pub placing: &'static Definition<PlacedOrder>,
    /// All sagas, that one too.
    pub all: &'static [OrderSaga],
}

/// The product's sagas.
pub const PRODUCT: Sagas = Sagas {
    placing: &CREATE_ORDER,
    all: SAGAS,
};

/// What the service can be told.
#[derive(Clone, Debug)]
pub struct Config {
    http_addr: SocketAddr,
    database: DatabaseConfig,
    broker: BrokerConfig,
    retention: Retention,
    links: Links,
    deadline_scale: f64,
    backlog_max: Duration,
}

impl Config {
    /// Reads the service's variables.
    ///
    /// # Errors
    /// A value cannot be used; the error names its variable.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        let is_scale = |scale: f64| (0.001..=1000.0).contains(&scale);
        Ok(Self {
            http_addr: fleet::ORDER.program.http_addr(vars)?,
            database: fleet::ORDER.database.config(vars)?,
            broker: BrokerConfig::from_vars(vars)?,
            retention: Retention::from_vars(vars)?,
            links: vars.parse("PAGE_LINKS", Links::default(), Links::SHAPE)?,
            deadline_scale: vars.parse_if(
                "SAGA_DEADLINE_SCALE",
                1.0,
                "a number from 0.001 to 1000",
                is_scale,
            )?,
            backlog_max: vars
                .parse("ORDER_BACKLOG_MAX_S", 86_400, "a number of seconds")
                .map(Duration::from_secs)?,
        })
    }
}

/// The service, ready to run.
#[derive(Debug)]
pub struct App {
    service: Service,
    engine: Engine,
    intake: Intake,
    intake_worker: intake::Worker,
    retention: Retention,
    links: Links,
}

impl App {
    /// Prepares the service, which runs `sagas`. Its database and broker need not be there yet.
    ///
    /// # Errors
    /// The HTTP address cannot be bound, or the sagas cannot be together in one program.
    pub async fn build(config: &Config, sagas: Sagas) -> anyhow::Result<Self> {
        describe(ORCHESTRATOR);
        describe(LIST);
        let mut service = Service::build(
            fleet::ORDER.program.name,
            config.http_addr,
            &config.database,
            &config.broker,
        )
        .await?;
        // Orders are placed, and wait in the outbox.
        service.ready_without_broker = true;
        let program = Program {
            source: SOURCE,
            reply_to: topology::ORDER_REPLIES.routing_keys[0],
            deadline_scale: config.deadline_scale,
        };
        let registry = sagas::registry(sagas.all).context("the sagas")?;
        let engine = Engine::new(
            program,
            registry,
            Orders::new(sagas.all),
            service.db.clone(),
            service.outbox.clone(),
        );
        let admission = service.admission.clone();
        let (intake, intake_worker) =
            Intake::new(engine.clone(), sagas.placing, admission, config.backlog_max);
        Ok(Self {
            engine,
            service,
            intake,
            intake_worker,
            retention: config.retention,
            links: config.links.clone(),
        })
    }

    /// Where it serves HTTP.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.service.address()
    }

    /// Runs until `shutdown`, and then until what is in flight is finished.
    ///
    /// # Errors
    /// It cannot work: see [`Service::run`].
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            mut service,
            links,
            engine,
            intake,
            intake_worker,
            retention,
        } = self;
        let (db, broker) = (service.db.clone(), service.broker.clone());
        let desk = Desk::new(engine.clone(), broker.clone());
        let redrives = dead_letters::Worker::new(desk.clone());
        let live = Live::new(db.clone(), shutdown.clone());
        let routes = http::routes(
            engine.clone(),
            intake,
            desk,
            redrives.clone(),
            live.clone(),
            broker.clone(),
        );
        let (api, _) = gated(routes.clone(), db.clone()).split_for_parts();
        service.pages = page::routes(api, links);
        let replies = Replies::new(engine.clone(), service.admission.clone());
        let prepare = async {
            wait_for_schema(|| migrations::is_current::<migrations::Order>(&db)).await;
            engine.check_definitions().await
        };
        let workers = |stop: CancellationToken| {
            let keep = retention::run(db.clone(), PARTITIONED, retention, stop.clone());
            let queue = topology::ORDER_REPLIES.name;
            vec![
                Worker::new("retention", keep),
                Worker::new("intake", intake_worker.run(stop.clone())),
                Worker::new("sagas", gauges::run(engine.clone(), stop.clone())),
                Worker::new("deadlines", deadlines::run(engine.clone(), stop.clone())),
                Worker::new(
                    "pauses",
                    pauses::run(db.clone(), engine.outbox().clone(), stop.clone()),
                ),
                Worker::new("batches", batches::run(engine.clone(), stop.clone())),
                Worker::new("redrives", redrives.run(stop.clone())),
                Worker::new("live", live.run(stop.clone())),
                Worker::new(
                    "dead letters",
                    growth::run(engine.clone(), broker.clone(), stop.clone()),
                ),
                Worker::new(
                    queue,
                    consumer::run(broker, db.clone(), queue, replies, stop),
                ),
            ]
        };
        service.run(routes, prepare, workers, shutdown).await
    }
}
