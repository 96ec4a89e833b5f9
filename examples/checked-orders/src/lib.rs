//! Orders that are checked for fraud before they are paid: how a program of your own gives a saga of the product one
//! more step, which a participant in another language answers (`examples/fraud-check`).
//!
//! ```text
//! checked_order   the table of steps, and the registry that has it
//! messages        fraud.check.v1 ──► fraud-check ──► fraud.passed.v1 | fraud.refused.v1
//! main            the order service with that registry
//! ```

pub mod checked_order;
pub mod messages;
