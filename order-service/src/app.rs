//! The service: its configuration, and its workers.

use std::net::SocketAddr;

use common::{
    config::{self, BrokerConfig, DatabaseConfig, Vars},
    fleet,
    messaging::{
        consumer, idempotency,
        partitions::{self, Retention},
        topology,
    },
    service::{Service, wait_for_schema},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http,
    intake::{Intake, Worker},
    saga::{Orchestrator, orchestrator, saga_log, timeout},
};

/// What of it is old is dropped, but nothing that a saga still needs.
const PARTITIONED: &[partitions::Table] = &[
    saga_log::TABLE,
    partitions::Table {
        in_use: saga_log::TABLE.in_use,
        ..idempotency::TABLE
    },
];

/// What the service can be told.
#[derive(Clone, Debug)]
pub struct Config {
    http_addr: SocketAddr,
    database: DatabaseConfig,
    broker: BrokerConfig,
    retention: Retention,
    deadline_scale: f64,
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
            deadline_scale: vars.parse_if(
                "SAGA_DEADLINE_SCALE",
                1.0,
                "a number from 0.001 to 1000",
                is_scale,
            )?,
        })
    }
}

/// The service, ready to run.
#[derive(Debug)]
pub struct App {
    service: Service,
    orchestrator: Orchestrator,
    intake: Intake,
    intake_worker: Worker,
    retention: Retention,
}

impl App {
    /// Prepares the service. Its database and broker need not be there yet.
    ///
    /// # Errors
    /// The HTTP address cannot be bound.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        let service = Service::build(
            fleet::ORDER.program.name,
            config.http_addr,
            &config.database,
            &config.broker,
        )
        .await?;
        let (db, outbox) = (service.db.clone(), service.outbox.clone());
        let orchestrator = Orchestrator::new(db, outbox.clone(), config.deadline_scale);
        let (intake, intake_worker) = Intake::new(outbox, config.deadline_scale);
        Ok(Self {
            orchestrator,
            service,
            intake,
            intake_worker,
            retention: config.retention,
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
            service,
            orchestrator,
            intake,
            intake_worker,
            retention,
        } = self;
        let (db, outbox) = (service.db.clone(), service.outbox.clone());
        let routes = http::routes(orchestrator.clone(), intake);
        let prepare = async {
            wait_for_schema(|| migrations::is_current::<migrations::Order>(&db)).await;
            orchestrator::check_definitions(&db).await
        };
        let workers = |stop: CancellationToken| {
            vec![
                Box::pin(partitions::run(
                    db.clone(),
                    PARTITIONED,
                    retention,
                    stop.clone(),
                )) as _,
                Box::pin(intake_worker.run(stop.clone())) as _,
                Box::pin(timeout::run(orchestrator.clone(), stop.clone())) as _,
                Box::pin(consumer::run(
                    outbox,
                    topology::ORDER_REPLIES.name,
                    orchestrator,
                    stop,
                )) as _,
            ]
        };
        service.run(routes, prepare, workers, shutdown).await
    }
}
