//! Whole numbers, in whichever way JSON writes them.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Number, Value};

/// From here on, a floating-point number may have lost digits.
const EXACT: f64 = (1_i64 << f64::MANTISSA_DIGITS) as f64;

/// A whole number, in whichever way JSON writes it: `3`, `3.0` and `3e0` are the same one.
///
/// # Errors
/// It is no number, or not a whole one of this type.
///
/// Source: <https://json-schema.org/draft/2020-12/json-schema-core#section-4.2.3>
pub fn whole<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    let number = Number::deserialize(from)?;
    T::deserialize(Value::Number(plain(number))).map_err(D::Error::custom)
}

/// The same for a member of a merge patch: it may be absent, but null cannot remove it.
///
/// # Errors
/// See [`whole`].
pub fn not_removable_whole<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    whole(from).map(Some)
}

/// The number as an integer, if it is a whole one of which no digit was lost.
fn plain(number: Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            (float as i64).into()
        }
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<u32> {
        whole(&mut serde_json::Deserializer::from_str(json)).ok()
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point_or_an_exponent() {
        for three in ["3", "3.0", "3e0", "0.3e1", "300E-2"] {
            assert_eq!(read(three), Some(3), "{three}");
        }
        for wrong in [
            "3.5",
            "-3.0",
            "4294967296.0",
            "1e300",
            "null",
            "\"3\"",
            "[3]",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
