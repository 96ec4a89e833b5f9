//! Where else there is something to read about a saga.

use std::str::FromStr;

/// Links to other places, such as a payment or a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links(Vec<(String, String)>);

impl FromStr for Links {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |link: &str| {
            let (name, url) = link.split_once('=').ok_or(())?;
            let is_web = url.starts_with("http://") || url.starts_with("https://");
            (!name.is_empty() && is_web)
                .then(|| (name.to_owned(), url.to_owned()))
                .ok_or(())
        };
        text.split_whitespace()
            .map(one)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Links {
    /// How they are written.
    pub(crate) const SHAPE: &'static str = "links such as payment=http://localhost:3002/payments?orderId={orderId}, with spaces in between";

    /// The names and addresses of those that can be filled in with `values`.
    pub(super) fn filled(&self, values: &[(&str, &str)]) -> Vec<(String, String)> {
        let fill = |(name, url): &(String, String)| {
            let url = values.iter().fold(url.clone(), |url, (value, is)| {
                let is: String = url::form_urlencoded::byte_serialize(is.as_bytes()).collect();
                url.replace(&format!("{{{value}}}"), &is)
            });
            (!url.contains('{')).then(|| (name.clone(), url))
        };
        self.0.iter().filter_map(fill).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_filled_in_where_there_is_what_they_need() {
        let links =
            "payment=http://pay:3002/payments/order/{orderId} trace=https://t/?q={correlationId}";
        let links: Links = links.parse().unwrap();
        let filled = links.filled(&[("correlationId", "a b&c")]);
        assert_eq!(
            filled,
            [("trace".to_owned(), "https://t/?q=a+b%26c".to_owned())]
        );
        assert_eq!("".parse::<Links>().unwrap(), Links::default());
        for wrong in ["payment", "=http://x", "x=javascript:alert(1)"] {
            assert!(wrong.parse::<Links>().is_err(), "{wrong}");
        }
    }
}
