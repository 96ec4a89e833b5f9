//! Where messages come from: which request, and which trace.

use super::Envelope;

/// Where a message comes from. All that follows from it, across services, repeats it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Ties together all that one request caused.
    pub correlation_id: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// What the request's tracing systems add to it.
    pub tracestate: Option<String>,
}

impl Origin {
    /// The envelope with where it comes from.
    #[must_use]
    pub fn apply(&self, envelope: Envelope) -> Envelope {
        Envelope {
            correlationid: Some(self.correlation_id.clone()),
            traceparent: self.traceparent.clone(),
            tracestate: self.tracestate.clone(),
            ..envelope
        }
    }
}
