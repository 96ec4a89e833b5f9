//! `x-actor`: who intervenes, in their own words until people sign in.

use axum::http::HeaderMap;
use common::http::ApiError;
use utoipa::IntoParams;

/// Characters of a name.
const ACTOR_MAX: usize = 128;

/// How documents describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `read` reads it")]
pub(super) struct Header {
    /// Who you are: a name or an address, kept in the saga's log. It is not checked.
    #[param(rename = "x-actor", value_type = String, min_length = 1, max_length = 128, pattern = "^[!-~]([ -~]*[!-~])?$", example = "ada@example.com")]
    actor: String,
}

/// Who intervenes.
pub(super) fn read(headers: &HeaderMap) -> Result<String, ApiError> {
    let rule = "must say who you are, in 1 to 128 printable ASCII characters";
    let mut values = headers.get_all("x-actor").iter();
    let actor = values.next().filter(|_| values.next().is_none());
    let actor = actor.and_then(|value| value.to_str().ok()).map(str::trim);
    let actor = actor.filter(|actor| (1..=ACTOR_MAX).contains(&actor.len()));
    actor
        .filter(|actor| actor.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        .map(str::to_owned)
        .ok_or_else(|| ApiError::bad_field("x-actor", rule))
}
