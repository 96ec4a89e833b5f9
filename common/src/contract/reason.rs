//! Why something was refused or undone.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, schema},
};

/// The most characters that a reason has.
const MAX_LEN: usize = 40;

/// What a reason looks like, as a regular expression.
const PATTERN: &str = "^[A-Z][A-Z0-9_]{0,39}$";

/// Why a step was refused, or a saga undone: a short name such as `OUT_OF_STOCK`.
///
/// The set is open, so that every participant has reasons of its own. They stand beside the messages that carry them;
/// the ones here are those of any saga.
///
/// ```
/// use common::contract::Reason;
///
/// const TOO_RISKY: Reason = Reason::new("TOO_RISKY");
/// assert_eq!("TOO_RISKY".parse::<Reason>().unwrap(), TOO_RISKY);
/// ```
///
/// A constant that is no reason does not compile:
/// ```compile_fail
/// const WRONG: common::contract::Reason = common::contract::Reason::new("too risky");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// The name, and zeros behind it.
    text: [u8; MAX_LEN],
    len: u8,
}

impl Reason {
    /// A participant did not answer within the attempts of its step.
    pub const TIMEOUT: Self = Self::new("TIMEOUT");
    /// The customer cancelled.
    pub const CUSTOMER_REQUEST: Self = Self::new("CUSTOMER_REQUEST");
    /// An operator intervened.
    pub const OPERATOR: Self = Self::new("OPERATOR");
    /// The step's compensation came before its action, so the action did nothing.
    pub const ALREADY_COMPENSATED: Self = Self::new("ALREADY_COMPENSATED");

    /// The reason with this name, for constants. Names that come from elsewhere are parsed instead.
    ///
    /// # Panics
    /// The name is not 1 to 40 characters of A-Z, 0-9 and _ with a letter in front. In a constant, this is an error of
    /// the compiler.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        match Self::read(name) {
            Some(reason) => reason,
            None => {
                panic!("a reason is 1 to 40 characters of A-Z, 0-9 and _, and begins with a letter")
            }
        }
    }

    const fn read(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        if name.is_empty() || name.len() > MAX_LEN || !name[0].is_ascii_uppercase() {
            return None;
        }
        let mut text = [0; MAX_LEN];
        // A const function has no iterators.
        let mut at = 0;
        while at < name.len() {
            let character = name[at];
            if !(character.is_ascii_uppercase() || character.is_ascii_digit() || character == b'_')
            {
                return None;
            }
            text[at] = character;
            at += 1;
        }
        Some(Self {
            text,
            len: name.len() as u8,
        })
    }

    /// The reason's name on the wire and in tables.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)])
            .expect("a reason is made of ASCII characters")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no [`Reason`].
// The text itself is not repeated: whoever sent it also chose its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a reason is 1 to 40 characters of A-Z, 0-9 and _, and begins with a letter")]
pub struct InvalidReason;

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(name: &str) -> Result<Self, InvalidReason> {
        Self::read(name).ok_or(InvalidReason)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Reason {
    fn schema_name() -> Cow<'static, str> {
        "Reason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "maxLength": MAX_LEN,
            "description": "Why a step was refused, or a saga undone.",
            "examples": ["OUT_OF_STOCK", "TIMEOUT"]
        })
    }
}

impl PartialSchema for Reason {
    fn schema() -> RefOr<schema::Schema> {
        ObjectBuilder::new()
            .schema_type(schema::Type::String)
            .description(Some("Why a step was refused, or a saga undone."))
            .pattern(Some(PATTERN))
            .max_length(Some(MAX_LEN))
            .examples(["OUT_OF_STOCK"])
            .into()
    }
}

impl ToSchema for Reason {
    fn name() -> Cow<'static, str> {
        "Reason".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_tables_and_on_the_wire() {
        for name in ["A", "TIMEOUT", "B2_", &"X".repeat(MAX_LEN)] {
            let reason: Reason = name.parse().unwrap();
            assert_eq!(reason.as_str(), name);
            assert_eq!(reason.to_string(), name);
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, name);
            assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let too_long = "X".repeat(MAX_LEN + 1);
        for name in [
            "", " ", "1A", "_A", "timeout", "TIME OUT", "A\0", "É", &too_long,
        ] {
            assert_eq!(name.parse::<Reason>(), Err(InvalidReason), "{name:?}");
            let json = serde_json::to_value(name).unwrap();
            assert!(serde_json::from_value::<Reason>(json).is_err(), "{name:?}");
        }
        assert!(serde_json::from_str::<Reason>("1").is_err());
    }

    #[test]
    fn reasons_are_told_apart_and_matched() {
        assert!(Reason::new("A") < Reason::new("AB"));
        assert!(Reason::new("AB") < Reason::new("B"));
        assert_ne!(Reason::new("A"), Reason::new("AA"));
        assert!(matches!(Reason::new("TIMEOUT"), Reason::TIMEOUT));
        assert_eq!(format!("{:>8}|", Reason::TIMEOUT), " TIMEOUT|");
    }
}
