//! The frame of a service: what all of them do between `main` and their own work.
//!
//! ```text
//! build:  pool, broker, outbox, listener                    (nothing needs to be there yet)
//! run:    HTTP ─ wait for the schema ─ workers and relay    (each waits for what it needs)
//! stop:   HTTP ─ workers ─ relay ─ connections              (each finishes what is in flight)
//! ```

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    amqp::Broker,
    backoff::Backoff,
    batch::AdmissionControl,
    config::{BrokerConfig, DatabaseConfig, Vars},
    crash, db,
    fleet::Program,
    gauges,
    http::{
        self,
        health::{self, Check},
    },
    metrics,
    outbox::{Outbox, Relay},
    shutdown, telemetry,
    watchdog::Watchdog,
};

/// How long the workers wait for RabbitMQ before they begin without it.
const CONNECT_FIRST: Duration = Duration::from_secs(1);
/// The services of this system stop within 30 s; what has not ended by then is cut off.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// A worker: a task that runs until its token is cancelled.
pub struct Worker {
    name: &'static str,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Worker {
    /// What `run` does, which operators know as `name`.
    pub fn new(name: &'static str, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            name,
            run: Box::pin(run),
        }
    }
}

/// What every service has.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    /// Its database.
    pub db: PgPool,
    /// Its broker.
    pub broker: Broker,
    /// Where its transactions leave messages.
    pub outbox: Outbox,
    /// What holds up new work while replies wait.
    pub admission: AdmissionControl,
    /// Whether it is ready for requests also while RabbitMQ is away.
    pub ready_without_broker: bool,
    /// Pages for people, which are there while its database is away, too.
    pub pages: Router,
    relay: Relay,
    listener: TcpListener,
}

impl Service {
    /// Prepares the service `name`. Of all that it needs, only the HTTP address must be free.
    ///
    /// # Errors
    /// The address is in use, or a URL cannot be parsed.
    pub async fn build(
        name: &'static str,
        http_addr: SocketAddr,
        database: &DatabaseConfig,
        broker: &BrokerConfig,
    ) -> anyhow::Result<Self> {
        metrics::describe(metrics::PROGRAM);
        metrics::describe(metrics::SERVICE);
        let db = db::pool(name, database)?;
        let broker = Broker::new(name, broker);
        let admission = AdmissionControl::default();
        let (outbox, relay) = Outbox::new(db.clone(), broker.clone(), admission.clone());
        let listener = http::listen(http_addr).await?;
        Ok(Self {
            name,
            db,
            broker,
            outbox,
            admission,
            ready_without_broker: false,
            pages: Router::new(),
            relay,
            listener,
        })
    }

    /// Where it serves HTTP.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Runs until `shutdown`: the API at once, `workers` when `prepare` is done.
    ///
    /// # Errors
    /// The preparation's, or the broker's topology is not ours.
    pub async fn run(
        self,
        routes: OpenApiRouter,
        prepare: impl Future<Output = anyhow::Result<()>>,
        workers: impl FnOnce(CancellationToken) -> Vec<Worker>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let started = Arc::new(AtomicBool::new(false));
        let watchdog = Watchdog::default();
        let probes = health::router(health::Dependencies {
            service: self.name,
            checks: vec![
                Check::Database("postgresql", self.db.clone()),
                Check::Broker(self.broker.clone()),
                Check::Consumers(self.broker.clone()),
                Check::Workers(watchdog.clone()),
            ],
            ready_without_broker: self.ready_without_broker,
            started: Arc::clone(&started),
            shutdown: shutdown.clone(),
        });
        let api = http::api(http::gated(routes, self.db.clone()), probes, self.pages);
        let serving = tokio::spawn(http::serve(self.listener, api, shutdown.clone()));

        let prepared = tokio::select! {
            result = prepare => result,
            () = shutdown.cancelled() => Ok(()),
        };
        let (stop_workers, stop_relay) = (CancellationToken::new(), CancellationToken::new());
        let mut running = JoinSet::new();
        let mut relay = JoinSet::new();
        if prepared.is_ok() && !shutdown.is_cancelled() {
            // With a connection to publish on, what waits in queues is answered at once, without an outbox.
            let _ = timeout(CONNECT_FIRST, self.broker.check()).await;
            let looks = gauges::run(
                self.db.clone(),
                self.broker.clone(),
                self.outbox.clone(),
                stop_workers.clone(),
            );
            let looks = Worker::new("gauges", looks);
            for Worker { name, run } in workers(stop_workers.clone()).into_iter().chain([looks]) {
                let watchdog = watchdog.clone();
                running.spawn(async move { watchdog.watch(name, run).await });
            }
            let relaying = Box::pin(self.relay.run(stop_relay.clone()));
            relay.spawn(async move { watchdog.watch("outbox", relaying).await });
            started.store(true, Ordering::Relaxed);
        }
        let ended = match prepared {
            Ok(()) => tokio::select! {
                // First, for the end of HTTP may end a worker too.
                biased;
                () = shutdown.cancelled() => Ok(()),
                error = topology_error(&self.broker) => Err(error),
                Some(result) = running.join_next() => Err(stopped_by_itself(result)),
                Some(result) = relay.join_next() => Err(stopped_by_itself(result)),
            },
            Err(error) => Err(error),
        };
        shutdown.cancel();
        let stopping = async {
            let served = serving.await.context("the HTTP server panicked");
            stop_workers.cancel();
            while running.join_next().await.is_some() {}
            drop(self.outbox);
            stop_relay.cancel();
            while relay.join_next().await.is_some() {}
            self.broker.close().await;
            self.db.close().await;
            served
        };
        match timeout(STOP_TIMEOUT, stopping).await {
            Ok(served) => ended.and(served),
            Err(_) => {
                warn!(
                    "cut off what did not end in {STOP_TIMEOUT:?}: it will be done again after the next start"
                );
                ended
            }
        }
    }
}

/// Ends only if the broker has a topology that is not ours: then a person must look.
async fn topology_error(broker: &Broker) -> anyhow::Error {
    let mut backoff = Backoff::default();
    loop {
        match broker.check().await {
            Err(error) if !error.is_transient() => return error.into(),
            Err(_) => tokio::time::sleep(backoff.next_delay()).await,
            Ok(()) => std::future::pending::<()>().await,
        }
    }
}

fn stopped_by_itself(result: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    match result {
        Ok(()) => anyhow::anyhow!("a worker ended by itself"),
        Err(error) => anyhow::Error::from(error).context("a worker panicked"),
    }
}

/// Waits until `is_current` says that the schema is the one that this program knows.
pub async fn wait_for_schema<E: std::fmt::Display, F: Future<Output = Result<bool, E>>>(
    mut is_current: impl FnMut() -> F,
) {
    let mut backoff = Backoff::default();
    let mut said = false;
    loop {
        let missing = match timeout(db::LONGEST, is_current()).await {
            Ok(Ok(true)) => return,
            Ok(Ok(false)) => "the schema is not up to date: run migrate".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        if !said {
            info!(reason = missing, "waiting for the database");
            said = true;
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// The `main` of a service: environment, logs, signals, and `run` between them.
///
/// With the argument `--health` it only asks the service that already runs here whether it lives, for containers; with
/// `--openapi` it only prints the `document` of its API.
pub async fn main<F: Future<Output = anyhow::Result<()>>>(
    program: &'static Program,
    document: impl FnOnce() -> OpenApi,
    run: impl FnOnce(Vars, CancellationToken) -> F,
) -> ExitCode {
    let name = program.name;
    let vars = Vars::from_process();
    match std::env::args().nth(1).as_deref() {
        Some("--health") => return probe(&vars, program).await,
        Some("--openapi") => return print(&document()),
        _ => {}
    }
    let started = async {
        let telemetry = telemetry::init(name, &vars)?;
        crash::arm(&vars)?;
        anyhow::Ok((telemetry, shutdown::on_signal()?))
    };
    let (_telemetry, shutdown) = match started.await {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match run(vars, shutdown).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(cause) => {
            error!(error = format!("{cause:#}"), "failed");
            eprintln!("{name}: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(document: &OpenApi) -> ExitCode {
    match document.to_pretty_json() {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn probe(vars: &Vars, program: &Program) -> ExitCode {
    match program.http_addr(vars) {
        Ok(address) if http::is_alive(address).await => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
