//! The payment participant: takes the money for an order once, and gives it back once, as a whole or in parts.
//!
//! ```text
//! payment.commands ─► handler ─┬─ process ─────┬─► gateway (outside of any transaction) ─► books + idempotency ─► reply
//!                              ├─ refund ──────┤
//!                              └─ refund_part ─┘
//! ```
//!
//! The frame, which makes it happen once, is [`common::participant`]; this crate is the work in it:
//! `handler` is where to start, and each command has a file of its own. [`gateway`] is what another gateway implements,
//! `payments` and `refunds` the books, `intents` what the gateway may be doing, `http` what people see of it.

pub mod app;
mod command;
mod entity;
pub mod gateway;
mod handler;
mod http;
mod intents;
pub mod metrics;
mod payments;
mod process;
mod refund;
mod refund_part;
mod refunds;

pub use http::openapi;

/// The service's name, in messages and in logs.
const SOURCE: &str = "payment-service";
