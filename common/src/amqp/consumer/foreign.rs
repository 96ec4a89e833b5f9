//! CloudEvents that others write, in all that the specification allows and our own messages do not use: ids that are no
//! UUIDs, attributes that are absent, data in base64, and binary mode, whose attributes are headers.
//!
//! Such an event is rewritten as one of ours, and read like one.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>,
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md>

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use uuid::Uuid;

use crate::{
    amqp::header,
    contract::{Envelope, MESSAGE_MAX, Unreadable, clock},
};

/// What the headers of an event in binary mode begin with. Brokers that forbid the colon have the other one.
const PREFIXES: [&str; 2] = ["cloudEvents:", "cloudEvents_"];
/// How a content type of structured mode begins.
const STRUCTURED: &str = "application/cloudevents";

/// The attributes of an event and its `data`, as JSON.
type Event = BTreeMap<String, Box<RawValue>>;

/// Reads an event that is none of ours.
///
/// # Errors
/// It is no valid CloudEvent, or not one that can be stored.
pub(super) fn read(body: &[u8], properties: &BasicProperties) -> Result<Envelope, Unreadable> {
    if body.len() > MESSAGE_MAX {
        return Envelope::parse(body);
    }
    let wrong = |problem: String| Unreadable::Envelope(problem);
    let event = match binary(body, properties) {
        Some(event) => event?,
        None => serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?,
    };
    let event = serde_json::to_vec(&ours(event)?).map_err(|error| wrong(error.to_string()))?;
    Envelope::parse(&event)
}

/// The event of a message in binary mode.
fn binary(body: &[u8], properties: &BasicProperties) -> Option<Result<Event, Unreadable>> {
    let content_type = properties.content_type().as_ref();
    let content_type = content_type.map(|kind| kind.as_str());
    if content_type.is_some_and(|kind| kind.starts_with(STRUCTURED)) {
        return None;
    }
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    let attributes = headers.filter_map(|(name, value)| {
        let mut prefixes = PREFIXES.iter();
        let name = prefixes.find_map(|prefix| name.as_str().strip_prefix(prefix))?;
        Some((name.to_owned(), raw(&attribute(value)?)))
    });
    let mut event: Event = attributes.collect();
    if event.is_empty() {
        return None;
    }
    if let Some(kind) = content_type {
        event.insert("datacontenttype".to_owned(), raw(&kind.into()));
    }
    if !body.is_empty() {
        let inserted = insert_data(&mut event, body);
        return Some(inserted.map(|()| event));
    }
    Some(Ok(event))
}

/// A header of binary mode as the attribute that it is; none of what no attribute can be.
fn attribute(header: &AMQPValue) -> Option<Value> {
    match header {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into()),
        AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_) => None,
        // A time that is none is null.
        other => Some(header::json(other)).filter(|value| !value.is_null()),
    }
}

/// `event` with all that our own messages have.
fn ours(mut event: Event) -> Result<Event, Unreadable> {
    let text = |event: &Event, attribute: &str| -> Option<String> {
        serde_json::from_str(event.get(attribute)?.get()).ok()
    };
    let needed = |attribute| text(&event, attribute).filter(|text| !text.is_empty());
    let (Some(id), Some(source)) = (needed("id"), needed("source")) else {
        let problem = "id and source must be texts that are not empty".to_owned();
        return Err(Unreadable::Envelope(problem));
    };
    if id.parse::<Uuid>().is_err() {
        // Source and id together name an event, so they are always the same one here.
        let name = format!("{source}#{id}");
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        event.insert("id".to_owned(), raw(&id.to_string().into()));
    }
    if text(&event, "causationid").is_some_and(|id| id.parse::<Uuid>().is_err()) {
        event.remove("causationid");
    }
    let absent = |event: &Event, attribute: &str| {
        let value = event.get(attribute);
        value.is_none_or(|value| value.get() == "null")
    };
    if absent(&event, "subject") {
        event.insert("subject".to_owned(), raw(&"".into()));
    }
    if absent(&event, "time") {
        event.insert("time".to_owned(), raw(&clock::now().to_rfc3339().into()));
    }
    if absent(&event, "datacontenttype") {
        event.remove("datacontenttype");
    }
    if let Some(bytes) = text(&event, "data_base64") {
        let bytes = BASE64_STANDARD.decode(bytes);
        let bytes = bytes.map_err(|error| data_is_not_json(&event, &error.to_string()))?;
        insert_data(&mut event, &bytes)?;
    }
    event
        .entry("data".to_owned())
        .or_insert_with(|| raw(&Value::Null));
    Ok(event)
}

fn insert_data(event: &mut Event, json: &[u8]) -> Result<(), Unreadable> {
    let data = serde_json::from_slice(json);
    let data = data.map_err(|error| data_is_not_json(event, &error.to_string()))?;
    event.insert("data".to_owned(), data);
    Ok(())
}

fn data_is_not_json(event: &Event, error: &str) -> Unreadable {
    let kind = event.get("type").map_or("", |kind| kind.get());
    Unreadable::Data {
        kind: kind.trim_matches('"').chars().take(255).collect(),
        error: format!("it is not JSON: {error}"),
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("a value is plain JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn structured(event: &Value) -> Result<Envelope, Unreadable> {
        let properties = BasicProperties::default().with_content_type(STRUCTURED.into());
        read(event.to_string().as_bytes(), &properties)
    }

    fn headers(prefix: &str, attributes: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in attributes {
            headers.insert(format!("{prefix}{name}").into(), value.clone());
        }
        BasicProperties::default().with_headers(headers)
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    /// The least that the specification asks for.
    fn least() -> Value {
        json!({"specversion": "1.0", "id": "A234-1234-1234", "source": "/mycontext", "type": "a.b"})
    }

    #[test]
    fn the_least_event_is_read_and_is_the_same_each_time() {
        let event = structured(&least()).unwrap();
        assert_eq!((&*event.subject, event.data.get()), ("", "null"));
        assert!(!event.to_json().contains("subject"), "{}", event.to_json());
        assert_eq!(structured(&least()).unwrap().id, event.id);
        for other in [json!({"id": "A234-1234-1235"}), json!({"source": "/other"})] {
            let mut event_of_other = least();
            for (attribute, value) in other.as_object().unwrap() {
                event_of_other[attribute] = value.clone();
            }
            assert_ne!(structured(&event_of_other).unwrap().id, event.id);
        }
        let mut with_uuid = least();
        with_uuid["id"] = json!("01976a3e-7c00-7000-8000-000000000001");
        let id = structured(&with_uuid).unwrap().id.to_string();
        assert_eq!(with_uuid["id"], *id);
    }

    #[test]
    fn attributes_of_no_meaning_here_are_passed_over() {
        let mut event = least();
        event["comexampleextension1"] = json!("value");
        event["causationid"] = json!("what came before");
        event["time"] = json!("2018-04-05T17:31:00+02:00");
        event["data_base64"] = json!("eyJhIjogMX0=");
        let event = structured(&event).unwrap();
        assert_eq!(event.causationid, None);
        assert_eq!(event.time.to_rfc3339(), "2018-04-05T15:31:00+00:00");
        assert_eq!(event.data.get(), r#"{"a": 1}"#);
    }

    #[test]
    fn binary_mode_is_read() {
        for prefix in PREFIXES {
            let properties = headers(
                prefix,
                &[
                    ("specversion", long("1.0")),
                    ("id", long("A234-1234-1234")),
                    ("source", long("/mycontext")),
                    ("type", AMQPValue::ShortString("a.b".into())),
                    ("time", AMQPValue::Timestamp(1_522_942_260)),
                    ("sequence", AMQPValue::LongInt(7)),
                ],
            );
            let properties = properties.with_content_type("application/json".into());
            let event = read(br#"{"price": 1.10}"#, &properties).unwrap();
            assert_eq!(event.id, structured(&least()).unwrap().id);
            assert_eq!(event.time.to_rfc3339(), "2018-04-05T15:31:00+00:00");
            assert_eq!(event.sequence, Some(7));
            assert_eq!(event.data.get(), r#"{"price": 1.10}"#, "digit by digit");
            let empty = read(b"", &properties).unwrap();
            assert_eq!(empty.data.get(), "null");
            let xml = read(b"<much/>", &properties).unwrap_err();
            assert_eq!(xml.kind(), "invalid-data", "{xml}");
        }
    }

    #[test]
    fn what_is_no_event_is_not_read() {
        for attribute in ["specversion", "id", "source", "type"] {
            let mut event = least();
            event.as_object_mut().unwrap().remove(attribute);
            let error = structured(&event).unwrap_err();
            assert_eq!(error.kind(), "unreadable", "{attribute}: {error}");
        }
        let mut event = least();
        event["id"] = json!("");
        assert_eq!(structured(&event).unwrap_err().kind(), "unreadable");
        event = least();
        event["data_base64"] = json!("%");
        assert_eq!(structured(&event).unwrap_err().kind(), "invalid-data");
        for body in ["", "[]", "{", "7"] {
            let error = read(body.as_bytes(), &BasicProperties::default()).unwrap_err();
            assert_eq!(error.kind(), "unreadable", "{body}");
        }
    }
}
