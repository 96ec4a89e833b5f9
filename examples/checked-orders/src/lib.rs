//! Orders that are checked for fraud before they are paid: how a program of your own adds a step to a saga of the
//! product, answered by a participant in another language (`examples/fraud-check`).
//!
//! ```text
//! saga.commands: fraud.check.v1 ──► fraud-check ──► saga.replies: fraud.passed.v1 | fraud.refused.v1
//! ```

pub mod messages;
