//! The payment participant: takes the money for an order once, and gives it back once.
//!
//! ```text
//! payment.commands ─► handler: decode ─► gateway (outside of any transaction) ─► payments + idempotency ─► outcome
//! ```
//!
//! The frame, which makes it happen once, is [`common::messaging::participant`]; this crate is the work in it.

pub mod app;
pub mod gateway;
mod handler;
mod http;
mod payments;
