//! What happens while it happens: streams of events.

mod sse;
mod stream;

pub(crate) use self::{sse::Event, stream::Live};
