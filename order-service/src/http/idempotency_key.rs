//! `Idempotency-Key`: the same request gives the same answer, however often it is sent.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use common::http::ApiError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

/// How documents describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `read` reads it")]
pub(super) struct Header {
    /// With the same key, the same request is carried out once, however often it is sent.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255,
            pattern = "^[!-~]([ -~]*[!-~])?$", example = "3f2a7c1e-order-1")]
    key: Option<String>,
}

/// The `Idempotency-Key` header.
///
/// Source: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
pub(super) fn read(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_field(
            "Idempotency-Key",
            "must have 1 to 255 visible ASCII characters",
        )),
    }
}

/// A hash of what was asked for, whatever the white space and the order of the fields.
pub(super) fn hash(request: &impl Serialize) -> Vec<u8> {
    let canonical = serde_json::to_vec(request).expect("a request is plain JSON");
    Sha256::digest(canonical).to_vec()
}

/// The key came with another request before.
pub(super) fn reused() -> ApiError {
    ApiError::invalid(
        "Idempotency-Key",
        "was used before with another body: use a new key",
    )
}

/// 201 with what was made, now or before with the same key.
pub(super) fn created(location: String, made: impl Serialize, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, [(LOCATION, location)], Json(made)).into_response();
    if replayed {
        let headers = response.headers_mut();
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}
