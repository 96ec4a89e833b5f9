//! The engine's parts together, and the test kit on itself.

mod checks;
mod definition;
mod log;
mod outlook;
mod registry;
mod samples;
mod scenario;
mod trip;
