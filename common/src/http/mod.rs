//! The frame of an HTTP API: errors, extractors, lists, probes and the server.
//!
//! Every error is an RFC 9457 problem ([`ApiError`]); every body, query and path goes through an extractor of
//! [`extract`] that says which field is wrong.

mod connections;
mod created;
mod document;
pub mod extract;
mod gate;
pub mod health;
mod origin;
mod page;
mod probe;
pub mod problem;
mod server;
mod traced;

pub use connections::listen;
pub use created::{Created, id_after, time};
pub use document::describe;
pub use origin::{CORRELATION_ID, origin};
pub use page::{Page, Part};
pub(crate) use probe::is_alive;
pub use problem::{ApiError, FieldError, Problem};
pub use server::{api, document, gated, serve};
