//! A span: what happened, from when to when, and what of. It is recorded when it is over, and known to all that follows
//! from it before that.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState,
    },
};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SamplingDecision, SpanData, SpanEvents, SpanLinks,
};

use super::export::Tracer;
use crate::contract::{Trace, clock};

/// Links of a span at most, as the SDK has it: a batch may be as large as whoever sends it wants.
const LINKS_MAX: usize = 128;
/// Longest text of an error, in characters.
const ERROR_MAX: usize = 1000;

/// A span that has begun. While nobody collects spans, it is nothing and costs nothing. One that is dropped and not ended
/// was in vain: nobody hears of it.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Box<Begun>>);

#[derive(Clone, Debug)]
struct Begun {
    trace: Trace,
    parent: SpanId,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: DateTime<Utc>,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    /// Whether it will be recorded: its trace is sampled.
    is_sampled: bool,
}

impl Span {
    /// Begins what follows from `parent`, or a trace.
    pub fn begin<N: Into<Cow<'static, str>>>(
        kind: SpanKind,
        parent: Option<&Trace>,
        name: impl FnOnce() -> N,
    ) -> Self {
        let Some(tracer) = Tracer::get() else {
            return Self(None);
        };
        let name = name().into();
        let above = parent.map(context);
        let ids = RandomIdGenerator::default();
        let trace_id = above
            .as_ref()
            .map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
        let flags = above
            .as_ref()
            .map_or_else(TraceFlags::default, SpanContext::trace_flags);
        let parent_id = above.as_ref().map_or(SpanId::INVALID, SpanContext::span_id);
        let above = above.map(|above| Context::new().with_remote_span_context(above));
        let sampled =
            tracer
                .sampler
                .should_sample(above.as_ref(), trace_id, &name, &kind, &[], &[]);
        let is_sampled = sampled.decision == SamplingDecision::RecordAndSample;
        let trace = Trace::at(
            u128::from_be_bytes(trace_id.to_bytes()),
            u64::from_be_bytes(ids.new_span_id().to_bytes()),
            flags.with_sampled(is_sampled).to_u8(),
            parent.and_then(Trace::state).map(str::to_owned),
        );
        Self(Some(Box::new(Begun {
            trace,
            parent: parent_id,
            kind,
            name,
            start: clock::now(),
            attributes: Vec::new(),
            links: Vec::new(),
            is_sampled,
        })))
    }

    /// Where it is: what follows from it has this as its parent. `None` while nobody collects spans.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.0.as_ref().map(|begun| &begun.trace)
    }

    /// The same, or `otherwise` while nobody collects spans: then all that follows has the parent that it would have had.
    #[must_use]
    pub fn trace_or(&self, otherwise: Option<Trace>) -> Option<Trace> {
        self.trace().cloned().or(otherwise)
    }

    /// With these attributes too, which are only asked for when somebody will see them.
    #[must_use]
    pub fn with<A: IntoIterator<Item = KeyValue>>(
        mut self,
        attributes: impl FnOnce() -> A,
    ) -> Self {
        if let Some(begun) = self.sampled() {
            begun.attributes.extend(attributes());
        }
        self
    }

    /// Linked to other places, in this trace or others.
    #[must_use]
    pub fn linked<'t>(mut self, to: impl IntoIterator<Item = &'t Trace>) -> Self {
        if let Some(begun) = self.sampled() {
            let links = to
                .into_iter()
                .map(|trace| Link::with_context(context(trace)));
            begun.links.extend(links.take(LINKS_MAX));
        }
        self
    }

    fn sampled(&mut self) -> Option<&mut Begun> {
        self.0.as_deref_mut().filter(|begun| begun.is_sampled)
    }

    /// It is over.
    pub fn end(self) {
        self.record(Status::Unset);
    }

    /// It is over, and failed: `kind` is a stable word for the reason, `error` the reason.
    pub fn fail(self, kind: &str, error: &str) {
        if self.0.is_none() {
            return;
        }
        let kind = kind.to_owned();
        let error: String = error.chars().take(ERROR_MAX).collect();
        self.with(|| [KeyValue::new("error.type", kind)])
            .record(Status::error(error));
    }

    fn record(self, status: Status) {
        let (Some(begun), Some(tracer)) = (self.0, Tracer::get()) else {
            return;
        };
        if !begun.is_sampled {
            return;
        }
        let mut links = SpanLinks::default();
        links.links = begun.links;
        tracer.record(SpanData {
            span_context: context(&begun.trace),
            parent_span_id: begun.parent,
            // Also where it was made by the same program, it came as text.
            parent_span_is_remote: begun.parent != SpanId::INVALID,
            span_kind: begun.kind,
            name: begun.name,
            start_time: begun.start.into(),
            end_time: clock::now().max(begun.start).into(),
            attributes: begun.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: tracer.scope.clone(),
        });
    }
}

/// Whether anybody collects spans.
#[must_use]
pub fn is_collected() -> bool {
    Tracer::get().is_some()
}

/// The place in the trace as OpenTelemetry knows it.
fn context(trace: &Trace) -> SpanContext {
    let state = trace.state().and_then(|state| state.parse().ok());
    SpanContext::new(
        TraceId::from(trace.id()),
        SpanId::from(trace.span()),
        TraceFlags::new(trace.flags()),
        true,
        state.unwrap_or(TraceState::NONE),
    )
}
