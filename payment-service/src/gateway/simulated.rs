//! A gateway that moves no money, for demonstrations, tests and development.

use std::time::Duration;

use anyhow::anyhow;
use common::config::{self, Vars};
use rand::RngExt as _;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{Charge, Error, Gateway, PartialRefund, Refund, Verdict};

/// Decides by the payment method where that is one of [`ACCEPTED`] or [`declined`], else by lot.
///
/// The lot is drawn from the idempotency key and nothing else, so the answer is the same in every process and after
/// every restart, and there is nothing to remember.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    success_rate: f64,
    latency: Duration,
    hang_rate: f64,
    refuses_refunded_keys: bool,
    refund_refusal_rate: f64,
}

/// Payment methods that always work.
///
/// Source: <https://docs.stripe.com/testing?testing-method=payment-methods#cards>
pub const ACCEPTED: [&str; 10] = [
    "pm_card_visa",
    "pm_card_visa_debit",
    "pm_card_mastercard",
    "pm_card_mastercard_debit",
    "pm_card_mastercard_prepaid",
    "pm_card_amex",
    "pm_card_discover",
    "pm_card_diners",
    "pm_card_jcb",
    "pm_card_unionpay",
];

/// The decline code that a payment method always gets: `pm_card_visa_chargeDeclinedLostCard` gets `lost_card`.
///
/// Stripe names some of them with the brand and some without; both forms are understood.
///
/// Source: <https://docs.stripe.com/testing?testing-method=payment-methods#declined-payments>
#[must_use]
pub fn declined(payment_method: &str) -> Option<&'static str> {
    let name = payment_method.strip_prefix("pm_card_")?;
    let code = match name.strip_prefix("visa_").unwrap_or(name) {
        "chargeDeclined" | "chargeCustomerFail" => "generic_decline",
        "chargeDeclinedInsufficientFunds" => "insufficient_funds",
        "chargeDeclinedLostCard" => "lost_card",
        "chargeDeclinedStolenCard" => "stolen_card",
        "chargeDeclinedExpiredCard" => "expired_card",
        "chargeDeclinedIncorrectCvc" => "incorrect_cvc",
        "chargeDeclinedProcessingError" => "processing_error",
        "chargeDeclinedVelocityLimitExceeded" => "card_velocity_exceeded",
        _ => return None,
    };
    Some(code)
}

impl Simulated {
    /// Reads `USE_SIMULATED_PAYMENT`, `PAYMENT_SUCCESS_RATE`, `PAYMENT_LATENCY_MS`, `PAYMENT_HANG_RATE`,
    /// `PAYMENT_REFUSES_REFUNDED_KEYS` and `PAYMENT_REFUND_REFUSAL_RATE`.
    ///
    /// # Errors
    /// A value cannot be used, or another gateway is asked for.
    pub fn from_vars(vars: &Vars) -> Result<Self, config::Error> {
        if !vars.parse("USE_SIMULATED_PAYMENT", true, "true or false")? {
            return Err(config::Error::new(
                "USE_SIMULATED_PAYMENT",
                "false",
                "true, for no other gateway is built in: to use one, implement \
                 payment_service::gateway::Gateway for it and pass it to App::with_gateway",
            ));
        }
        let share = |name, default| {
            let is_share = |rate| (0.0..=1.0).contains(&rate);
            vars.parse_if(name, default, "a number from 0 to 1", is_share)
        };
        Ok(Self {
            success_rate: share("PAYMENT_SUCCESS_RATE", 0.9)?,
            latency: config::millis(vars, "PAYMENT_LATENCY_MS", 0)?,
            refuses_refunded_keys: vars.parse(
                "PAYMENT_REFUSES_REFUNDED_KEYS",
                true,
                "true or false",
            )?,
            hang_rate: share("PAYMENT_HANG_RATE", 0.0)?,
            refund_refusal_rate: share("PAYMENT_REFUND_REFUSAL_RATE", 0.0)?,
        })
    }

    fn verdict(&self, charge: Charge<'_>) -> Verdict {
        let hash: [u8; 32] = Sha256::digest(charge.idempotency_key).into();
        let method = charge.payment_method.unwrap_or_default();
        let code = match declined(method) {
            None if ACCEPTED.contains(&method) || lot(hash) < self.success_rate => None,
            None => Some("generic_decline"),
            code => code,
        };
        match code {
            Some(code) => Verdict::Declined {
                code: code.to_owned(),
            },
            None => Verdict::Captured {
                gateway_id: gateway_id(hash),
            },
        }
    }

    /// Refuses some refunds, by a lot of their own, and the same ones each time.
    fn may_refund(&self, key: &str) -> Result<(), Error> {
        let hash = Sha256::digest(format!("the refund of {key}")).into();
        if lot(hash) < self.refund_refusal_rate {
            return Err(Error::Refused(anyhow!("no refund of {key}")));
        }
        Ok(())
    }

    /// Not even a timer where there is no latency to simulate. Of calls that hang, each one draws its own lot: when it is
    /// made again, it may be answered.
    async fn take_time(&self) {
        if self.hang_rate > 0.0 && rand::rng().random_bool(self.hang_rate) {
            std::future::pending::<()>().await;
        }
        if !self.latency.is_zero() {
            sleep(self.latency).await;
        }
    }
}

/// A number from 0 up to but not including 1, out of the first half of `hash`: a double holds 53 bits exactly.
fn lot(hash: [u8; 32]) -> f64 {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// `sim_` and 24 hexadecimal digits, out of the second half of `hash`.
fn gateway_id(hash: [u8; 32]) -> String {
    let digits = hash[16..28].iter().map(|byte| format!("{byte:02x}"));
    format!("sim_{}", digits.collect::<String>())
}

impl Gateway for Simulated {
    fn refuses_refunded_keys(&self) -> bool {
        self.refuses_refunded_keys
    }

    async fn charge(&self, charge: Charge<'_>) -> Result<Verdict, Error> {
        self.take_time().await;
        Ok(self.verdict(charge))
    }

    async fn refund(&self, refund: Refund<'_>) -> Result<(), Error> {
        self.take_time().await;
        self.may_refund(refund.charge_key)
    }

    async fn refund_part(&self, part: PartialRefund<'_>) -> Result<(), Error> {
        self.take_time().await;
        self.may_refund(part.idempotency_key)
    }
}

#[cfg(test)]
mod tests {
    use common::contract::Money;

    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Simulated, config::Error> {
        Simulated::from_vars(&vars.iter().copied().collect())
    }

    fn verdict(rate: &str, idempotency_key: &str, payment_method: Option<&str>) -> Verdict {
        let gateway = with(&[("PAYMENT_SUCCESS_RATE", rate)]).unwrap();
        gateway.verdict(Charge {
            idempotency_key,
            amount: Money::from_minor(100),
            currency: "USD",
            payment_method,
        })
    }

    fn is_captured(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Captured { .. })
    }

    /// Fixed values: another version that decides otherwise would answer a repeated charge otherwise.
    #[test]
    fn the_verdict_is_a_function_of_the_key() {
        let gateway_id = "sim_1db3a91bc9f4284eca03764f".to_owned();
        assert_eq!(
            verdict("0.5", "a:payment:ACTION", None),
            Verdict::Captured { gateway_id }
        );
        let code = "generic_decline".to_owned();
        assert_eq!(
            verdict("0.5", "c:payment:ACTION", None),
            Verdict::Declined { code }
        );
    }

    #[test]
    fn the_success_rate_is_met() {
        let captured = |rate| {
            let keys = (0..10_000).map(|n| format!("{n}:payment:ACTION"));
            keys.filter(|key| is_captured(&verdict(rate, key, Some("pm_of_our_own"))))
                .count()
        };
        assert_eq!(captured("0"), 0);
        assert!((6_800..7_200).contains(&captured("0.7")));
        assert_eq!(captured("1"), 10_000);
    }

    #[test]
    fn some_refunds_are_refused_and_the_same_ones_each_time() {
        let refused = |rate: &str| {
            let gateway = with(&[("PAYMENT_REFUND_REFUSAL_RATE", rate)]).unwrap();
            let keys = (0..10_000).map(|n| format!("{n}:payment:ACTION"));
            let refused = keys.filter(|key| gateway.may_refund(key).is_err());
            refused.collect::<Vec<_>>()
        };
        assert_eq!(refused("0"), Vec::<String>::new());
        assert!((400..600).contains(&refused("0.05").len()));
        assert_eq!(refused("0.05"), refused("0.05"));
        assert_eq!(refused("1").len(), 10_000);
    }

    #[test]
    fn each_charge_has_its_own_gateway_id() {
        assert_ne!(verdict("1", "a", None), verdict("1", "b", None));
    }

    #[test]
    fn stripes_test_methods_force_the_outcome() {
        for method in ACCEPTED {
            assert!(is_captured(&verdict("0", "key", Some(method))), "{method}");
        }
        for (method, code) in [
            ("pm_card_chargeDeclined", "generic_decline"),
            ("pm_card_visa_chargeDeclined", "generic_decline"),
            (
                "pm_card_chargeDeclinedInsufficientFunds",
                "insufficient_funds",
            ),
            ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
            ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
            ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
            ("pm_card_chargeDeclinedProcessingError", "processing_error"),
        ] {
            let code = code.to_owned();
            assert_eq!(
                verdict("1", "key", Some(method)),
                Verdict::Declined { code }
            );
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        for rate in ["1.1", "-0.1", "NaN", "much"] {
            let error = with(&[("PAYMENT_SUCCESS_RATE", rate)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("PAYMENT_SUCCESS_RATE={rate:?}: expected a number from 0 to 1")
            );
        }
        assert!(with(&[("USE_SIMULATED_PAYMENT", "maybe")]).is_err());
        assert!(with(&[("PAYMENT_LATENCY_MS", "soon")]).is_err());
    }

    #[test]
    fn without_simulation_the_start_stops_and_says_what_to_do() {
        let error = with(&[("USE_SIMULATED_PAYMENT", "false")]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("implement payment_service::gateway::Gateway")
        );
    }
}
