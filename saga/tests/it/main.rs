//! The engine's parts together, and the test kit on itself.

mod checks;
mod trip;
