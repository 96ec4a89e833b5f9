//! The inventory participant: holds the stock for an order once, and lets it go or sends it away once.
//!
//! ```text
//! inventory.commands ─► handler ─┬─ reserve, release, commit, restock ─► books + idempotency ─► outcome
//!                                │                                        │
//!                                └─ validate ─► a look at inventory_items │ ─► answer to reply_to
//! HTTP ─► catalogue ─ products and how many there are ────────────────────┤
//!               inventory.updated | low_stock | back_in_stock ◄─ outbox ◄─┘
//! ```
//!
//! `stock` decides, in memory, on rows that its transaction has locked. Every transaction locks in the same order, so
//! that none waits for another in a circle: reservations by saga, then products by id. Each command has a file of its
//! own; `reservations`, `restocks` and `stock` are the books. The frame, which makes a command happen once, is
//! [`common::participant`]; this crate is the work in it.

pub mod app;
mod batch;
mod catalogue;
mod command;
mod commit;
pub mod entity;
mod handler;
mod http;
pub mod metrics;
mod release;
mod reservations;
mod reserve;
mod restock;
mod restocks;
mod stock;
mod validation;
mod wanted;

pub use http::openapi;

/// The service's name, in messages and in logs.
const SOURCE: &str = common::fleet::INVENTORY.program.name;
