//! The operator: looks for parked sagas, and retries them, at whatever replica answers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use common::fleet;
use rand::seq::IndexedRandom as _;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::system::System;

/// How often the operator looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Parked sagas that are read at once.
const PAGE: u32 = 100;

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    client: Client,
    /// Of the order service's replicas.
    replicas: Vec<String>,
    /// How often each saga was retried.
    retried: Mutex<HashMap<Uuid, usize>>,
}

impl Operator {
    pub(super) fn new(system: &System) -> Result<Self> {
        let replicas = system.of_service(&fleet::ORDER);
        Ok(Self {
            client: Client::builder().no_proxy().timeout(ANSWER).build()?,
            replicas: replicas.map(|replica| replica.process.url()).collect(),
            retried: Mutex::default(),
        })
    }

    /// Looks again and again.
    pub(super) async fn run(&self) {
        loop {
            // Where a replica is down or in trouble, the next look is at another one.
            let _ = self.look().await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many sagas were parked and retried, and how many times in all.
    pub(super) fn retried(&self) -> (usize, usize) {
        let retried = self.lock();
        (retried.len(), retried.values().sum())
    }

    async fn look(&self) -> Result<()> {
        let url = format!("{}/sagas?status=PARKED&limit={PAGE}", self.replica());
        let answer = self.client.get(url).send().await?;
        let page: Value = answer.error_for_status()?.json().await?;
        for saga in page["items"].as_array().into_iter().flatten() {
            let id = saga["sagaId"].as_str().unwrap_or_default().parse()?;
            self.retry(id).await?;
        }
        Ok(())
    }

    /// Has a parked saga go on.
    ///
    /// # Errors
    /// The replica does not do it.
    pub(super) async fn retry(&self, saga: Uuid) -> Result<()> {
        let url = format!("{}/sagas/{saga}/retry", self.replica());
        let body = json!({ "reason": "torture" });
        let request = self.client.post(url).header("x-actor", "torture");
        let request = request.header("if-match", "*").json(&body);
        let answer = request.send().await?;
        match answer.status() {
            status if status.is_success() => *self.lock().entry(saga).or_default() += 1,
            // It is not parked any more.
            StatusCode::CONFLICT => {}
            status => bail!("retrying saga {saga} was answered {status}"),
        }
        Ok(())
    }

    fn replica(&self) -> &str {
        let replica = self.replicas.choose(&mut rand::rng());
        replica.expect("there are some")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.retried.lock().expect("nobody panics with it")
    }
}
