//! Lists: `{"items":[…],"nextCursor":…}`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;

/// Items of a page when the request does not say.
const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: u64 = 200;

/// Which part of a list a request asks for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// Items at most.
    #[param(value_type = u64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<String>,
    /// `nextCursor` of the part before.
    #[param(value_type = String, required = false, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

impl Part {
    /// How many items it has at most.
    ///
    /// # Errors
    /// 400 unless 1 to 200.
    pub fn limit(&self) -> Result<u64, ApiError> {
        limit(self.limit.as_deref())
    }

    /// The key of the last item that was shown.
    ///
    /// # Errors
    /// 400: the cursor is none of ours.
    pub fn after<K: std::str::FromStr>(&self) -> Result<Option<K>, ApiError> {
        self.cursor.as_deref().map(Cursor::decode).transpose()
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items. Where few of many fit a filter, there may be fewer than `limit` although the list goes on: only so much
    /// is read for one answer.
    pub items: Vec<T>,
    /// Ask again with this `cursor` for the next part; null at the end, and only there.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The key at which it ends, if the list goes on behind it.
    #[must_use]
    pub fn end<K: std::str::FromStr>(&self) -> Option<K> {
        Cursor::decode(self.next_cursor.as_deref()?).ok()
    }

    /// A page of `limit` items. `items` were read with a limit of one more, which tells whether there is a next page.
    pub fn new(mut items: Vec<T>, limit: u64, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| Cursor(key(last)).encode());
        Self { items, next_cursor }
    }

    /// A page that ends before it is full, because enough was read for one answer: the list goes on after the key `seen`.
    #[must_use]
    pub fn unfinished(items: Vec<T>, seen: String) -> Self {
        let next_cursor = Some(Cursor(seen).encode());
        Self { items, next_cursor }
    }

    /// The page with each of its items converted.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(convert).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// Where a list goes on: the key of the last item that was shown. Opaque to clients.
#[derive(Debug, PartialEq, Eq)]
struct Cursor(String);

impl Cursor {
    fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads a cursor into the key of a list; 400 if it is none of ours.
    fn decode<K: std::str::FromStr>(text: &str) -> Result<K, ApiError> {
        let invalid =
            || ApiError::bad_field("cursor", "must be the nextCursor of an earlier answer");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let key = String::from_utf8(bytes).map_err(|_| invalid())?;
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(invalid());
        }
        key.parse().map_err(|_| invalid())
    }
}

/// The number of items that a request asks for; 400 unless 1 to 200.
fn limit(text: Option<&str>) -> Result<u64, ApiError> {
    let Some(text) = text else {
        return Ok(LIMIT_DEFAULT);
    };
    match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(ApiError::bad_field(
            "limit",
            format!("must be a number from 1 to {LIMIT_MAX}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_points_behind_the_last_item_shown() {
        let page = Page::new(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!(page.items, [1, 2]);
        let cursor = page.next_cursor.unwrap();
        assert_eq!(Cursor::decode::<i32>(&cursor).unwrap(), 2);
        assert_eq!(
            Page::new(vec![1, 2], 2, ToString::to_string).next_cursor,
            None
        );
        let unfinished = Page::<i32>::unfinished(vec![], "7".to_owned());
        let cursor = unfinished.next_cursor.unwrap();
        assert_eq!(Cursor::decode::<i32>(&cursor).unwrap(), 7);
        assert!(Cursor::decode::<i32>("%%%").is_err());
        assert!(Cursor::decode::<String>("").is_err());
    }

    #[test]
    fn the_limit_has_bounds() {
        assert_eq!(limit(None).unwrap(), LIMIT_DEFAULT);
        assert_eq!(limit(Some("200")).unwrap(), 200);
        for wrong in ["0", "201", "-1", "x", ""] {
            assert!(limit(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
