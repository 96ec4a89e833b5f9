//! What makes a request the same when it is sent again: the client's key, and a hash of what came with it.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A request with a key.
#[derive(Clone, Debug)]
pub(crate) struct Idempotency {
    key: Key,
    /// Of what was asked for, whatever the white space and the order of the fields.
    pub(crate) hash: Vec<u8>,
}

/// What a client calls a request. It may be spelled as a string of RFC 9651, in quotes, or plainly: that is the same key.
///
/// The database has it as it was sent first, so it is looked for in both spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    sent: String,
    plain: String,
}

impl Idempotency {
    /// `request` under `key`.
    pub(crate) fn new(key: Key, request: &impl Serialize) -> Self {
        let canonical = serde_json::to_vec(request).expect("a request is plain JSON");
        Self {
            key,
            hash: Sha256::digest(canonical).to_vec(),
        }
    }

    /// The key, as the database is to have it.
    pub(crate) fn stored(&self) -> &str {
        &self.key.sent
    }

    /// The key, however it was spelled.
    pub(crate) fn plain(&self) -> &str {
        &self.key.plain
    }

    /// The key as the database may have it.
    pub(crate) fn spellings(&self) -> [String; 2] {
        let escaped = self.key.plain.replace('\\', "\\\\").replace('"', "\\\"");
        [self.key.plain.clone(), format!("\"{escaped}\"")]
    }
}

impl Key {
    /// Reads a key as a client or the database spells it. None where it is malformed.
    ///
    /// Source: <https://www.rfc-editor.org/rfc/rfc9651#section-4.2.5>
    pub(crate) fn read(text: &str) -> Option<Self> {
        let is_ascii = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        let Some(quoted) = text.strip_prefix('"') else {
            return (is_ascii && !text.is_empty()).then(|| Self {
                sent: text.to_owned(),
                plain: text.to_owned(),
            });
        };
        let (mut plain, mut chars) = (String::new(), quoted.chars());
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => plain.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                other => plain.push(other),
            }
        }
        let rest = chars.as_str();
        // Parameters are allowed, and none means anything.
        let ends = rest.is_empty() || rest.starts_with(';');
        (is_ascii && ends && !plain.is_empty()).then(|| Self {
            sent: text[..text.len() - rest.len()].to_owned(),
            plain,
        })
    }

    /// The key, however it was spelled.
    pub(crate) fn plain(self) -> String {
        self.plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        for (sent, plain) in [
            ("k", "k"),
            (r#""k""#, "k"),
            (r#""k";v=1"#, "k"),
            (r#""a \"b\" \\""#, r#"a "b" \"#),
            (r#"a"b"#, r#"a"b"#),
            ("a b", "a b"),
        ] {
            let key = Key::read(sent).unwrap();
            assert_eq!(key.plain, plain);
            let request = Idempotency::new(key, &());
            let stored = request.stored().to_owned();
            assert!(request.spellings().contains(&stored), "{stored}");
            assert_eq!(Key::read(&stored).unwrap().plain, plain);
        }
        for wrong in [
            "", r#""""#, r#"""#, r#""k"#, r#""k"x"#, r#""\k""#, "ü", "a\tb",
        ] {
            assert_eq!(Key::read(wrong), None, "{wrong:?}");
        }
    }
}
