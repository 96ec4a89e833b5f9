//! The tables that the API reads, one entity each. Writes are set-based statements in `stock`, `reservations` and
//! `catalogue`.

pub mod inventory_item;
pub mod reservation;
