//! Stock: what a transaction does to the products that it has locked, decided in memory and then written at once.
//!
//! ```text
//! lock ─► Stock ─► reserve | release | ship | restock | update, any number of times ─► changes ─► write
//!  one SELECT … ORDER BY product_id FOR UPDATE                       per product: its deltas and its events
//! ```
//!
//! [`Stock`] is pure: no clock, no I/O. An order is served before the next one, within a batch too, and gets all
//! of its items or none. The table's CHECK constraints are the last line, not the first.

mod changes;
mod table;

use std::collections::BTreeMap;

use common::{
    amqp::consumer,
    contract::{
        Reason,
        inventory::{OUT_OF_STOCK, StockItem, UNKNOWN_PRODUCT},
    },
};

pub(crate) use changes::{Change, event};
pub(crate) use table::{availability, lock, make, write};

/// One product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// How many are in the warehouse.
    pub(crate) quantity: i64,
    /// How many of them orders hold.
    pub(crate) reserved: i64,
    /// Fewer than this is low stock.
    pub(crate) low_stock_threshold: i64,
    /// Sequence of the last event about it.
    pub(crate) version: i32,
}

impl Item {
    /// How many can still be ordered.
    pub(crate) fn available(&self) -> i64 {
        self.quantity - self.reserved
    }
}

/// Products that a transaction has locked: as they were, and as they will be.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    products: BTreeMap<String, Entry>,
    /// Which of the batch's commands is at work.
    at_work: usize,
}

#[derive(Debug)]
struct Entry {
    before: Item,
    now: Item,
    /// Whether goods or data changed, not just who holds what: everybody is told.
    updated: bool,
    /// The last command of the batch that changed it.
    cause: usize,
}

/// Why an order does not get its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// UNKNOWN_PRODUCT or OUT_OF_STOCK.
    pub(crate) reason: Reason,
    /// The product that is missing or short.
    pub(crate) product_id: String,
}

/// The books do not balance: somebody must look.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// A product that an order holds, or that came back, is gone.
    #[error("product {0:?}, which an order holds or has sent back, does not exist")]
    Missing(String),
    /// Less is reserved than the orders hold together.
    #[error("an order holds {held} of product {product_id:?}, but only {reserved} are reserved")]
    Unbalanced {
        /// The product.
        product_id: String,
        /// What the order holds.
        held: u32,
        /// What all orders hold, says the product.
        reserved: i64,
    },
}

impl From<Error> for consumer::Error {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Stock {
    /// The same product must not come twice.
    pub(crate) fn new(items: impl IntoIterator<Item = (String, Item)>) -> Self {
        let entry = |now: Item| Entry {
            before: now.clone(),
            now,
            updated: false,
            cause: 0,
        };
        let items = items.into_iter();
        Self {
            products: items.map(|(id, item)| (id, entry(item))).collect(),
            at_work: 0,
        }
    }

    /// Notes which of the batch's commands is at work from now on.
    pub(crate) fn begin(&mut self, command: usize) {
        self.at_work = command;
    }

    /// The product as it is now, if it exists.
    pub(crate) fn get(&self, product_id: &str) -> Option<&Item> {
        self.products.get(product_id).map(|entry| &entry.now)
    }

    /// Holds all of `items`, which name each product once, or none.
    pub(crate) fn reserve(&mut self, items: &[StockItem]) -> Result<(), Refusal> {
        let refusal = |reason, item: &StockItem| Refusal {
            reason,
            product_id: item.product_id.clone(),
        };
        if let Some(unknown) = items.iter().find(|i| self.get(&i.product_id).is_none()) {
            return Err(refusal(UNKNOWN_PRODUCT, unknown));
        }
        let is_short = |item: &&StockItem| {
            self.get(&item.product_id)
                .is_none_or(|there| there.available() < i64::from(item.quantity))
        };
        if let Some(short) = items.iter().find(is_short) {
            return Err(refusal(OUT_OF_STOCK, short));
        }
        for item in items {
            if let Some(entry) = self.products.get_mut(&item.product_id) {
                entry.cause = self.at_work;
                entry.now.reserved += i64::from(item.quantity);
            }
        }
        Ok(())
    }

    /// Lets go of `items`, which an order holds.
    pub(crate) fn release(&mut self, items: &[StockItem]) -> Result<(), Error> {
        for item in items {
            self.held(item)?.now.reserved -= i64::from(item.quantity);
        }
        Ok(())
    }

    /// Sends away `items`, which an order holds.
    pub(crate) fn ship(&mut self, items: &[StockItem]) -> Result<(), Error> {
        for item in items {
            let entry = self.held(item)?;
            entry.now.reserved -= i64::from(item.quantity);
            entry.now.quantity -= i64::from(item.quantity);
            entry.updated = true;
        }
        Ok(())
    }

    /// Puts `items`, which came back, on the shelf.
    pub(crate) fn restock(&mut self, items: &[StockItem]) -> Result<(), Error> {
        for item in items {
            let Some(entry) = self.products.get_mut(&item.product_id) else {
                return Err(Error::Missing(item.product_id.clone()));
            };
            entry.cause = self.at_work;
            entry.now.quantity += i64::from(item.quantity);
            entry.updated = true;
        }
        Ok(())
    }

    /// Notes that somebody counted the product, or changed what is said about it.
    pub(crate) fn update(&mut self, product_id: &str, quantity: Option<i64>) {
        if let Some(entry) = self.products.get_mut(product_id) {
            entry.now.quantity = quantity.unwrap_or(entry.now.quantity);
            entry.updated = true;
        }
    }

    /// What there is to write and to tell, by product.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.products
            .iter()
            .filter(|(_, entry)| entry.updated || entry.now != entry.before)
            .map(|(product_id, entry)| Change {
                cause: entry.cause,
                ..Change::new(product_id, &entry.before, &entry.now, entry.updated)
            })
            .collect()
    }

    fn held(&mut self, item: &StockItem) -> Result<&mut Entry, Error> {
        let Some(entry) = self.products.get_mut(&item.product_id) else {
            return Err(Error::Missing(item.product_id.clone()));
        };
        entry.cause = self.at_work;
        if entry.now.reserved < i64::from(item.quantity) {
            return Err(Error::Unbalanced {
                product_id: item.product_id.clone(),
                held: item.quantity,
                reserved: entry.now.reserved,
            });
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests;
