//! The participant in another language as the orchestrator sees it, and orders that it checks.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod answers;
mod checked_order;
mod crashes;
mod fraud_check;
mod orders;
mod outages;
