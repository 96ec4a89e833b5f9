//! The payment service on a real RabbitMQ and PostgreSQL, driven as an orchestrator would.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod bank;
mod clocks;
mod crashes;
mod dead_letters;
mod http;
mod intents;
mod migration;
mod outcomes;
mod parts;
mod races;
mod service;
mod slow_gateway;
mod upgrade;
