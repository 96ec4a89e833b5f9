//! For tests and tools only: a database and a vhost per test, a plain AMQP client, a reader that compares messages with
//! the published documents, private servers, a whole system of
//! its own, waiting, and trouble: a proxy that cuts, stalls and delays, messages that come twice and in another order,
//! clocks that are wrong, and garbage.

mod amqp;
pub mod contract;
mod environment;
pub mod faketime;
pub mod garbage;
pub mod openapi;
pub mod participant;
mod proxy;
pub mod servers;
mod shuffle;
pub mod system;
mod wait;

pub use amqp::Amqp;
pub use environment::{Environment, Servers};
pub use proxy::Proxy;
pub use shuffle::{Shuffle, Shuffled};
pub use wait::{PATIENCE, eventually, wait_until};
