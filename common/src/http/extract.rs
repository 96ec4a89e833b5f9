//! Extractors that answer a wrong request with a problem that names the field, and checks that name it too.

mod whole;

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, schema},
};

pub use self::whole::{not_removable_whole, whole};
use super::{ApiError, FieldError, problem::types};

/// Largest body in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// Longest id or name in characters.
const TEXT_MAX: usize = 255;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(&request) {
            return Err(no_json());
        }
        parse(&read(request, state).await?).map(Self)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let bytes = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
    bytes.map_err(|_| too_slow())?.map_err(unreadable)
}

/// The body is of another media type than is taken.
pub(super) fn no_json() -> ApiError {
    let detail = "send the body as application/json".to_owned();
    ApiError::Refused(&types::UNSUPPORTED_MEDIA_TYPE, detail)
}

/// The body did not come in time.
pub(super) fn too_slow() -> ApiError {
    let seconds = BODY_TIMEOUT.as_secs();
    let detail = format!("the body did not arrive within {seconds} s");
    ApiError::Refused(&types::REQUEST_TIMEOUT, detail)
}

/// The body is larger than is read.
pub(super) fn too_large() -> ApiError {
    let detail = format!("the body must have at most {BODY_MAX} bytes");
    ApiError::Refused(&types::PAYLOAD_TOO_LARGE, detail)
}

/// A change of some fields, as a JSON merge patch: what is absent stays as it is, and null removes.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc7396>
#[derive(Debug)]
pub struct MergePatch<T>(pub T);

/// What `PATCH` takes.
const PATCHES: [&str; 2] = ["application/merge-patch+json", "application/json"];

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MergePatch<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if !PATCHES.contains(&&*essence(&request)) {
            let patches = PATCHES.join(", ");
            let detail = format!("send the patch as one of {patches}");
            let refused = ApiError::Refused(&types::UNSUPPORTED_MEDIA_TYPE, detail);
            return Err(([("accept-patch", patches)], refused).into_response());
        }
        let bytes = read(request, state)
            .await
            .map_err(ApiError::into_response)?;
        parse(&bytes).map(Self).map_err(ApiError::into_response)
    }
}

/// What a merge patch does to a field that can be absent: nothing, or another value, or none.
///
/// # Errors
/// The deserializer's own.
pub fn removable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The media type of the body, without its parameters.
fn essence(request: &Request) -> String {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn is_json(request: &Request) -> bool {
    let essence = essence(request);
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unreadable(rejection: BytesRejection) -> ApiError {
    match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => ApiError::BadRequest("the body could not be read".to_owned(), Vec::new()),
    }
}

/// Reads a JSON document, naming the field that is wrong.
///
/// # Errors
/// 400 for what is not JSON, 422 for JSON of another shape.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() {
            ApiError::Invalid(vec![FieldError::new(
                field(&path, &cause.to_string()),
                cause.to_string(),
            )])
        } else {
            ApiError::BadRequest(
                format!("the body is not JSON: {cause}"),
                vec![FieldError::new("body", cause.to_string())],
            )
        }
    })?;
    deserializer.end().map_err(|cause| {
        ApiError::BadRequest(
            format!("the body is not JSON: {cause}"),
            vec![FieldError::new("body", cause.to_string())],
        )
    })?;
    Ok(value)
}

/// The path of what is wrong: for a field that is missing, serde tells the path of its parent.
fn field(path: &str, cause: &str) -> String {
    let parent = if path == "." { "" } else { path };
    let missing = cause
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match (parent, missing) {
        ("", None) => "body".to_owned(),
        ("", Some(missing)) => missing.to_owned(),
        (parent, None) => parent.to_owned(),
        (parent, Some(missing)) => format!("{parent}.{missing}"),
    }
}

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let mut fields = serde_json::Map::new();
        for (name, value) in pairs {
            if value.chars().any(char::is_control) {
                return Err(ApiError::bad_field(
                    name,
                    "must not contain control characters",
                ));
            }
            if fields
                .insert(name.to_string(), value.into_owned().into())
                .is_some()
            {
                return Err(ApiError::bad_field(name, "must not be given twice"));
            }
        }
        serde_path_to_error::deserialize(serde_json::Value::Object(fields))
            .map(Self)
            .map_err(|error| {
                ApiError::bad_field(error.path().to_string(), error.inner().to_string())
            })
    }
}

/// One path parameter, parsed; the name of the parameter is in the error.
#[derive(Debug)]
pub struct PathId<T>(pub T);

impl<S: Send + Sync, T: std::str::FromStr> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Some((name, value)) = params
            .ok()
            .and_then(|Path(params)| params.into_iter().next())
        else {
            return Err(ApiError::bad_field("path", "must be UTF-8"));
        };
        if !Text::fits(&value) {
            return Err(ApiError::bad_field(name, TEXT_RULE));
        }
        value.parse().map(Self).map_err(|_| {
            ApiError::bad_field(
                name,
                format!("is malformed: {value:?} cannot be such an id"),
            )
        })
    }
}

const TEXT_RULE: &str = "must have 1 to 255 characters, not only blanks, and no control characters";

/// A text that PostgreSQL and a log line can take, and that is no longer than it must be.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Text(pub String);

impl Text {
    fn fits(text: &str) -> bool {
        (1..=TEXT_MAX).contains(&text.chars().count())
            && !text.trim().is_empty()
            && !text.chars().any(char::is_control)
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if Self::fits(&text) {
            Ok(Self(text))
        } else {
            Err(TEXT_RULE)
        }
    }
}

impl PartialSchema for Text {
    fn schema() -> RefOr<schema::Schema> {
        ObjectBuilder::new()
            .schema_type(schema::Type::String)
            .description(Some(
                "1 to 255 characters, not all of them blank, and no control characters.",
            ))
            .min_length(Some(1))
            .max_length(Some(TEXT_MAX))
            .pattern(Some(
                r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
            ))
            .into()
    }
}

impl ToSchema for Text {
    fn name() -> Cow<'static, str> {
        "Text".into()
    }
}

/// Collects what is wrong with the fields of a request.
#[derive(Debug, Default)]
pub struct Checks(Vec<FieldError>);

impl Checks {
    /// Says that `field` must be as `message` says, unless `holds`.
    pub fn require(&mut self, holds: bool, field: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.0.push(FieldError::new(field, message));
        }
    }

    /// Notes what is no [`Text`].
    pub fn text(&mut self, field: impl Into<String>, value: &str) {
        self.require(Text::fits(value), field, TEXT_RULE);
    }

    /// Checks a text like [`Self::text`], unless it is absent.
    pub fn optional_text(&mut self, field: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(field, value);
        }
    }

    /// All that is wrong, as 422.
    ///
    /// # Errors
    /// Something is wrong.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }
}
