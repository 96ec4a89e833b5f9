//! The sagas of orders: stories, every run within bounds, and the logs of what was released.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod create_order;
mod released;
mod return_order;
mod ship_order;
