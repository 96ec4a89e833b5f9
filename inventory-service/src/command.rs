//! What sagas can ask for.

use common::{
    contract::{
        OrderId,
        inventory::{CommitStock, ReleaseStock, ReserveStock, Restock},
    },
    participant,
};

/// A command of a saga.
pub(crate) type Command = participant::Command<Body>;

/// What a saga can ask for.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Hold these, each product once, by product.
    Reserve(ReserveStock),
    /// Let go of what is held, and why.
    Release(ReleaseStock),
    /// Make final what the order holds.
    Commit(CommitStock),
    /// Put these on the shelf again, each product once, by product.
    Restock(Restock),
}

impl Body {
    /// The order that it is about.
    pub(crate) const fn order_id(&self) -> OrderId {
        match self {
            Self::Reserve(asked) => asked.order_id,
            Self::Release(asked) => asked.order_id,
            Self::Commit(asked) => asked.order_id,
            Self::Restock(asked) => asked.order_id,
        }
    }
}
