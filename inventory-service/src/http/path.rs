//! Ids in paths.

use std::fmt::Write;

/// `segment` as one segment of a URL's path, whatever is in it.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc3986#section-2>
pub(super) fn encode(segment: &str) -> String {
    let mut path = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn any_text_is_one_segment() {
        assert_eq!(encode("prod-1"), "prod-1");
        assert_eq!(encode("a b/c%ü?"), "a%20b%2Fc%25%C3%BC%3F");
    }
}
