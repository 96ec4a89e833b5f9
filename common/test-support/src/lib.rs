//! For tests only: a database and a vhost per test, a plain AMQP client, private servers, waiting.

mod amqp;
mod environment;
pub mod servers;
mod wait;

pub use amqp::Amqp;
pub use environment::{Environment, Servers};
pub use wait::{PATIENCE, eventually, wait_until};
