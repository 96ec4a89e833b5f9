//! Currencies of ISO 4217, and how small their units are.

use std::str::FromStr;

use super::Money;

/// A currency in which something can be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: iso_currency::Currency,
    /// Decimal places of its smallest unit.
    places: u16,
}

/// A text names no currency in which something can be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an ISO 4217 code such as USD")]
pub struct NoCurrency;

impl FromStr for Currency {
    type Err = NoCurrency;

    fn from_str(text: &str) -> Result<Self, NoCurrency> {
        let code = iso_currency::Currency::from_code(text).ok_or(NoCurrency)?;
        // Gold and the code for tests have none.
        let places = code.exponent().ok_or(NoCurrency)?;
        Ok(Self { code, places })
    }
}

impl Currency {
    /// The amount in the currency's smallest units, as payment gateways count it: 39.98 are 3998 in USD and 39980 in KWD. None
    /// where it is no whole number of them: 39.98 in JPY.
    ///
    /// Source: <https://docs.stripe.com/currencies#minor-units>
    #[must_use]
    pub fn smallest_units(self, amount: Money) -> Option<i64> {
        let hundredths = amount.minor();
        match u32::from(self.places) {
            fewer @ 0..=1 => {
                let hundredths_in_one = 10_i64.pow(2 - fewer);
                (hundredths % hundredths_in_one == 0).then(|| hundredths / hundredths_in_one)
            }
            places => hundredths.checked_mul(10_i64.checked_pow(places - 2)?),
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code.code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_whole_number_of_the_smallest_units() {
        let units = |code: &str, amount: &str| {
            let currency: Currency = code.parse().unwrap();
            currency.smallest_units(amount.parse().unwrap())
        };
        assert_eq!(units("USD", "39.98"), Some(3998));
        assert_eq!(units("JPY", "39.00"), Some(39));
        assert_eq!(units("JPY", "39.98"), None);
        assert_eq!(units("KWD", "39.98"), Some(39980));
        assert_eq!(units("KWD", "92233720368547758.07"), None);
    }

    #[test]
    fn what_nobody_pays_in_is_no_currency() {
        for text in ["", "usd", "US", "ZZZ", "XAU", "XXX", "DEM", "USD "] {
            assert_eq!(text.parse::<Currency>(), Err(NoCurrency), "{text}");
        }
    }
}
