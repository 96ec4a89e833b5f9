//! The saga: what happens to an order, decided in one place and written down before it happens.
//!
//! ```text
//!            create_order.rs          the table of steps: what is done, in which order, and what undoes it
//!                  │
//! event ──► transition.rs             decides what follows: pure, no clock, no I/O
//!                  │
//!                  ▼
//!            saga log (saga_log.rs)   what was decided, append-only; the state is its fold
//!                  │
//!                  ▼
//!   commands, order status, deadline  all read off the new log entries, committed with them (orchestrator.rs)
//! ```
//!
//! Forward, each step's command is sent when the one before it succeeded. When a step is rejected, stays silent, or
//! the order is cancelled, what was done is undone in reverse order. What cannot be undone is parked for an
//! operator. [`timeout`] makes sure that silence is noticed: each saga that is neither ended nor parked has a
//! deadline.

pub mod create_order;
pub mod definition;
pub mod log;
pub mod orchestrator;
pub mod saga_log;
pub mod timeout;
pub mod transition;

pub use definition::{Definition, Step, Told};
pub use log::{Entry, State, What};
pub use orchestrator::Orchestrator;
pub use transition::{Event, IllegalEvent, Transition, transition};

/// Every definition that this program can run: also those of older versions, while sagas of theirs are open.
pub const DEFINITIONS: &[&Definition] = &[&create_order::CREATE_ORDER];

/// The definition called `name` in `version`.
#[must_use]
pub fn definition(name: &str, version: i32) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .copied()
        .find(|definition| definition.name == name && definition.version == version)
}
