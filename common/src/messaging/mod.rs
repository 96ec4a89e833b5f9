//! How messages travel, and why none is lost or done twice.
//!
//! ```text
//!  decide + commit                      act
//!  ┌───────────────────────────┐
//!  │ one transaction:          │  handed over   ┌─────────┐ confirm  ┌──────────┐
//!  │ business rows + outbox    │ ─────────────► │ outbox  │ ───────► │ RabbitMQ │
//!  └───────────────────────────┘  (or found by  │ relay   │          └────┬─────┘
//!                                  the sweep)   └─────────┘               │ a batch of deliveries
//!  ┌───────────────────────────┐                ┌──────────┐              ▼
//!  │ one transaction:          │ ◄───────────── │ consumer │ ◄──── queue (dead letters to its .dlq)
//!  │ idempotency + work        │                └──────────┘
//!  └───────────────────────────┘   ack after the commit, and after what must be answered is confirmed
//! ```
//!
//! [`topology`] names every exchange and queue. [`broker`] connects and publishes. [`outbox`] keeps what a
//! transaction wants to say until the broker has it. [`consumer`] turns deliveries into batches and errors into
//! retries or dead letters. [`participant`] is the frame of a service that executes commands, and [`idempotency`]
//! the table that makes it do so once. [`partitions`] drops what is old.

mod backlog;
pub mod broker;
pub mod consumer;
pub mod idempotency;
mod link;
pub mod outbox;
mod outgoing;
mod pace;
pub mod participant;
pub mod partitions;
mod publisher;
pub mod topology;

pub use backlog::Backlog;
pub use broker::Broker;
pub use outgoing::{Lane, Outcome, Outgoing};
pub use pace::Pace;
