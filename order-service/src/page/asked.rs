//! What is in the address of a list of sagas.

use std::collections::{BTreeMap, HashMap};

use url::form_urlencoded::Serializer;

/// Parameters that say which part of a list is shown, and not which sagas are in it.
const PARTS: [&str; 2] = ["cursor", "limit"];

/// Parameters with their values, none of which is empty.
#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<String, String>);

impl From<HashMap<String, String>> for Asked {
    fn from(all: HashMap<String, String>) -> Self {
        // A form sends what is empty, too.
        let all = all.into_iter().filter(|(_, value)| !value.is_empty());
        Self(all.collect())
    }
}

impl Asked {
    pub(super) fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.value(name) == value
    }

    /// The same as a query, with another cursor.
    pub(super) fn query(&self, cursor: Option<&str>) -> String {
        let asked = self.0.iter();
        let asked = asked.filter(|(name, _)| *name != "cursor" || cursor.is_none());
        let cursor = cursor.map(|cursor| ("cursor", cursor));
        Serializer::new(String::new())
            .extend_pairs(asked)
            .extend_pairs(cursor)
            .finish()
    }

    /// Which sagas are asked for, wherever the list begins.
    pub(super) fn filter(&self) -> BTreeMap<String, String> {
        let mut filter = self.0.clone();
        filter.retain(|name, _| !PARTS.contains(&name.as_str()));
        filter
    }
}

/// A filter as a query.
pub(super) fn query(filter: &BTreeMap<String, String>) -> String {
    Serializer::new(String::new()).extend_pairs(filter).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_what_is_asked_for_without_where_the_list_goes_on() {
        let address = [
            ("status", "PARKED"),
            ("error", "no reply & more"),
            ("step", ""),
            ("cursor", "c"),
            ("limit", "5"),
        ];
        let address = address.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let asked = Asked::from(HashMap::from(address));
        let filter = "error=no+reply+%26+more&status=PARKED";
        assert_eq!(query(&asked.filter()), filter);
        assert_eq!(
            asked.query(Some("d")),
            "error=no+reply+%26+more&limit=5&status=PARKED&cursor=d"
        );
    }
}
