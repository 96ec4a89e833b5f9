//! The payment participant: takes the money for an order once, and gives it back once.
//!
//! ```text
//! payment.commands ─► command ─► gateway (outside of any transaction) ─► payments + idempotency ─► effect: outcome
//!                        └──────────────────── handler ────────────────────────┘
//! ```
//!
//! The frame, which makes it happen once, is [`common::participant`]; this crate is the work in it:
//! `handler` is where to start, [`gateway`] is what another gateway implements, `payments` the table, `http` what
//! people see of it.

pub mod app;
mod command;
mod effect;
mod entity;
pub mod gateway;
mod handler;
mod http;
mod payments;
