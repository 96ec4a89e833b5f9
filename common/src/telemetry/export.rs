//! Spans on their way to a collector: OTLP over gRPC, when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Nothing waits for it.
//!
//! The variables that begin with `OTEL_` are read by OpenTelemetry's own SDK, as its specification says. A value that would
//! only be noticed because no spans come is refused here.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Config, ShouldSample, SpanData, SpanExporter, SpanProcessor as _},
};
use tracing::{info, warn};

use crate::{
    config::{self, Vars},
    contract::clock,
};

/// Either of them says where spans go.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const COMPRESSIONS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// How long a program that stops waits until the collector has the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// What spans are sampled by, and where they go.
#[derive(Debug)]
pub(super) struct Tracer {
    pub(super) sampler: Box<dyn ShouldSample>,
    pub(super) scope: InstrumentationScope,
    processor: BatchSpanProcessor,
}

impl Tracer {
    /// The program's, if anybody collects its spans.
    pub(super) fn get() -> Option<&'static Self> {
        TRACER.get()
    }

    /// Has `span` sent with others. What does not fit into the queue, for the collector is away or slow, is lost.
    pub(super) fn record(&self, span: SpanData) {
        self.processor.on_end(span);
    }
}

/// Sends the last spans when it is dropped.
#[derive(Debug)]
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(tracer) = Tracer::get() {
            // A collector that is away was reported before.
            let _ = tracer.processor.shutdown_with_timeout(LAST_SPANS);
        }
    }
}

/// Sends the spans of the program `name` where `vars` say, if they do.
pub(super) fn init(name: &str, vars: &Vars) -> Result<Option<Guard>, config::Error> {
    if !is_wanted(vars) {
        return Ok(None);
    }
    check(vars)?;
    let exporter = OtlpExporter::builder().with_tonic().build();
    let exporter = exporter.map_err(|_| {
        // There may be a password in it.
        let variable = endpoint(vars).unwrap_or_default();
        config::Error::new(
            variable,
            "[redacted]",
            "a URL such as http://localhost:4317",
        )
    })?;
    let mut processor = BatchSpanProcessor::builder(Reporting {
        exporter,
        is_failing: AtomicBool::new(false),
    })
    .build();
    processor.set_resource(&resource(name));
    let tracer = Tracer {
        sampler: Config::default().sampler,
        scope: InstrumentationScope::builder("order-saga")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
        processor,
    };
    let is_first = TRACER.set(tracer).is_ok();
    Ok(is_first.then_some(Guard))
}

/// Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
fn is_wanted(vars: &Vars) -> bool {
    let is = |name: &str, value: &str| {
        let given = vars.optional(name);
        given.is_some_and(|given| given.eq_ignore_ascii_case(value))
    };
    endpoint(vars).is_some()
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

/// The variable that says where spans go.
fn endpoint(vars: &Vars) -> Option<&'static str> {
    let mut endpoints = ENDPOINTS.into_iter();
    endpoints.find(|name| vars.optional(name).is_some())
}

/// Refuses what the SDK would only warn of, or take for something else.
fn check(vars: &Vars) -> Result<(), config::Error> {
    for name in PROTOCOLS {
        if let Some(protocol) = vars.optional(name)
            && protocol != "grpc"
        {
            let expected = "grpc, which collectors take at port 4317";
            return Err(config::Error::new(name, &protocol, expected));
        }
    }
    for name in COMPRESSIONS {
        if let Some(compression) = vars.optional(name)
            && compression != "none"
        {
            return Err(config::Error::new(name, &compression, "none"));
        }
    }
    if let Some(sampler) = vars.optional("OTEL_TRACES_SAMPLER")
        && !SAMPLERS.contains(&sampler.as_str())
    {
        let expected = format!("one of {}", SAMPLERS.join(", "));
        return Err(config::Error::new(
            "OTEL_TRACES_SAMPLER",
            &sampler,
            &expected,
        ));
    }
    let is_ratio = |ratio: f64| (0.0..=1.0).contains(&ratio);
    let expected = "a share from 0.0 to 1.0";
    vars.parse_if("OTEL_TRACES_SAMPLER_ARG", 1.0, expected, is_ratio)?;
    Ok(())
}

/// Who tells: the program, and which replica of it, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` know better.
fn resource(name: &str) -> Resource {
    let given = Resource::builder().build();
    let knows = |key: &'static str| given.get(&Key::from_static_str(key));
    let mut own = Vec::new();
    if knows("service.name").is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        own.push(KeyValue::new("service.name", name.to_owned()));
    }
    if knows("service.instance.id").is_none() {
        let id = clock::new_id().to_string();
        own.push(KeyValue::new("service.instance.id", id));
    }
    Resource::builder().with_attributes(own).build()
}

/// Says once that the collector does not take spans, and once that it does again.
#[derive(Debug)]
struct Reporting {
    exporter: OtlpExporter,
    is_failing: AtomicBool,
}

impl SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    info!("the collector takes spans again");
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    warn!(%error, spans, "spans are lost: the collector does not take them");
                }
            }
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        let pairs = pairs.iter().copied();
        pairs.collect()
    }

    #[test]
    fn spans_are_sent_where_an_endpoint_says_so() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        assert!(!is_wanted(&vars(&[])));
        assert!(is_wanted(&vars(&[endpoint])));
        assert!(is_wanted(&vars(&[(ENDPOINTS[0], "http://localhost:4317")])));
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ] {
            assert!(!is_wanted(&vars(&[endpoint, off])), "{off:?}");
        }
    }

    #[test]
    fn what_would_silently_lose_spans_is_refused() {
        for good in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ] {
            assert_eq!(check(&vars(&[good])), Ok(()), "{good:?}");
        }
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER_ARG", "25"),
        ] {
            let error = check(&vars(&[(name, value)])).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{name}={value:?}: expected")),
                "{error}"
            );
        }
    }
}
