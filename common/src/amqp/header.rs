//! Headers as people and programs outside of AMQP read them.

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::DateTime;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value};

/// The headers as JSON: bytes that are no text in base64, times in RFC 3339.
pub(super) fn table(headers: &FieldTable) -> Map<String, Value> {
    let entries = headers.inner().iter();
    entries
        .map(|(name, value)| (name.to_string(), json(value)))
        .collect()
}

/// The value as JSON. How deep it may be is limited where it is read from the wire.
pub(super) fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(truth) => (*truth).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Float(number) => (*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::DecimalValue(number) => format!("{}e-{}", number.value, number.scale).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => text.into(),
            Err(_) => BASE64_STANDARD.encode(text.as_bytes()).into(),
        },
        AMQPValue::ByteArray(bytes) => BASE64_STANDARD.encode(bytes.as_slice()).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(inner) => Value::Object(table(inner)),
        AMQPValue::Timestamp(seconds) => {
            let time = i64::try_from(*seconds).ok();
            let time = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            time.map_or(Value::Null, |time| time.to_rfc3339().into())
        }
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_of_every_kind_are_json() {
        let mut inner = FieldTable::default();
        inner.insert("count".into(), AMQPValue::LongLongInt(2));
        inner.insert("time".into(), AMQPValue::Timestamp(0));
        let mut headers = FieldTable::default();
        let deaths = vec![AMQPValue::FieldTable(inner)];
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths.into()));
        headers.insert("text".into(), AMQPValue::LongString("why".into()));
        headers.insert("bytes".into(), AMQPValue::LongString(vec![0xff_u8].into()));
        headers.insert("nothing".into(), AMQPValue::Void);
        let expected = json!({
            "x-death": [{"count": 2, "time": "1970-01-01T00:00:00+00:00"}],
            "text": "why", "bytes": "/w==", "nothing": null
        });
        assert_eq!(Value::Object(table(&headers)), expected);
    }
}
