//! The service: its configuration, and its one worker.

use std::net::SocketAddr;

use common::{
    amqp::consumer,
    config::{self, BrokerConfig, DatabaseConfig, Vars},
    contract::topology,
    db::retention::{self, Retention},
    fleet,
    metrics::describe,
    participant::{CommandHandler, idempotency},
    service::{Service, Worker, wait_for_schema},
};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::{Gateway, Limits, Simulated},
    handler::Payments,
    http,
    metrics::LIST,
};

/// What the service can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it serves HTTP.
    pub http_addr: SocketAddr,
    /// payment_db.
    pub database: DatabaseConfig,
    /// Where commands come from.
    pub broker: BrokerConfig,
    /// How long answers are remembered.
    pub retention: Retention,
    /// Who takes the money.
    pub gateway: Simulated,
    /// How many calls to the gateway are made at once, and how long each may take.
    pub limits: Limits,
}

impl Config {
    /// Reads `PAYMENT_HTTP_ADDR`, `PAYMENT_DATABASE_URL`, `RETENTION_DAYS`, and what the broker and the gateway need.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        Ok(Self {
            http_addr: fleet::PAYMENT.program.http_addr(vars)?,
            database: fleet::PAYMENT.database.config(vars)?,
            broker: BrokerConfig::from_vars(vars)?,
            retention: Retention::from_vars(vars)?,
            gateway: Simulated::from_vars(vars)?,
            limits: Limits::from_vars(vars)?,
        })
    }
}

/// The service, ready to run.
#[derive(Debug)]
pub struct App<G = Simulated> {
    service: Service,
    gateway: G,
    limits: Limits,
    retention: Retention,
}

impl App {
    /// Prepares the service with the configured gateway.
    ///
    /// # Errors
    /// The HTTP address is in use, or a URL cannot be parsed.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        Self::with_gateway(config, config.gateway).await
    }
}

impl<G: Gateway> App<G> {
    /// Prepares the service with this `gateway`.
    ///
    /// # Errors
    /// The HTTP address is in use, or a URL cannot be parsed.
    pub async fn with_gateway(config: &Config, gateway: G) -> anyhow::Result<Self> {
        describe(LIST);
        let (database, broker) = (&config.database, &config.broker);
        let name = fleet::PAYMENT.program.name;
        let service = Service::build(name, config.http_addr, database, broker).await?;
        Ok(Self {
            service,
            gateway,
            limits: config.limits,
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

    /// Runs until `shutdown`, and then until what is in flight is done.
    ///
    /// # Errors
    /// The broker's topology is not ours.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            service,
            gateway,
            limits,
            retention,
        } = self;
        let (db, broker) = (service.db.clone(), service.broker.clone());
        let commands = CommandHandler::new(
            Payments::new(gateway, limits),
            service.outbox.clone(),
            retention,
        );
        let routes = http::routes(db.clone());
        let schema = async {
            wait_for_schema(|| migrations::is_current::<migrations::Payment>(&db)).await;
            Ok(())
        };
        let pool = db.clone();
        let workers = move |stop: CancellationToken| -> Vec<Worker> {
            let queue = topology::PAYMENT_COMMANDS.name;
            let tables = &[idempotency::TABLE];
            let keep = retention::run(pool.clone(), tables, retention, stop.clone());
            let consume = consumer::run(broker, pool, queue, commands, stop);
            vec![Worker::new("retention", keep), Worker::new(queue, consume)]
        };
        service.run(routes, schema, workers, shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let config = Config::from_vars(&Vars::default()).unwrap();
        assert_eq!(config.http_addr.port(), 3002);
    }
}
