//! What became of a product in one transaction: its deltas, and the events that tell of it.

use common::{
    amqp,
    contract::{
        Envelope, Message,
        inventory::{BackInStock, InventoryUpdated, LowStock, StockLevel},
    },
};

use super::Item;
use crate::SOURCE;

/// What is to be written and told of one product.
#[derive(Debug)]
pub(crate) struct Change {
    /// The product.
    pub(crate) product_id: String,
    /// What is added to the warehouse.
    pub(crate) quantity: i64,
    /// What is added to what orders hold.
    pub(crate) reserved: i64,
    /// What is to be told, numbered on from the product's version.
    pub(crate) events: Vec<Envelope>,
    /// Which of the batch's commands they follow from: of several, the last.
    pub(crate) cause: usize,
}

impl Change {
    /// The change with `of` applied to each of its events.
    pub(crate) fn told(self, of: impl Fn(Envelope) -> Envelope) -> Self {
        Self {
            events: self.events.into_iter().map(of).collect(),
            ..self
        }
    }
}

impl Change {
    pub(super) fn new(product_id: &str, before: &Item, now: &Item, updated: bool) -> Self {
        let level = StockLevel {
            product_id: product_id.to_owned(),
            quantity: count(now.quantity),
            reserved_quantity: count(now.reserved),
            available_quantity: count(now.available()),
        };
        let is_low = |item: &Item| item.available() < item.low_stock_threshold;
        let mut sequence = before.version;
        let mut next = || {
            sequence += 1;
            sequence
        };
        let mut events = Vec::new();
        if updated {
            events.push(event(level.clone(), InventoryUpdated, next()));
        }
        if is_low(now) && !is_low(before) {
            events.push(event(level.clone(), LowStock, next()));
        }
        if now.available() > 0 && before.available() <= 0 {
            events.push(event(level, BackInStock, next()));
        }
        Self {
            product_id: product_id.to_owned(),
            quantity: now.quantity - before.quantity,
            reserved: now.reserved - before.reserved,
            events,
            cause: 0,
        }
    }
}

/// The public events of `changes`.
pub(crate) fn outgoing(changes: Vec<Change>) -> Vec<amqp::Message> {
    let events = changes.into_iter().flat_map(|change| change.events);
    events.map(amqp::Message::event).collect()
}

/// The event that `of` makes of `level`, as the product's `sequence`th.
pub(crate) fn event<M: Message>(
    level: StockLevel,
    of: fn(StockLevel) -> M,
    sequence: i32,
) -> Envelope {
    let product_id = level.product_id.clone();
    Envelope {
        sequence: Some(sequence),
        ..Envelope::new(SOURCE, &product_id, &of(level))
    }
}

/// A count on the wire; the table's constraints keep it from being negative.
fn count(n: i64) -> u64 {
    n.max(0).unsigned_abs()
}
