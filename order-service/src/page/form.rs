//! Forms: who sends them, from where, and how often what they ask for is done.

use axum::{
    Form,
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use common::contract::clock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fault::Fault;

/// Where a browser remembers who its operator is.
const COOKIE: &str = "actor";

/// A form that a page of ours has sent: a browser says where it comes from, and nobody else's page may act in its name.
pub(super) struct Ours<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Ours<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        if !is_ours(request.headers()) {
            let detail = "Open the board and act from there.";
            let title = "The form was sent by another site";
            return Err(Fault::new(StatusCode::FORBIDDEN, title, detail));
        }
        let form = Form::<T>::from_request(request, state).await;
        let unreadable = |error: axum::extract::rejection::FormRejection| {
            Fault::new(
                error.status(),
                "The form cannot be read",
                &error.body_text(),
            )
        };
        form.map(|Form(form)| Self(form)).map_err(unreadable)
    }
}

/// Source: <https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html>
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    // Browsers leave that out where the connection is not encrypted; they do say who sends a form.
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => {
            let origin = origin.split_once("://").map(|(_, origin)| origin);
            origin == Some(host)
        }
        (Some(_), None) => false,
        // No browser.
        (None, _) => true,
    }
}

/// Who has acted from this browser before.
pub(super) fn actor(headers: &HeaderMap) -> String {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut cookies = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='));
    let actor = cookies
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, actor)| actor);
    let decoded = url::form_urlencoded::parse(actor.unwrap_or_default().as_bytes());
    decoded
        .map(|(actor, _)| actor.into_owned())
        .next()
        .unwrap_or_default()
}

/// A key under which what a form asks for is done once, however often the form is sent.
pub(super) fn new_key() -> String {
    clock::new_id().to_string()
}

/// A number that was typed. What is none is for the API to refuse.
pub(super) fn number(typed: &str) -> Value {
    let typed = typed.trim();
    typed
        .parse::<u32>()
        .map_or(json!(typed), |number| json!(number))
}

/// What was asked for is done: the browser goes on at `path`, and remembers who it was.
pub(super) fn done(path: &str, actor: &str) -> Response {
    let actor: String = url::form_urlencoded::byte_serialize(actor.as_bytes()).collect();
    let cookie = format!("{COOKIE}={actor}; Path=/ui; Max-Age=2592000; HttpOnly; SameSite=Strict");
    let mut response = Redirect::to(path).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let all = all.iter();
        all.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_pages_of_ours_send_forms() {
        for (all, ours) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://a"),
                    ("host", "a"),
                ],
                false,
            ),
            (&[("origin", "http://a:3001"), ("host", "a:3001")], true),
            (&[("origin", "http://b"), ("host", "a")], false),
            (&[("origin", "null"), ("host", "a")], false),
            (&[], true),
        ] {
            assert_eq!(is_ours(&headers(all)), ours, "{all:?}");
        }
    }

    #[test]
    fn a_browser_remembers_who_its_operator_is() {
        let response = done("/", "Ada L. <ada@example.com>; x");
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        let (cookie, _) = cookie.split_once("; ").unwrap();
        let sent = format!("other=1; {cookie}");
        assert_eq!(
            actor(&headers(&[("cookie", &sent)])),
            "Ada L. <ada@example.com>; x"
        );
        assert_eq!(actor(&headers(&[])), "");
    }
}
