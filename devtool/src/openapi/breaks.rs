//! What of a changed document breaks a client of the old one. Pure.
//!
//! What clients send may become more: a field may be added if it is optional, a type or a bound may become wider. What they
//! read may only stay what they know: fields may be added, but none may go, become optional or get other values.

use std::collections::BTreeSet;

use serde_json::Value;

/// Deeper than any schema of ours goes.
const DEPTH_MAX: usize = 20;

/// Who makes a value: clients, or the service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    ByClients,
    ByTheService,
}

/// Two documents, and what was found so far.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
}

/// Each change that breaks a client of `old` which meets a service that documents itself as `new`.
pub(super) fn breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison {
        old,
        new,
        found: Vec::new(),
    };
    for (path, methods) in entries(&old["paths"]) {
        for (method, operation) in entries(methods) {
            let place = format!("{} {path}", method.to_uppercase());
            comparison.operation(&place, operation, &new["paths"][path][method]);
        }
    }
    comparison.found
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn texts(array: &Value) -> BTreeSet<&str> {
    items(array).filter_map(Value::as_str).collect()
}

/// What `value` refers to, or `value` itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    match pointer.and_then(|pointer| document.pointer(pointer)) {
        Some(target) => resolved(document, target),
        None => value,
    }
}

impl<'a> Comparison<'a> {
    fn say(&mut self, place: &str, what: &str) {
        self.found.push(format!("{place}: {what}"));
    }

    fn operation(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        if new.is_null() {
            return self.say(place, "the operation is gone");
        }
        if old["operationId"] != new["operationId"] {
            self.say(place, "the operation has another id");
        }
        self.parameters(place, old, new);
        let (before, now) = (&old["requestBody"], &new["requestBody"]);
        if before["required"] != true && now["required"] == true {
            self.say(place, "a body is required");
        }
        self.content(place, before, now, Made::ByClients);
        for (status, before) in entries(&old["responses"]) {
            let place = format!("{place} {status}");
            let before = resolved(self.old, before);
            let now = resolved(self.new, &new["responses"][status]);
            if now.is_null() {
                self.say(&place, "the answer is gone");
                continue;
            }
            for (header, _) in entries(&before["headers"]) {
                if now["headers"][header].is_null() {
                    self.say(&place, &format!("the header {header} is gone"));
                }
            }
            self.content(&place, before, now, Made::ByTheService);
        }
    }

    fn parameters(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        let list = |document: &'a Value, operation: &'a Value| -> Vec<&'a Value> {
            let parameters = items(&operation["parameters"]);
            parameters.map(|one| resolved(document, one)).collect()
        };
        let (before, now) = (list(self.old, old), list(self.new, new));
        let same = |a: &Value, b: &Value| a["name"] == b["name"] && a["in"] == b["in"];
        for old in &before {
            let place = format!("{place} {}", old["name"]);
            match now.iter().find(|new| same(old, new)) {
                Some(new) => {
                    self.schema(&place, &old["schema"], &new["schema"], Made::ByClients, 0)
                }
                None => self.say(&place, "the parameter is gone"),
            }
        }
        for new in now.iter().filter(|new| new["required"] == true) {
            let known = before.iter().find(|old| same(old, new));
            if known.is_none_or(|old| old["required"] != true) {
                self.say(place, &format!("the parameter {} is required", new["name"]));
            }
        }
    }

    fn content(&mut self, place: &str, old: &'a Value, new: &'a Value, made: Made) {
        for (content_type, before) in entries(&old["content"]) {
            match &new["content"][content_type] {
                Value::Null => self.say(place, &format!("{content_type} is gone")),
                now => self.schema(place, &before["schema"], &now["schema"], made, 0),
            }
        }
    }

    fn schema(&mut self, place: &str, old: &'a Value, new: &'a Value, made: Made, depth: usize) {
        let (old, new) = (resolved(self.old, old), resolved(self.new, new));
        if depth > DEPTH_MAX || old.is_null() || new.is_null() {
            return;
        }
        let (before, now) = (Shape::of(self.old, old), Shape::of(self.new, new));
        // Whoever makes a value must make one that the other side takes.
        let (gives, takes) = match made {
            Made::ByClients => (&before, &now),
            Made::ByTheService => (&now, &before),
        };
        if !takes.types.is_superset(&gives.types) && !takes.types.is_empty() {
            self.say(
                place,
                &format!("was {:?}, is {:?}", before.types, now.types),
            );
        }
        let is_open = gives.values.is_empty() || !gives.values.is_subset(&takes.values);
        if is_open && !takes.values.is_empty() {
            self.say(place, "has other values");
        }
        for name in takes.required.difference(&gives.required) {
            let what = match made {
                Made::ByClients => "is required",
                Made::ByTheService => "may be absent",
            };
            self.say(place, &format!("{name} {what}"));
        }
        if made == Made::ByClients {
            self.bounds(place, before.schema, now.schema);
        }
        for (name, old) in &before.fields {
            let place = format!("{place}.{name}");
            match now.fields.iter().find(|(other, _)| other == name) {
                Some((_, new)) => self.schema(&place, old, new, made, depth + 1),
                None => self.say(&place, "the field is gone"),
            }
        }
        for inner in ["items", "additionalProperties"] {
            let place = format!("{place}[]");
            self.schema(
                &place,
                &before.schema[inner],
                &now.schema[inner],
                made,
                depth + 1,
            );
        }
    }

    /// Whether what clients send has to be within narrower bounds.
    fn bounds(&mut self, place: &str, old: &Value, new: &Value) {
        let lower = ["minimum", "minLength", "minItems", "minProperties"];
        let upper = ["maximum", "maxLength", "maxItems", "maxProperties"];
        let exact = ["pattern", "format", "multipleOf"];
        let number = |schema: &Value, name: &str, none: f64| schema[name].as_f64().unwrap_or(none);
        let (least, most) = (f64::NEG_INFINITY, f64::INFINITY);
        let rises = |name: &&str| number(new, name, least) > number(old, name, least);
        let falls = |name: &&str| number(new, name, most) < number(old, name, most);
        let changes = |name: &&str| !new[*name].is_null() && new[*name] != old[*name];
        let narrower = lower.into_iter().filter(rises);
        let narrower = narrower.chain(upper.into_iter().filter(falls));
        for name in narrower.chain(exact.into_iter().filter(changes)) {
            self.say(place, &format!("{name} is narrower"));
        }
    }
}

/// What of a schema is compared: `allOf` is put together, and `oneOf` with null is a type more.
struct Shape<'a> {
    schema: &'a Value,
    types: BTreeSet<&'a str>,
    values: BTreeSet<&'a str>,
    fields: Vec<(&'a String, &'a Value)>,
    required: BTreeSet<&'a str>,
}

impl<'a> Shape<'a> {
    fn of(document: &'a Value, schema: &'a Value) -> Self {
        let types = match &schema["type"] {
            Value::String(one) => BTreeSet::from([one.as_str()]),
            many => texts(many),
        };
        let mut shape = Self {
            schema,
            types,
            values: texts(&schema["enum"]),
            fields: entries(&schema["properties"]).collect(),
            required: texts(&schema["required"]),
        };
        let parts = items(&schema["allOf"]).chain(items(&schema["oneOf"]));
        for part in parts.map(|part| Self::of(document, resolved(document, part))) {
            if part.schema["type"] != "null" {
                shape.schema = part.schema;
            }
            shape.types.extend(part.types);
            shape.values.extend(part.values);
            shape.fields.extend(part.fields);
            shape.required.extend(part.required);
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "paths": {"/orders": {"post": {
                "operationId": "placeOrder",
                "parameters": [{"name": "limit", "in": "query", "required": false, "schema": {"type": "integer", "maximum": 200}}],
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}},
                "responses": {
                    "201": {"headers": {"Location": {}}, "content": {"application/json": {"schema": {"allOf": [
                        {"$ref": "#/components/schemas/Order"}
                    ]}}}},
                    "404": {"description": "none"}
                }
            }}},
            "components": {"schemas": {
                "New": {"type": "object", "required": ["item"], "properties": {
                    "item": {"type": "string", "maxLength": 255}, "note": {"type": ["string", "null"]}
                }},
                "Order": {"type": "object", "required": ["id", "status"], "properties": {
                    "id": {"type": "string"}, "status": {"type": "string", "enum": ["PENDING", "DONE"]}
                }}
            }}
        })
    }

    const OPERATION: &str = "/paths/~1orders/post";
    const NEW: &str = "/components/schemas/New";
    const ORDER: &str = "/components/schemas/Order";

    /// What is found when the value at `pointer` becomes `value`.
    fn changed(pointer: &str, value: Value) -> Vec<String> {
        let mut new = document();
        *new.pointer_mut(pointer).unwrap() = value;
        breaks(&document(), &new)
    }

    #[test]
    fn what_an_older_client_uses_has_to_stay() {
        let string = json!({"type": "string"});
        for (base, pointer, value, found) in [
            (
                "",
                "/paths",
                json!({}),
                "POST /orders: the operation is gone",
            ),
            (
                OPERATION,
                "/operationId",
                json!("order"),
                "POST /orders: the operation has another id",
            ),
            (
                OPERATION,
                "/parameters",
                json!([]),
                "POST /orders \"limit\": the parameter is gone",
            ),
            (
                OPERATION,
                "/parameters/0/required",
                json!(true),
                "POST /orders: the parameter \"limit\" is required",
            ),
            (
                OPERATION,
                "/parameters/0/schema/maximum",
                json!(100),
                "POST /orders \"limit\": maximum is narrower",
            ),
            (
                OPERATION,
                "/responses/404",
                json!(null),
                "POST /orders 404: the answer is gone",
            ),
            (
                OPERATION,
                "/responses/201/headers",
                json!({}),
                "POST /orders 201: the header Location is gone",
            ),
            (
                NEW,
                "/required",
                json!(["item", "note"]),
                "POST /orders: note is required",
            ),
            (
                NEW,
                "/properties/item/maxLength",
                json!(10),
                "POST /orders.item: maxLength is narrower",
            ),
            (
                NEW,
                "/properties/note",
                string.clone(),
                "POST /orders.note: was {\"null\", \"string\"}, is {\"string\"}",
            ),
            (
                ORDER,
                "/required",
                json!(["id"]),
                "POST /orders 201: status may be absent",
            ),
            (
                ORDER,
                "/properties/id/type",
                json!("integer"),
                "POST /orders 201.id: was {\"string\"}, is {\"integer\"}",
            ),
            (
                ORDER,
                "/properties/status",
                string,
                "POST /orders 201.status: has other values",
            ),
            (
                ORDER,
                "/properties/status/enum",
                json!(["PENDING", "DONE", "LOST"]),
                "POST /orders 201.status: has other values",
            ),
            (
                ORDER,
                "/properties",
                json!({"id": {"type": "string"}}),
                "POST /orders 201.status: the field is gone",
            ),
        ] {
            let all = changed(&format!("{base}{pointer}"), value);
            assert!(all.iter().any(|one| one == found), "{found}: {all:?}");
        }
    }

    #[test]
    fn what_an_older_client_does_not_notice_may_change() {
        assert!(breaks(&document(), &document()).is_empty());
        let item = json!({"type": ["string", "integer"]});
        let status = json!({"type": "string", "enum": ["DONE"]});
        for (pointer, value) in [
            ("/components/schemas/New/required", json!([])),
            ("/components/schemas/New/properties/item", item),
            (
                "/components/schemas/New/properties/item/maxLength",
                json!(300),
            ),
            ("/components/schemas/Order/properties/status", status),
            (
                "/paths/~1orders/post/parameters/0/schema",
                json!({"type": ["integer", "string"]}),
            ),
        ] {
            assert_eq!(changed(pointer, value), Vec::<String>::new(), "{pointer}");
        }
        let mut new = document();
        new["paths"]["/sagas"] = json!({"get": {"operationId": "listSagas"}});
        new["components"]["schemas"]["Order"]["properties"]["note"] = json!({"type": "string"});
        new["components"]["schemas"]["New"]["properties"]["more"] = json!({"type": "string"});
        assert!(breaks(&document(), &new).is_empty());
    }
}
