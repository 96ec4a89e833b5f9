//! Orders and their sagas.
//!
//! ```text
//! POST /orders ─► intake: order + saga + saga log + outbox, one transaction for all that came together
//!                                                                │
//!                                         payment, inventory ◄───┘ commands
//!                                                  │
//! order.saga.replies ─► orchestrator: lock ─► decide (pure) ─► state + log + order + outbox, one transaction
//! deadlines          ─► timeout worker ──────────┘
//! ```
//!
//! [`saga`] is the heart; start there. [`orders`] is what sagas are about, `http` what people see.

pub mod app;
mod entity;
mod http;
mod intake;
pub mod orders;
pub mod saga;
