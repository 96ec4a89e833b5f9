//! `Idempotency-Key`: the same request gives the same answer, however often it is sent.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use common::http::{ApiError, problem::types};
use serde::Serialize;
use utoipa::IntoParams;

use crate::idempotency::{Idempotency, Key};

/// Characters of a key, quotes included.
const KEY_MAX: usize = 255;

/// How documents describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `read` reads it")]
pub(super) struct Header {
    /// With the same key, the same request is carried out once, however often it is sent. A string, in quotes or without them.
    /// A key belongs to one operation and, there, to one request; it is kept for as long as what the request made, which
    /// is never deleted, so it does not expire.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255,
            pattern = r#"^([!#-~]([ -~]*[!-~])?|"([ !#-\[\]-~]|\\["\\])+")$"#, example = "\"3f2a7c1e-order-1\"")]
    key: Option<String>,
}

/// The `Idempotency-Key` header: a request under it, where there is one.
///
/// Source: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
pub(super) fn read(
    headers: &HeaderMap,
    request: &impl Serialize,
) -> Result<Option<Idempotency>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().ok().filter(|key| key.len() <= KEY_MAX);
    let key = key.filter(|_| values.next().is_none()).and_then(Key::read);
    let rule = "must be one string of 1 to 255 visible ASCII characters, which may stand in quotes";
    let key = key.ok_or_else(|| ApiError::bad_field("Idempotency-Key", rule))?;
    Ok(Some(Idempotency::new(key, request)))
}

/// The key came with another request before.
pub(super) fn reused() -> ApiError {
    let detail = "the key was used before with another body: use a new key".to_owned();
    ApiError::Refused(&types::IDEMPOTENCY_KEY_REUSED, detail)
}

/// 201 with what was made, now or before with the same key.
pub(super) fn created(location: String, made: impl Serialize, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, [(LOCATION, location)], Json(made)).into_response();
    if replayed {
        mark_replayed(&mut response);
    }
    response
}

/// Says that the answer is that of a request that came before with the same key.
pub(super) fn mark_replayed(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
}
