//! The audit on real databases: it passes what is right, and is known to fail on what is not.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, but not the functions that they share"
)]

mod audit;
mod broker;
mod case;
mod program;
mod role;
mod rules;
