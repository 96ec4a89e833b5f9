//! What the operator clicks at, at random: verbs, batches, dead letters.

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::Operator;

/// The verbs, as often as they are to be drawn: each overrules a saga or undoes it but the first.
const VERBS: [&str; 8] = [
    "reschedule",
    "reschedule",
    "reschedule",
    "abort",
    "abort",
    "skip",
    "force-complete",
    "force-compensated",
];

impl Operator {
    /// One click.
    pub(super) async fn click(&self) -> Result<()> {
        let dice = rand::rng().random_range(0..8);
        match dice {
            0 => self.batch().await,
            1 => self.redrive().await,
            _ => self.intervene().await,
        }
    }

    /// Looks at a saga as a person would, and does something about it as it was seen.
    async fn intervene(&self) -> Result<()> {
        let statuses = ["RUNNING", "COMPENSATING", "PARKED", "COMPLETED"];
        let status = statuses.choose(&mut rand::rng()).expect("there are some");
        let page = self
            .read(&format!("/sagas?status={status}&limit=20"))
            .await?;
        let sagas = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(saga) = sagas.choose(&mut rand::rng()) else {
            return Ok(());
        };
        let path = format!("/sagas/{}", saga["sagaId"].as_str().unwrap_or_default());
        let why = self.read(&format!("{path}/explain")).await?;
        let sentence = why["explanation"].as_str().unwrap_or_default();
        if sentence.is_empty() || sentence.contains("nknown") {
            self.problem(format!("{path} is explained with {sentence:?}"));
        }
        self.read(&format!("{path}/graph")).await?;

        let seen = self.read(&path).await?;
        let verbs = seen["verbs"].as_array().map_or(&[][..], Vec::as_slice);
        let can = VERBS
            .into_iter()
            .filter(|verb| verbs.iter().any(|can| can == verb));
        let Some(verb) = can.collect::<Vec<_>>().choose(&mut rand::rng()).copied() else {
            return Ok(());
        };
        let tag = format!("\"{}\"", seen["version"]);
        let body = match verb {
            "reschedule" => {
                json!({ "reason": "torture", "delaySeconds": rand::rng().random_range(0..5) })
            }
            _ => json!({ "reason": "torture" }),
        };
        for dry_run in [true, false] {
            let url = format!("{}{path}/{verb}?dryRun={dry_run}", self.replica());
            let request = self.client.post(url).header("x-actor", "torture");
            let request = request.header("if-match", &tag).json(&body);
            let answer = self.answered(verb, request.send().await?).await?;
            if answer.is_none() {
                return Ok(());
            }
        }
        self.count(verb);
        Ok(())
    }

    /// Does something about all that need somebody.
    async fn batch(&self) -> Result<()> {
        let body = match rand::rng().random_range(0..4) {
            0 => json!({ "filter": { "status": "PARKED" }, "verb": "retry", "reason": "torture" }),
            1 => json!({ "filter": { "stuck": "true" }, "verb": "reschedule", "delaySeconds": 0,
                         "reason": "torture", "perSecond": 200 }),
            dice => {
                let page = self.read("/sagas?status=RUNNING&limit=5").await?;
                let sagas = page["items"].as_array().map_or(&[][..], Vec::as_slice);
                let [newest, .., oldest] = sagas else {
                    return Ok(());
                };
                let verb = if dice == 2 { "abort" } else { "skip" };
                json!({ "filter": { "status": "RUNNING", "createdFrom": oldest["createdAt"],
                                    "createdBefore": newest["createdAt"] },
                        "verb": verb, "reason": "torture" })
            }
        };
        let url = format!("{}/sagas/batch", self.replica());
        let request = self.client.post(url).header("x-actor", "torture");
        let answer = request.json(&body).send().await?;
        if self.answered("batch", answer).await?.is_some() {
            self.count("batch");
        }
        Ok(())
    }

    /// Sends dead letters of some queue again.
    async fn redrive(&self) -> Result<()> {
        let queues = self.read("/dead-letters").await?;
        let queues = queues["items"].as_array().map_or(&[][..], Vec::as_slice);
        let full = queues.iter().filter(|queue| queue["messages"] != 0);
        let full: Vec<_> = full.collect();
        let Some(queue) = full
            .choose(&mut rand::rng())
            .and_then(|queue| queue["queue"].as_str())
        else {
            return Ok(());
        };
        let url = format!("{}/dead-letters/{queue}/redrive", self.replica());
        let request = self.client.post(url).header("x-actor", "torture");
        let body = json!({ "reason": "torture", "max": 20 });
        let answer = request.json(&body).send().await?;
        if self.answered("redrive", answer).await?.is_some() {
            self.count("redrive");
        }
        Ok(())
    }

    /// The answer, unless somebody else was faster or a server is away.
    async fn answered(&self, what: &str, answer: Response) -> Result<Option<Value>> {
        let status = answer.status();
        self.judge(what, status);
        match status {
            StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
            status if status.is_success() => Ok(Some(answer.json().await?)),
            status => {
                let text = answer.text().await.context("its answer")?;
                self.problem(format!("{what} was answered {status}: {text}"));
                Ok(None)
            }
        }
    }

    fn count(&self, what: &str) {
        *self.lock().clicks.entry(what.to_owned()).or_default() += 1;
    }

    fn problem(&self, problem: String) {
        self.lock().problems.push(problem);
    }
}
