//! The operator: has parked sagas go on, asks why others wait, and clicks at whatever can be done about them, at whatever
//! replica answers.

mod clicks;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, bail};
use common::fleet;
use rand::seq::IndexedRandom as _;
use reqwest::{Client, RequestBuilder, StatusCode};
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
    done: Mutex<Done>,
}

/// What the operator did.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// How often each saga was retried.
    pub(super) retried: HashMap<Uuid, usize>,
    /// How often each verb was carried out, and each other thing.
    pub(super) clicks: BTreeMap<String, usize>,
    /// Answers that nobody should get.
    pub(super) problems: Vec<String>,
}

impl Operator {
    pub(super) fn new(system: &System) -> Result<Self> {
        let replicas = system.of_service(&fleet::ORDER);
        Ok(Self {
            client: Client::builder().no_proxy().timeout(ANSWER).build()?,
            replicas: replicas.map(|replica| replica.process.url()).collect(),
            done: Mutex::default(),
        })
    }

    /// Looks again and again.
    pub(super) async fn run(&self) {
        loop {
            // Where a replica is down or in trouble, the next look is at another one.
            let _ = self.look().await;
            let _ = self.click().await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// What was done so far.
    pub(super) fn done(&self) -> Done {
        self.lock().clone()
    }

    async fn look(&self) -> Result<()> {
        let page = self
            .read(&format!("/sagas?status=PARKED&limit={PAGE}"))
            .await?;
        for saga in page["items"].as_array().into_iter().flatten() {
            self.mend(saga["sagaId"].as_str().unwrap_or_default().parse()?)
                .await?;
        }
        Ok(())
    }

    /// Has a parked saga go on: it is retried, or skipped where that may be in vain, for an operator has overruled another one
    /// of its order. What was never reserved cannot be shipped.
    ///
    /// # Errors
    /// The replica does not do it.
    pub(super) async fn mend(&self, saga: Uuid) -> Result<()> {
        let found = self.read(&format!("/sagas/{saga}")).await?;
        let order = found["orderId"].as_str().unwrap_or_default();
        let all = self.read(&format!("/sagas?orderId={order}")).await?;
        let mut all = all["items"].as_array().into_iter().flatten();
        let may_be_in_vain =
            all.any(|one| one["sagaId"] != found["sagaId"] && one["overruled"] == true);
        let verb = if may_be_in_vain { "skip" } else { "retry" };
        let url = format!("{}/sagas/{saga}/{verb}", self.replica());
        let body = json!({ "reason": "torture" });
        let answer = self.says(self.client.post(url)).json(&body).send().await?;
        match answer.status() {
            status if status.is_success() => {
                let mut done = self.lock();
                *done.retried.entry(saga).or_default() += 1;
                if may_be_in_vain {
                    *done.clicks.entry("skip in vain".to_owned()).or_default() += 1;
                }
            }
            // It is not parked any more.
            StatusCode::CONFLICT => {}
            status => bail!("{verb} of saga {saga} was answered {status}"),
        }
        Ok(())
    }

    /// A request of the operator, whatever the saga is by then.
    fn says(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("x-actor", "torture").header("if-match", "*")
    }

    async fn read(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.replica()));
        let answer = answer.send().await?;
        self.judge(path, answer.status());
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Takes note of a fault of the service itself: whatever is done to its servers, it answers 503.
    fn judge(&self, what: &str, status: StatusCode) {
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            self.lock()
                .problems
                .push(format!("{what} was answered {status}"));
        }
    }

    fn replica(&self) -> &str {
        let replica = self.replicas.choose(&mut rand::rng());
        replica.expect("there are some")
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().expect("nobody panics with it")
    }
}
