//! `x-actor`: who asks for something that is written down with a name.

use axum::http::HeaderMap;
use common::http::ApiError;
use utoipa::IntoParams;

const ACTOR: &str = "x-actor";
/// Characters of a name.
const ACTOR_MAX: usize = 128;

/// How documents describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `read` reads it")]
pub(super) struct Header {
    /// Who asks for it: a name or an address, which is kept with what is done.
    #[param(rename = "x-actor", value_type = String, required = true, min_length = 1, max_length = 128,
            pattern = "^[!-~]([ -~]*[!-~])?$", example = "ada@example.com")]
    actor: String,
}

/// Who asks.
pub(super) fn read(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut values = headers.get_all(ACTOR).iter();
    let rule = format!(
        "must say who asks: one value of 1 to {ACTOR_MAX} printable ASCII characters, such as an e-mail address"
    );
    let wrong = || ApiError::bad_field(ACTOR, rule.as_str());
    let value = values.next().ok_or_else(wrong)?;
    let actor = value.to_str().ok().map(str::trim).filter(|actor| {
        (1..=ACTOR_MAX).contains(&actor.len()) && actor.bytes().all(|b| matches!(b, b' '..=b'~'))
    });
    let is_one = values.next().is_none();
    actor
        .filter(|_| is_one)
        .map(str::to_owned)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_one_name_of_printable_characters() {
        let actor = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACTOR, value.parse().unwrap());
            }
            read(&headers).ok()
        };
        assert_eq!(actor(&[" Ada L. "]).as_deref(), Some("Ada L."));
        assert_eq!(actor(&[&"x".repeat(128)]), Some("x".repeat(128)));
        for wrong in [
            &[][..],
            &[""],
            &["  "],
            &["a", "b"],
            &["ä"],
            &["a\tb"],
            &[&"x".repeat(129)],
        ] {
            assert_eq!(actor(wrong), None, "{wrong:?}");
        }
    }
}
