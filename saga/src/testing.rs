//! Proofs and tests for anybody's saga, without a broker, a database or a clock.
//!
//! - [`Scenario`] tells a story about one saga, and says how it has to go on: what is sent, and how it ends.
//! - [`check`] visits everything that can happen to a saga within bounds, and finds what breaks a guarantee.
//!   [`find_mutants`] shows that it would.
//! - [`replay`] folds logs that releases have written with the code of today.

pub mod check;
pub(crate) mod plans;
mod sample;
mod scenario;
mod story;

pub use check::{AfterRefund, Bug, Check, check, find_mutants};
pub use sample::{Sample, replay};
pub use scenario::Scenario;
