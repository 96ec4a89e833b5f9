//! The CloudEvents 1.0 envelope of every message.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Message, SagaId, Trace, clock};

/// Bytes of a message that is read; what is larger was not made here.
pub(crate) const MESSAGE_MAX: usize = 1024 * 1024;
/// Bytes of an attribute, which AMQP repeats in properties and routing keys.
const ATTRIBUTE_MAX: usize = 255;
/// Bytes of a subject: a product's id has up to 255 characters.
const SUBJECT_MAX: usize = 1024;
/// Bytes of a trace state. Ours have at most 512.
const TRACESTATE_MAX: usize = 1024;

/// A CloudEvent: who says what about which order, and what it belongs to.
///
/// ```json
/// {"specversion":"1.0","id":"01976a3e-…","source":"payment-service","type":"payment.processed.v1",
///  "subject":"01976a3d-…","time":"2026-11-20T10:00:00Z","datacontenttype":"application/json",
///  "sagaid":"01976a3d-…","sagastep":"payment","correlationid":"…","causationid":"…","sequence":1,
///  "traceparent":"00-…-01","data":{"orderId":"01976a3d-…","amount":"39.98"}}
/// ```
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(
    rename = "CloudEvent",
    description = "A CloudEvent 1.0 in the JSON format: who says what about which order, and what it belongs to."
)]
pub struct Envelope {
    /// Always `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// The message's id. A message that is sent again has the same id.
    pub id: Uuid,
    /// The service that says it: `order-service`.
    #[schemars(length(max = ATTRIBUTE_MAX))]
    pub source: String,
    /// What kind of message it is: `payment.processed.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: the order's id, or the product's id for events about stock.
    // Others may leave it out. An empty one is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = SUBJECT_MAX))]
    pub subject: String,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Always `application/json`.
    #[serde(default = "json")]
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: String,
    /// The saga that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sagaid: Option<SagaId>,
    /// The saga's step that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ATTRIBUTE_MAX))]
    pub sagastep: Option<String>,
    /// Ties all that one request caused together, across services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ATTRIBUTE_MAX))]
    pub correlationid: Option<String>,
    /// The id of the message that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<Uuid>,
    /// Counts the public events of one source about one subject, from 1, without a gap. What comes of commands is counted
    /// for each step of a saga: 1 is the first outcome, and 2 what came of undoing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub sequence: Option<i32>,
    /// The W3C trace context of the request that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What tracing systems add to the trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// On commands: the routing key on `saga.replies` for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = ATTRIBUTE_MAX))]
    pub replyto: Option<String>,
    /// The message's own content, as it came.
    #[schemars(with = "serde_json::Value")]
    pub data: Box<RawValue>,
}

fn json() -> String {
    "application/json".to_owned()
}

/// Why a message cannot be read: no fault of the reader, and trying again is no use.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or not a CloudEvent.
    #[error("not a CloudEvents 1.0 message: {0}")]
    Envelope(String),
    /// A type that this consumer has no meaning for.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// An attribute that this type of message needs is absent or wrong.
    #[error("attribute {0:?} is missing or invalid")]
    Attribute(&'static str),
    /// The data is not what the type promises.
    #[error("data of {kind}: {error}")]
    Data {
        /// The message's type.
        kind: String,
        /// What is wrong with it.
        error: String,
    },
}

impl Unreadable {
    /// A stable word for the `x-error-kind` header of a dead letter.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "unreadable",
            Self::UnknownType(_) => "unknown-type",
            Self::Attribute(_) => "missing-attribute",
            Self::Data { .. } => "invalid-data",
        }
    }
}

impl Envelope {
    /// A new message from `source` about `subject`, with a new id, made now.
    #[must_use]
    pub fn new<M: Message>(source: &str, subject: &str, data: &M) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: clock::new_id(),
            source: source.to_owned(),
            kind: M::TYPE.to_owned(),
            subject: subject.to_owned(),
            time: clock::now(),
            datacontenttype: json(),
            sagaid: None,
            sagastep: None,
            correlationid: None,
            causationid: None,
            sequence: None,
            traceparent: None,
            tracestate: None,
            replyto: None,
            data: serde_json::value::to_raw_value(data)
                .expect("contract types are plain JSON objects"),
        }
    }

    /// Reads one CloudEvent in the JSON format.
    ///
    /// # Errors
    /// [`Unreadable::Envelope`] with what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, Unreadable> {
        if json.len() > MESSAGE_MAX {
            let problem = format!("{} bytes, and at most {MESSAGE_MAX} are read", json.len());
            return Err(Unreadable::Envelope(problem));
        }
        let envelope: Self =
            serde_json::from_slice(json).map_err(|e| Unreadable::Envelope(e.to_string()))?;
        envelope.check()?;
        Ok(envelope)
    }

    /// Whether every attribute can be stored, routed by, and repeated in AMQP properties.
    fn check(&self) -> Result<(), Unreadable> {
        if self.specversion != "1.0" {
            let problem = format!("specversion is not 1.0 but {:.10?}", self.specversion);
            return Err(Unreadable::Envelope(problem));
        }
        let attributes = [
            ("source", Some(&self.source), ATTRIBUTE_MAX),
            ("type", Some(&self.kind), ATTRIBUTE_MAX),
            ("subject", Some(&self.subject), SUBJECT_MAX),
            (
                "datacontenttype",
                Some(&self.datacontenttype),
                ATTRIBUTE_MAX,
            ),
            ("sagastep", self.sagastep.as_ref(), ATTRIBUTE_MAX),
            ("correlationid", self.correlationid.as_ref(), ATTRIBUTE_MAX),
            ("traceparent", self.traceparent.as_ref(), ATTRIBUTE_MAX),
            ("tracestate", self.tracestate.as_ref(), TRACESTATE_MAX),
            ("replyto", self.replyto.as_ref(), ATTRIBUTE_MAX),
        ];
        for (name, value, longest) in attributes {
            let problem = match value {
                Some(value) if value.len() > longest => {
                    format!("{name} is longer than {longest} bytes")
                }
                // The specification forbids them, and PostgreSQL stores no NUL.
                Some(value) if value.contains(char::is_control) => {
                    format!("{name} has control characters")
                }
                _ => continue,
            };
            return Err(Unreadable::Envelope(problem));
        }
        Ok(())
    }

    /// Where in a trace it was made, if it says so as it should.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        Trace::stored(self.traceparent.as_deref(), self.tracestate.clone())
    }

    /// The message, made there in a trace.
    #[must_use]
    pub fn traced(self, trace: Option<&Trace>) -> Self {
        Self {
            traceparent: trace.map(Trace::parent),
            tracestate: trace.and_then(Trace::state).map(str::to_owned),
            ..self
        }
    }

    /// The data as `M`.
    ///
    /// # Errors
    /// [`Unreadable::Data`] with what is wrong.
    pub fn data<M: Message>(&self) -> Result<M, Unreadable> {
        serde_json::from_str(self.data.get()).map_err(|e| Unreadable::Data {
            kind: self.kind.clone(),
            error: e.to_string(),
        })
    }

    /// The message as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an envelope is plain JSON")
    }
}
