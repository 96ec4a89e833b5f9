//! The inventory participant: holds the stock for an order once, and lets it go once.
//!
//! ```text
//! inventory.commands ─► handler ─┬─ reserve, release ─► reservations + inventory_items + idempotency ─► outcome
//!                                └─ validate ─► a look at inventory_items ─► answer to reply_to
//! inventory.events   ─► shipping ── order.shipped ─► the reservation is final: the goods have left ─┐
//! HTTP               ─► catalogue ─ products and how many there are ────────────────────────────────┤
//!                                         inventory.updated | low_stock | back_in_stock ◄─ outbox ◄─┘
//! ```
//!
//! `stock` decides, in memory, on rows that its transaction has locked. Every transaction locks in the same
//! order, so that none waits for another in a circle: reservations by saga, then products by id. The frame, which
//! makes a command happen once, is [`common::messaging::participant`]; this crate is the work in it.

pub mod app;
mod catalogue;
pub mod entity;
mod handler;
mod http;
mod reservations;
mod shipping;
mod stock;
mod validation;
mod wanted;

/// The service's name, in messages and in logs.
const SOURCE: &str = common::fleet::INVENTORY.program.name;
