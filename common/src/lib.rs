//! What the services share: the wire, the messaging guarantees, and the frame of a service.
//!
//! ```text
//! contract     what travels: envelope, commands, replies, events, topology (JSON Schema and AsyncAPI are made from here)
//! amqp         how it travels: broker, publisher, consumer; the only room that sees lapin
//! outbox       what a transaction wants to say, until the broker has it
//! participant  the frame of a service that executes commands, with its idempotency table
//! db           transactions, writes of many rows, and what is dropped when it is old
//! batch        when a batch begins, how large it is, and who goes first
//! metrics      what is counted, timed and measured, as lists; gauges looks at the database and the broker for them
//! http         problem+json, extractors, probes, Swagger UI
//! service      the frame of a process, with config, telemetry, shutdown, backoff, watchdog and crash points
//! asyncapi     the published documents, made from contract and fleet; docs has them with all others that are committed
//! fleet        the list of all programs, which the tools, the tests and the documents read
//! ```
//!
//! How messages travel, and why none is lost or done twice:
//!
//! ```text
//!  decide + commit                      act
//!  ┌───────────────────────────┐
//!  │ one transaction:          │       published after the commit    ┌──────────┐
//!  │ business rows + outbox    │ ──────────────────────────────────► │ RabbitMQ │
//!  └───────────────────────────┘  (or by the sweep); when confirmed,  └───┬──────┘
//!                                 the row is deleted                      │ a batch of deliveries
//!  ┌───────────────────────────┐                ┌──────────┐              ▼
//!  │ one transaction:          │ ◄───────────── │ consumer │ ◄──── queue (dead letters to its .dlq)
//!  │ idempotency + work        │                └──────────┘
//!  └───────────────────────────┘   ack after the commit, and after the replies are confirmed
//! ```
//!
//! Nothing here knows orders, payments or stock beyond the messages about them and the problems that clients are told of.

pub mod amqp;
pub mod asyncapi;
pub mod backoff;
pub mod batch;
pub mod config;
pub mod contract;
pub mod crash;
pub mod db;
pub mod docs;
pub mod fleet;
pub mod gauges;
pub mod http;
pub mod metrics;
pub mod outbox;
pub mod participant;
pub mod service;
pub mod shutdown;
pub mod telemetry;
pub mod watchdog;
