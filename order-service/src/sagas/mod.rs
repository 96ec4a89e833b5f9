//! The sagas of orders: a file each, with the table of steps, the commands, and what progress means for the order.
//!
//! To add one, write its file and add its line to [`SAGAS`].

pub mod create_order;
pub mod return_order;
pub mod ship_order;

use saga::{AnyDefinition, Conflict, Decision, Registry, What};

pub use self::{
    create_order::{CREATE_ORDER, PlacedOrder},
    return_order::{RETURN_ORDER, ReturnedGoods},
    ship_order::{SHIP_ORDER, ShippedOrder},
};
use crate::orders::Change;

/// A saga of orders.
#[derive(Clone, Copy, Debug)]
pub struct OrderSaga {
    /// Its table of steps.
    pub definition: &'static dyn AnyDefinition,
    /// What an entry of its log changes about the order.
    pub follow: Follow,
}

/// What an entry of a saga's log changes about the order.
pub type Follow = fn(&What, &Decision) -> anyhow::Result<Option<Change>>;

/// Every saga of orders: also older versions of a definition, while sagas of theirs are open.
pub const SAGAS: &[OrderSaga] = &[
    OrderSaga::new(&CREATE_ORDER, create_order::follow),
    OrderSaga::new(&SHIP_ORDER, ship_order::follow),
    OrderSaga::new(&RETURN_ORDER, return_order::follow),
];

impl OrderSaga {
    /// The saga of this table, whose entries change what `follow` says.
    #[must_use]
    pub const fn new(definition: &'static dyn AnyDefinition, follow: Follow) -> Self {
        Self { definition, follow }
    }
}

/// The registry of these sagas.
///
/// # Errors
/// They cannot be together in one program.
pub fn registry(sagas: &[OrderSaga]) -> Result<Registry, Conflict> {
    let definitions: Vec<_> = sagas.iter().map(|saga| saga.definition).collect();
    Registry::new(&definitions)
}
