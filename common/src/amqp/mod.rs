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
//! [`Broker`] connects and publishes, and declares every exchange and queue. [`consumer`] turns deliveries into batches
//! and errors into retries or dead letters. This is the only folder that sees lapin.

mod broker;
mod connection;
pub mod consumer;
mod declare;
mod error;
mod frame;
mod lane;
mod message;
mod outgoing;
mod properties;
mod publisher;

pub use broker::{Broker, Confirms};
pub use declare::declare;
pub use error::{Error, Mismatch};
pub use lane::Lane;
pub(crate) use lane::Lanes;
pub use message::{Message, Reply};
pub use outgoing::{Outgoing, Raw};
pub use publisher::NotPublished;
