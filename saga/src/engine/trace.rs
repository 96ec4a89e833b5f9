//! Where in a trace decisions are made: what follows from them follows from there.
//!
//! ```text
//! request ─► create (command) ─► process (participant) ─► create (reply) ─► process (here) ─► create (next command) …
//!    ├─────► deadline ─► create (the command again)
//!    ┆ link
//! verb ────► retry ─► create …                    from then on, the saga is in the verb's trace
//! ```

use common::{
    contract::Trace,
    telemetry::{KeyValue, Span, SpanKind},
};

use crate::{Event, saga::Saga};

/// The span of what happens to `saga` that is no message.
pub(super) fn span(saga: &Saga, event: &Event, parent: Option<&Trace>) -> Span {
    let definition = saga.definition.name();
    Span::begin(SpanKind::Internal, parent, || {
        format!("{} {definition}", name(event))
    })
    .with(|| {
        let step = saga.state.step();
        [
            Some(KeyValue::new("saga.id", saga.id.to_string())),
            Some(KeyValue::new("saga.type", definition)),
            step.map(|step| KeyValue::new("saga.step", step)),
        ]
        .into_iter()
        .flatten()
    })
}

fn name(event: &Event) -> String {
    match event {
        Event::DeadlinePassed => "deadline".to_owned(),
        Event::Expired => "expire".to_owned(),
        Event::CancelRequested { .. } => "cancel".to_owned(),
        Event::Intervened { verb, .. } => verb.to_string(),
        // Replies have the span of their message, and notes about dead letters that of their request.
        Event::Succeeded(_) | Event::Rejected { .. } | Event::Undone(_) => "reply".to_owned(),
        Event::DeadLettersRedriven(_) | Event::DeadLetterDeleted(_) => "note".to_owned(),
    }
}

/// The saga, as what it says follows from `span`.
pub(super) fn within(span: &Span, mut saga: Saga) -> Saga {
    saga.origin.trace = span.trace_or(saga.origin.trace);
    saga
}

/// The saga, as what it says follows from a message that was handled at `place`. A saga stays in its trace, which is sampled
/// as before: a place in another one is none.
pub(super) fn after(place: Option<&Trace>, mut saga: Saga) -> Saga {
    let own = saga.origin.trace.as_ref();
    if let Some(there) = own.and_then(|own| own.moved_to(place?)) {
        saga.origin.trace = Some(there);
    }
    saga
}
