//! Proofs and tests for anybody's saga, without a broker, a database or a clock.
//!
//! - [`Scenario`] tells a story about one saga, and says how it has to go on: what is sent, and how it ends.
//! - [`check`] visits everything that can happen to a saga within bounds, and finds what breaks a guarantee.
//! - [`replay`] folds logs that were written by releases with the code of today.

pub mod check;
mod plans;

pub use check::{Check, check, find_mutants};
