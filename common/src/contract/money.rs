//! Money: exact decimal amounts with two places, never a float.

use std::{fmt, iter::Sum, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount in hundredths of a currency's unit. In messages it is a string with two places: `"39.98"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with an optional fraction.
    #[error("must be a plain decimal number such as 19.99")]
    NotDecimal,
    /// More than two places after the point.
    #[error("must have at most two decimal places")]
    TooPrecise,
    /// More than an `i64` of hundredths holds.
    #[error("is too large")]
    TooLarge,
}

impl Money {
    /// An amount from hundredths: `Money::from_minor(3998)` is 39.98.
    #[must_use]
    pub const fn from_minor(minor: i64) -> Self {
        Self(minor)
    }

    /// The amount in hundredths.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.0
    }

    /// `self × quantity`, or `None` where that overflows.
    #[must_use]
    pub fn times(self, quantity: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity)).map(Self)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(Self::minor).sum())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let minor = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", minor / 100, minor % 100)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "00"));
        let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(MoneyError::NotDecimal);
        }
        if fraction.len() > 2 {
            return Err(MoneyError::TooPrecise);
        }
        let minor = format!("{whole}{fraction:0<2}")
            .parse::<i64>()
            .map_err(|_| MoneyError::TooLarge)?;
        Ok(Self(if negative { -minor } else { minor }))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Money {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^-?\d+\.\d{2}$",
            "description": "A decimal amount with two places.",
            "examples": ["39.98"]
        })
    }
}

/// Money as a JSON number, for HTTP bodies: `#[serde(with = "decimal")]`.
///
/// The digits are read and written as they stand, so that 39.98 stays 39.98.
pub mod decimal {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
    use serde_json::value::RawValue;

    use super::Money;

    /// Writes a JSON number with two places.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(amount: &Money, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(amount.to_string())
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }

    /// Reads a JSON number with at most two places.
    ///
    /// # Errors
    /// Anything else, with what was expected.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match raw.get().as_bytes().first() {
            Some(b'0'..=b'9' | b'-') => raw.get().parse().map_err(de::Error::custom),
            _ => Err(de::Error::custom("must be a number such as 19.99")),
        }
    }

    /// Money as a decimal, in a field that may be absent or null.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::Money;

        /// Writes a JSON number with two places, or null.
        ///
        /// # Errors
        /// The serializer's own.
        pub fn serialize<S: Serializer>(
            amount: &Option<Money>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match amount {
                Some(amount) => super::serialize(amount, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads a JSON number with at most two places, or null.
        ///
        /// # Errors
        /// Anything else, with what was expected.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Money>, D::Error> {
            #[derive(Deserialize)]
            struct Amount(#[serde(with = "super")] Money);
            Ok(Option::<Amount>::deserialize(deserializer)?.map(|amount| amount.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_in_and_out() {
        for text in ["0.01", "39.98", "1000000.00", "0.10", "-5.00"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
        assert_eq!("39.9".parse(), Ok(Money(3990)));
        assert_eq!("39".parse(), Ok(Money(3900)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert_eq!("19.999".parse::<Money>(), Err(MoneyError::TooPrecise));
        assert_eq!(
            "99999999999999999999".parse::<Money>(),
            Err(MoneyError::TooLarge)
        );
        for text in ["", "-", ".5", "5.", "1e3", "NaN", "1,5", "+1", "0x1", " 1"] {
            assert_eq!(
                text.parse::<Money>(),
                Err(MoneyError::NotDecimal),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_json_number_keeps_its_digits() {
        #[derive(Serialize, Deserialize)]
        struct Price(#[serde(with = "decimal")] Money);
        let price: Price = serde_json::from_str("39.98").unwrap();
        assert_eq!(price.0, Money(3998));
        assert_eq!(serde_json::to_string(&Price(Money(3990))).unwrap(), "39.90");
        for wrong in [r#""39.98""#, "null", "true", "[]", "1e2", "0.001"] {
            assert!(serde_json::from_str::<Price>(wrong).is_err(), "{wrong}");
        }
    }
}
