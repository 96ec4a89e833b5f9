//! The service: its configuration, and its workers.

use std::net::SocketAddr;

use common::{
    amqp::consumer,
    config::{self, BrokerConfig, DatabaseConfig, Vars},
    contract::topology::INVENTORY_COMMANDS,
    db::retention::{self, Retention},
    fleet,
    metrics::describe,
    participant::idempotency,
    service::{Service, Worker, wait_for_schema},
};
use tokio_util::sync::CancellationToken;

use crate::{SOURCE, handler::Commands, http, metrics::LIST};

/// What the environment says.
#[derive(Clone, Debug)]
pub struct Config {
    http_addr: SocketAddr,
    database: DatabaseConfig,
    broker: BrokerConfig,
    retention: Retention,
}

impl Config {
    /// Reads `INVENTORY_HTTP_ADDR`, `INVENTORY_DATABASE_URL`, `RETENTION_DAYS` and what all services have in common.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        Ok(Self {
            http_addr: fleet::INVENTORY.program.http_addr(vars)?,
            database: fleet::INVENTORY.database.config(vars)?,
            broker: BrokerConfig::from_vars(vars)?,
            retention: Retention::from_vars(vars)?,
        })
    }
}

/// The inventory service.
#[derive(Debug)]
pub struct App {
    service: Service,
    retention: Retention,
}

impl App {
    /// Prepares the service; of all that it needs, only its HTTP address must be free.
    ///
    /// # Errors
    /// The address is in use, or a URL cannot be parsed.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        describe(LIST);
        let service =
            Service::build(SOURCE, config.http_addr, &config.database, &config.broker).await?;
        Ok(Self {
            service,
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

    /// Serves and consumes until `shutdown`, and then finishes what is in flight.
    ///
    /// # Errors
    /// The broker has another topology under our names, or a worker panicked.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { service, retention } = self;
        let (db, outbox) = (service.db.clone(), service.outbox.clone());
        let broker = service.broker.clone();
        let routes = http::routes(db.clone(), outbox.clone());
        let schema = db.clone();
        let prepare = async move {
            wait_for_schema(|| migrations::is_current::<migrations::Inventory>(&schema)).await;
            Ok(())
        };
        let workers = move |stop: CancellationToken| -> Vec<Worker> {
            let commands = Commands::new(outbox.clone(), retention);
            let tables = &[idempotency::TABLE];
            let queue = INVENTORY_COMMANDS.name;
            let keep = retention::run(db.clone(), tables, retention, stop.clone());
            let consume = consumer::run(broker, db, queue, commands, stop);
            vec![Worker::new("retention", keep), Worker::new(queue, consume)]
        };
        service.run(routes, prepare, workers, shutdown).await
    }
}
