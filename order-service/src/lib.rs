//! Orders and their sagas.
//!
//! ```text
//! POST /orders ─► intake: order + saga + saga log + outbox, one transaction for all that came together
//!                                                                │
//!                                         payment, inventory ◄───┘ commands
//!                                                  │
//! order.saga.replies ─► engine: lock ─► decide (pure) ─► state + log + order + outbox, one transaction
//! deadlines          ─► deadline worker ───┘
//! ```
//!
//! [`sagas`] is the heart: what happens to an order, a file for each saga. The crate `saga` runs them. [`orders`] and
//! [`returns`] are what they are about, `http` is what people see. `dead_letters` is what operators do with messages that
//! nobody could handle, and `live` what is told to whoever looks on.

pub mod app;
mod batches;
mod dead_letters;
mod entity;
mod find;
pub mod follow;
mod http;
mod idempotency;
mod intake;
mod interventions;
mod live;
pub mod metrics;
pub mod orders;
mod page;
mod pauses;
pub mod returns;
pub mod sagas;

pub use http::openapi;
