//! What sagas can ask for.

use common::{
    contract::{
        Reason,
        inventory::{Restock, StockItem},
    },
    participant,
};

/// A command of a saga.
pub(crate) type Command = participant::Command<Body>;

/// What a saga can ask for.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Hold these, each product once, by product.
    Reserve(Vec<StockItem>),
    /// Let go of what is held, and why.
    Release(Reason),
    /// Make final what the order holds.
    Commit,
    /// Put these on the shelf again, each product once, by product.
    Restock(Restock),
}
