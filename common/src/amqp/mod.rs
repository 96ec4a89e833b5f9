//! Messages over RabbitMQ. This is the only room that sees lapin.
//!
//! ```text
//! Message, Raw ─► frame: those that may share one ─► publisher of their lane ─► line to their destination
//!                 ─► RabbitMQ ─► confirm, or NotPublished
//! RabbitMQ ─► consumer: a batch ─► decode ─► handler ─► what it returns is published as above ─► ack
//! ```
//!
//! [`Broker`] connects, publishes, and declares every exchange and queue. [`consumer`] turns deliveries into batches and
//! errors into retries or dead letters.

mod broker;
mod connection;
pub mod consumer;
mod dead_letters;
mod declare;
mod destination;
mod error;
mod frame;
mod header;
mod lane;
mod legible;
mod line;
mod message;
mod outgoing;
mod patience;
mod properties;
mod publisher;
mod returning;
mod stream;

pub use broker::{Broker, Confirms, QueueState};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use declare::declare;
pub use destination::Destination;
pub use error::{Error, Mismatch};
pub use lane::Lane;
pub use line::NotPublished;
pub use message::{Message, Reply};
pub use outgoing::{Outgoing, Raw};
pub use stream::connect_to;
