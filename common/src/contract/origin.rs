//! Where messages come from: which request, and which trace.

use super::{Envelope, Trace};

/// Where a message comes from. All that follows from it, across services, repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Ties together all that one request caused.
    pub correlation_id: String,
    /// Where in the request's trace.
    pub trace: Option<Trace>,
}

impl Origin {
    /// The envelope with where it comes from.
    #[must_use]
    pub fn apply(&self, envelope: Envelope) -> Envelope {
        Envelope {
            correlationid: Some(self.correlation_id.clone()),
            ..envelope.traced(self.trace.as_ref())
        }
    }
}
