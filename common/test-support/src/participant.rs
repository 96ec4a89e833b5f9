//! What the tests of every participant need: databases and a vhost with our topology, an orchestrator that sends commands
//! and takes replies, and replicas of the service in this process.

use std::{collections::VecDeque, future::Future, net::SocketAddr, sync::Mutex};

use anyhow::Result;
use common::{
    contract::topology::{self, dead_letter_queue},
    fleet::Service,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Amqp, Environment, eventually};

/// What the `replyto` of commands names here.
pub const REPLY_TO: &str = "test";

/// A participant as an orchestrator sees it. What runs on it, each test decides.
#[derive(Debug)]
pub struct Participant {
    /// A connection of the test's own.
    pub amqp: Amqp,
    /// The participant's database.
    pub db: PgPool,
    /// The queue of the test's replies.
    pub replies: String,
    commands: &'static topology::Queue,
    /// The rest of a batch of replies.
    unread: Mutex<VecDeque<Value>>,
    /// Databases and vhost. Dropped last, because the others use it.
    pub environment: Environment,
}

impl Participant {
    /// An environment for `service`, whose commands can wait before it runs.
    ///
    /// # Panics
    /// When the servers of the tests do not answer, or the service consumes no commands.
    pub async fn of(service: &Service) -> Self {
        let environment = Environment::new().await;
        let amqp = Amqp::connect(&environment.rabbitmq_url()).await;
        let declared = common::amqp::declare(amqp.channel()).await;
        declared.expect("a new vhost takes our topology");
        let mut queues = service.queues.iter();
        let commands = queues.find(|queue| queue.exchange == topology::COMMANDS);
        Self {
            replies: amqp.listen(topology::REPLIES, REPLY_TO).await,
            db: environment.pool(service.database.short_name()).await,
            commands: commands.expect("a participant has a queue of commands"),
            unread: Mutex::default(),
            amqp,
            environment,
        }
    }

    /// Waits until so many replicas consume commands, so that each gets its share of them.
    pub async fn until_consumed_by(&self, replicas: u32) {
        let consumers = || self.amqp.consumers(self.commands.name);
        eventually("every replica consumes", consumers, |n| *n == replicas).await;
    }

    /// Sends a command.
    pub async fn send(&self, command: &Value) {
        let key = self.commands.routing_keys[0];
        self.amqp
            .publish_event(topology::COMMANDS, key, command)
            .await;
    }

    /// Sends several commands in one message.
    pub async fn send_batch(&self, commands: &[Value]) {
        let key = self.commands.routing_keys[0];
        self.amqp
            .publish_batch(topology::COMMANDS, key, commands)
            .await;
    }

    /// The next reply, if one has come.
    ///
    /// # Panics
    /// When it is not JSON.
    pub async fn try_reply(&self) -> Option<Value> {
        if let Some(reply) = self.take_unread() {
            return Some(reply);
        }
        let message = self.amqp.get(&self.replies).await?;
        let replies = match serde_json::from_slice(&message.data).expect("replies are JSON") {
            Value::Array(batch) => batch,
            event => vec![event],
        };
        self.unread
            .lock()
            .expect("nobody panics with it")
            .extend(replies);
        self.take_unread()
    }

    fn take_unread(&self) -> Option<Value> {
        let mut unread = self.unread.lock().expect("nobody panics with it");
        unread.pop_front()
    }

    /// The next reply, as soon as there is one.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply(&self) -> Value {
        let reply = eventually("a reply comes", || self.try_reply(), Option::is_some).await;
        reply.expect("it is one")
    }

    /// The next `count` replies.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn replies(&self, count: usize) -> Vec<Value> {
        let mut replies = Vec::new();
        while replies.len() < count {
            replies.push(self.reply().await);
        }
        replies
    }

    /// The next reply of type `kind`, whatever comes before it.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply_of_type(&self, kind: &str) -> Value {
        loop {
            let reply = self.reply().await;
            if reply["type"] == kind {
                return reply;
            }
        }
    }

    /// Messages of replies that nobody has taken.
    pub async fn unread_replies(&self) -> u32 {
        self.amqp.ready(&self.replies).await
    }

    /// Commands that no replica has taken.
    pub async fn waiting(&self) -> u32 {
        self.amqp.ready(self.commands.name).await
    }

    /// Commands that were given up.
    pub async fn dead_letters(&self) -> u32 {
        let queue = dead_letter_queue(self.commands.name);
        self.amqp.ready(&queue).await
    }
}

/// A command of `saga` about `order`, as a CloudEvent.
#[must_use]
pub fn command(saga: Uuid, order: Uuid, step: &str, kind: &str, data: &Value) -> Value {
    json!({
        "specversion": "1.0",
        "id": Uuid::now_v7(),
        "source": "order-service",
        "type": kind,
        "subject": order,
        "time": chrono::Utc::now(),
        "datacontenttype": "application/json",
        "sagaid": saga,
        "sagastep": step,
        "correlationid": "a-request",
        "replyto": REPLY_TO,
        "data": data,
    })
}

/// A service in this process, which runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Replica {
    /// Where it serves HTTP.
    pub address: SocketAddr,
    /// Where its API is: `http://127.0.0.1:20003`.
    pub url: String,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<()>>>,
}

impl Replica {
    /// Starts a service that listens at `address`.
    pub fn start<F>(address: SocketAddr, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        Self {
            address,
            url: format!("http://{address}"),
            running: Some(tokio::spawn(run(shutdown.clone()))),
            shutdown,
        }
    }

    /// Waits until it is ready.
    pub async fn until_ready(&self) {
        let status = || async { self.get("/health/ready").await.0 };
        eventually("the service is ready", status, |status| *status == 200).await;
    }

    /// Stops it as SIGTERM does, and waits until it has.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            let ended = running.await.expect("the service does not panic");
            ended.expect("the service ends well");
        }
    }

    /// Status and JSON body of a GET.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(format!("{}{path}", self.url)).await;
        let response = response.expect("it answers");
        let status = response.status().as_u16();
        (status, response.json().await.expect("with JSON"))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
