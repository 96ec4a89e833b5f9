//! What the services share: the wire, the messaging guarantees, and the frame of a service.
//!
//! ```text
//! contract     what travels: envelope, commands, replies, events (JSON Schema and AsyncAPI are made from here)
//! messaging    how it travels: topology, broker, outbox relay, consumer, participant, idempotency table
//! http         problem+json, extractors, probes, Swagger UI
//! service      the frame of a process, with config, db, telemetry, shutdown and crash points
//! fleet        the list of all programs, which the tools, the tests and the documents read
//! ```
//!
//! Nothing here knows orders, payments or stock beyond the messages about them.

pub mod config;
pub mod contract;
pub mod crash;
pub mod db;
pub mod fleet;
pub mod http;
pub mod messaging;
pub mod service;
pub mod shutdown;
pub mod telemetry;
