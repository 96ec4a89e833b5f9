//! The tables that the API reads, one module each.

pub(crate) mod order;
pub(crate) mod saga;
