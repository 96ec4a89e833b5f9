//! The payment gateway: who takes the money, and gives it back.
//!
//! Calls go out before the transaction that records them, so every one of them may be repeated: by another
//! replica, after a crash, after a lost race. The key makes that harmless.

mod guarded;
pub mod simulated;

use std::future::Future;

use common::{amqp::consumer, contract::Money};

pub(crate) use guarded::Guarded;
pub use guarded::Limits;
pub use simulated::Simulated;

/// Money to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// What makes it the same charge when it is asked for again: `saga:step:ACTION`.
    pub idempotency_key: &'a str,
    /// How much; more than zero.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: &'a str,
    /// The gateway's name of the payment method.
    pub payment_method: Option<&'a str>,
}

/// A charge of which all that is left is to be given back.
#[derive(Clone, Copy, Debug)]
pub struct Refund<'a> {
    /// The key under which the charge was made, if it was.
    pub charge_key: &'a str,
    /// What is known of the charge; `None` where nothing is, though it may have been made. A gateway that does not refuse
    /// refunded keys is only asked for refunds of charges that are known.
    pub charge: Option<Charged<'a>>,
}

/// A charge that was made.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    /// The gateway's id of it.
    pub gateway_id: &'a str,
    /// What was left of it a moment ago: parts that are given back meanwhile are no longer.
    pub amount: Money,
    /// ISO 4217 code.
    pub currency: &'a str,
}

/// A part of a charge that is to be given back.
#[derive(Clone, Copy, Debug)]
pub struct PartialRefund<'a> {
    /// What makes it the same part when it is asked for again: `saga:step:ACTION`.
    pub idempotency_key: &'a str,
    /// The key under which the charge was made.
    pub charge_key: &'a str,
    /// The gateway's id of the charge.
    pub gateway_id: &'a str,
    /// How much; more than zero.
    pub amount: Money,
    /// ISO 4217 code, the same as that of the charge.
    pub currency: &'a str,
}

/// What a gateway says to a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The money is taken.
    Captured {
        /// The gateway's id of the charge.
        gateway_id: String,
    },
    /// No money is taken.
    Declined {
        /// Why, in the gateway's words: `insufficient_funds`.
        code: String,
    },
}

/// Why a gateway did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached or is not working, or does not answer for this key now: the same call will work later.
    #[error("the payment gateway is away")]
    Away(#[source] anyhow::Error),
    /// It will never do this, such as give more back than was charged: somebody must look. The command becomes a dead
    /// letter.
    #[error("the payment gateway refuses")]
    Refused(#[source] anyhow::Error),
}

impl Error {
    /// Whether the same call can work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<Error> for consumer::Error {
    fn from(error: Error) -> Self {
        if error.is_transient() {
            Self::Away(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// Takes money and gives it back.
///
/// The service relies on five things, whatever happens to it between its calls:
/// - a charge under a key is made once, and gets the same verdict each time that it is asked for;
/// - after a refund, nothing is kept of what was charged under the key before;
/// - a charge that was refunded is not made again by asking for it again;
/// - a part of a charge is given back once under a key, however often it is asked for;
/// - what was given back of a charge is never more than was charged.
///
/// A charge may reach the gateway only after the refund of its key: a request can be on its way when who sent it is dead,
/// or has stopped waiting. Either the gateway refuses it ([`Self::refuses_refunded_keys`]), or the service writes an intent
/// down before each charge. A refund that finds one asks for the same charge once more before it refunds it: the first of
/// the five then sees to it that no later request takes money. Nothing else is asked of such a gateway, neither a search
/// for charges by their keys nor a limit of time for requests.
///
/// Many gateways keep the first of the five for a while only, and this matters here most. Stripe forgets a key after a
/// day or more, and answers an error 500 again for as long as it knows the key. So an implementation for it looks for
/// a charge with the key in its metadata before it makes one, and says [`Error::Away`] to everything that leaves open
/// whether the charge was made. To Stripe's 409, while a request of the same key is at work, it says the same.
///
/// Source: <https://docs.stripe.com/api/idempotent_requests>, <https://docs.stripe.com/error-low-level#idempotency>
///
/// Calls are made beside each other, each for one command, within [`Limits`] of number and time. One that takes too
/// long is dropped, which is the same as [`Error::Away`], and made again later.
pub trait Gateway: Send + Sync + 'static {
    /// Whether it takes no money under a key that was refunded, also where there was nothing to give back: it remembers
    /// the refund for as long as a charge may come. Stripe does not. Where this is `false`, an intent is written before
    /// each charge; where it is `true`, none is. It is always the same.
    fn refuses_refunded_keys(&self) -> bool;

    /// Takes the money, once for each key.
    ///
    /// # Errors
    /// [`Error::Away`]: the money may have been taken or not. Ask again. [`Error::Refused`]: it was not, and will not be
    /// under this key.
    fn charge(&self, charge: Charge<'_>) -> impl Future<Output = Result<Verdict, Error>> + Send;

    /// Gives back what is left of what was charged under the key, also where that is nothing or was given back before.
    ///
    /// # Errors
    /// [`Error::Away`]: the money may have been given back or not. Ask again. [`Error::Refused`]: it was not, and will
    /// not be.
    fn refund(&self, refund: Refund<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives a part of a charge back, once for each key.
    ///
    /// # Errors
    /// [`Error::Away`]: the part may have been given back or not. Ask again. [`Error::Refused`]: it was not, and will
    /// not be.
    fn refund_part(
        &self,
        part: PartialRefund<'_>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
