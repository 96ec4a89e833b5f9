//! The inventory service on real servers, driven as an orchestrator and as a client would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod commands;
mod contention;
mod crash;
mod dead_letters;
mod events;
mod hostile;
mod http;
mod http_errors;
mod returns;
mod shipping;
mod support;
mod upgrade;
mod validation;
