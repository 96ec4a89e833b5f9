//! The payment participant: takes the money for an order once, and gives it back once.
//!
//! ```text
//! payment.commands ─► handler ─┬─ process ─┬─► gateway (outside of any transaction) ─► payments + idempotency ─► outcome
//!                              └─ refund ──┘
//! ```
//!
//! The frame, which makes it happen once, is [`common::messaging::participant`]; this crate is the work in it:
//! `handler` is where to start, and each command has a file of its own. [`gateway`] is what another gateway implements,
//! `payments` the table, `http` what people see of it.

pub mod app;
mod entity;
pub mod gateway;
mod handler;
mod http;
mod payments;
mod process;
mod refund;

/// The service's name, in messages and in logs.
const SOURCE: &str = "payment-service";
