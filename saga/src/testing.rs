//! The model is the code: every run of a saga within bounds, with the production decision in the middle.
//!
//! ```text
//! saga::transition (production) ◄─ orchestrator.rs ◄── replies ──┐
//!               └─ commands ─► outbox ─► broker ─► participant.rs ┘      world.rs: all of it, as a value
//!                                          │
//!             model.rs: anything may come next, twice, late, or never; deliveries.rs: anybody may die
//! ```
//!
//! `stateright` visits every state that can be reached and looks at [`properties`] in each. [`measure`] shows that
//! no run goes on for ever. [`bug`]s show that the check can fail. What it takes for granted: a transaction is atomic
//! and durable, and a key of an idempotency table can be inserted once. Batches are not in it, for sagas share nothing.
//! Run it with `cargo test -p order-service --test model -- --nocapture` to see the number of states.

mod bug;
mod checks;
mod deliveries;
mod measure;
mod model;
mod mutants;
mod orchestrator;
mod participant;
mod properties;
mod world;
