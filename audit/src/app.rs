//! The program: an API with probes, and nothing else. It has no database and no queue of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Result;
use axum::Router;
use common::{
    config::Vars,
    fleet,
    http::{
        self as api,
        health::{self, Check},
    },
    metrics::describe,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Books, http, metrics::LIST};

/// The program, ready to run.
#[derive(Debug)]
pub struct App {
    books: Books,
    listener: TcpListener,
}

impl App {
    /// Prepares it; of all that it needs, only its HTTP address must be free.
    ///
    /// # Errors
    /// A variable cannot be used, or the address is in use.
    pub async fn build(vars: &Vars) -> Result<Self> {
        describe(LIST);
        Ok(Self {
            books: Books::open(vars)?,
            listener: api::listen(fleet::AUDIT.http_addr(vars)?).await?,
        })
    }

    /// Where it serves HTTP.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`. An audit that is under way then is given up: it changes nothing.
    ///
    /// # Errors
    /// Serving fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let databases = self.books.databases();
        let checks = databases.map(|(name, pool)| Check::Database(name, pool.clone()));
        let probes = health::router(health::Dependencies {
            service: fleet::AUDIT.name,
            checks: checks.collect(),
            ready_without_broker: false,
            started: Arc::new(AtomicBool::new(true)),
            shutdown: shutdown.clone(),
        });
        let routes = api::api(http::routes(self.books), probes, Router::new());
        api::serve(self.listener, routes, shutdown).await;
        Ok(())
    }
}
