//! `If-Match`: whoever decides about a saga says as which version they saw it.

use axum::http::{HeaderMap, header};
use common::http::ApiError;
use utoipa::IntoParams;

/// How documents describe `If-Match`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `read` reads it")]
pub(super) struct Header {
    /// The ETag that you saw: refused with 412 when it has changed, and with 428 when it is missing. `*` takes the saga as
    /// it is.
    #[param(rename = "If-Match", value_type = String, required = false, pattern = r#"^(\*|"[0-9]{1,9}")$"#, example = r#""7""#)]
    version: Option<String>,
}

/// The versions in `If-Match`, one of which must be the saga's; within it, none for `*`, which means any. None where there
/// is no such header. A weak tag is that of no version.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1>
pub(super) fn read(headers: &HeaderMap) -> Result<Option<Option<Vec<i32>>>, ApiError> {
    let wrong = || ApiError::bad_field("If-Match", "must be the ETag of the saga, in quotes, or *");
    let mut versions = None;
    for value in headers.get_all(header::IF_MATCH) {
        let mut rest = value.to_str().map_err(|_| wrong())?.trim();
        if rest == "*" {
            return Ok(Some(None));
        }
        let versions: &mut Vec<i32> = versions.get_or_insert_default();
        loop {
            let (is_weak, tag) = match rest.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, rest),
            };
            let tag = tag.strip_prefix('"').and_then(|tag| tag.split_once('"'));
            let (tag, after) = tag.ok_or_else(wrong)?;
            if !is_weak {
                versions.extend(tag.parse::<i32>().ok());
            }
            rest = match after.trim_start().strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.trim().is_empty() => break,
                None => return Err(wrong()),
            };
        }
    }
    Ok(versions.map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(values: &[&str]) -> Option<Option<Option<Vec<i32>>>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        read(&headers).ok()
    }

    #[test]
    fn tags_are_compared_strongly() {
        let these = |versions: &[i32]| Some(Some(Some(versions.to_vec())));
        assert_eq!(versions(&[]), Some(None));
        assert_eq!(versions(&["*"]), Some(Some(None)));
        assert_eq!(versions(&["\"3\""]), these(&[3]));
        assert_eq!(versions(&["\"3\" ,\"4\"", "\"5\""]), these(&[3, 4, 5]));
        // These are tags, and not those of any version.
        assert_eq!(versions(&["W/\"3\", \"a,b\""]), these(&[]));
        for wrong in ["", "3", "\"3", "\"3\" \"4\"", "\"3\",", "W/3"] {
            assert_eq!(versions(&[wrong]), None, "{wrong}");
        }
    }
}
