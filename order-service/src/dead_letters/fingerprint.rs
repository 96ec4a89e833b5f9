//! What letters with the same error have in common.

use sha2::{Digest, Sha256};

/// Bytes of a fingerprint.
const BYTES: usize = 8;

/// The fingerprint of an error of this `kind` in a message of this `type`, whatever ids and numbers its text names.
pub(super) fn fingerprint(kind: &str, message_type: Option<&str>, error: &str) -> String {
    let mut hash = Sha256::new();
    for part in [kind, message_type.unwrap_or_default(), &normalised(error)] {
        hash.update(part);
        hash.update([0]);
    }
    hex(&hash.finalize()[..BYTES])
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `error` with a `#` for each word with a digit in it: ids, numbers, times.
fn normalised(error: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut text = String::new();
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        let is_word = is_of_word(first);
        let end = rest.find(|c| is_of_word(c) != is_word);
        let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if is_word && part.chars().any(|c| c.is_ascii_digit()) {
            text.push('#');
        } else {
            text.push_str(part);
        }
        rest = behind;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_numbers_make_no_difference() {
        let of = |error| fingerprint("refused", Some("payment.processed.v1"), error);
        let first = of("there is no saga 01976a3d-0000-7000-8000-000000000001");
        assert_eq!(
            first,
            of("there is no saga 01976a3d-0000-7000-8000-00000000beef")
        );
        assert_eq!(first.len(), 2 * BYTES);
        assert_ne!(
            first,
            of("there is no order 01976a3d-0000-7000-8000-000000000001")
        );
        assert_eq!(of("at line 1 column 20"), of("at line 12 column 3"));
    }

    #[test]
    fn kinds_and_types_do() {
        let of = |kind, message_type| fingerprint(kind, message_type, "no");
        assert_ne!(of("refused", Some("a")), of("unreadable", Some("a")));
        assert_ne!(of("refused", Some("a")), of("refused", Some("b")));
        assert_ne!(of("refused", Some("a")), of("refused", None));
    }

    #[test]
    fn words_with_digits_are_left_out() {
        assert_eq!(
            normalised("prod-1: 12 of 3,5 (naïve x)"),
            "#: # of #,# (naïve x)"
        );
        assert_eq!(normalised(""), "");
    }
}
