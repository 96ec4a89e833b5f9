//! Plays a scenario: places the order, does with it what is to be done, and follows it to its end.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use common::contract::Money;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::api::{Api, Order, Payment, Saga};
use super::delivery;
use super::scenarios::{EXAMPLE, Scenario, Then};
use super::stock::price;

/// How long a saga may take. What takes longer waits for a participant.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often something that is waited for is asked about.
pub(super) const POLL: Duration = Duration::from_millis(10);
/// How often the user hears how many orders are waited for.
const TELL: Duration = Duration::from_secs(5);
/// How often a cancellation may come too late before that is a failure.
const RACES: u32 = 20;

/// What became of an order.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) kind: &'static str,
    /// Whether its saga log is worth showing.
    pub(super) is_example: bool,
    pub(super) order_id: Option<String>,
    pub(super) saga_id: Option<String>,
    pub(super) became: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) payment: Option<String>,
    /// What was given back for the returns of the order.
    pub(super) returned: Option<String>,
    pub(super) reservation: Option<String>,
    /// From the POST to the end.
    pub(super) took: Duration,
    /// What is not as it should be.
    pub(super) problems: Vec<String>,
}

/// Plays all scenarios at once. What goes wrong with one is in its outcome.
pub(super) async fn all(api: &Api, scenarios: &[Scenario]) -> Vec<Outcome> {
    let ended = Cell::new(0);
    let one = async |scenario: &Scenario| {
        let outcome = scenario.play(api).await;
        ended.set(ended.get() + 1);
        outcome
    };
    let mut all = pin!(join_all(scenarios.iter().map(one)));
    loop {
        if let Ok(outcomes) = timeout(TELL, &mut all).await {
            return outcomes;
        }
        println!("{} of {} have ended …", ended.get(), scenarios.len());
    }
}

impl Scenario {
    async fn play(&self, api: &Api) -> Outcome {
        let began = Instant::now();
        let mut outcome = Outcome {
            kind: self.kind,
            is_example: self.kind == EXAMPLE,
            ..Outcome::default()
        };
        match self.follow(api, &mut outcome).await {
            Ok(()) => self.compare(&mut outcome),
            Err(error) => {
                outcome.problems.push(format!("{error:#}"));
                outcome.took = began.elapsed();
                let id = outcome.order_id.as_deref().unwrap_or_default();
                outcome.became = api.order(id).await.ok().map(|order| order.status);
            }
        }
        outcome
    }

    async fn follow(&self, api: &Api, outcome: &mut Outcome) -> Result<()> {
        for _ in 0..RACES {
            let began = Instant::now();
            let placed = self.place(api, outcome).await?;
            self.act(api, &placed).await?;
            let order = self.ended(api, &placed).await?;
            outcome.took = began.elapsed();
            outcome.became = Some(order.status);
            outcome.reason = order.cancellation_reason;
            self.look(api, outcome, &placed).await?;
            let saga = api.saga(&placed.saga_id).await?;
            if self.then != Then::CancelAtOnce || was_stopped(&saga) {
                return Ok(());
            }
        }
        bail!("it was completed {RACES} times before the cancellation came")
    }

    async fn place(&self, api: &Api, outcome: &mut Outcome) -> Result<Order> {
        let lines = self
            .items
            .iter()
            .map(|(product, n)| json!({"productId": product, "quantity": n, "unitPrice": price(product)}));
        let order = json!({
            "customerId": "demo",
            "items": lines.collect::<Value>(),
            "paymentMethod": self.payment_method,
        });
        let key = Uuid::now_v7().to_string();
        let placed = api.place(&order, &key).await.context("placing it")?;
        outcome.order_id = Some(placed.order_id.clone());
        outcome.saga_id = Some(placed.saga_id.clone());
        if self.then == Then::PlaceAgain {
            let again = api.place(&order, &key).await.context("placing it again")?;
            ensure!(
                again.order_id == placed.order_id,
                "the same Idempotency-Key gave another order: {}",
                again.order_id
            );
        }
        Ok(placed)
    }

    async fn act(&self, api: &Api, placed: &Order) -> Result<()> {
        let id = &placed.order_id;
        match self.then {
            Then::Nothing | Then::PlaceAgain => {}
            Then::CancelAtOnce => drop(api.cancel(id, "changed my mind").await?),
            Then::CancelWhenCompleted => {
                self.completed(api, placed).await?;
                api.cancel(id, "found it cheaper").await?;
            }
            Then::Ship => {
                self.completed(api, placed).await?;
                delivery::ship(api, id).await?;
            }
            Then::Return(parcels) => {
                self.completed(api, placed).await?;
                delivery::ship(api, id).await?;
                api.set_status(id, "DELIVERED").await?;
                delivery::give_back(api, id, parcels).await?;
            }
        }
        Ok(())
    }

    async fn completed(&self, api: &Api, placed: &Order) -> Result<()> {
        let order = self.ended(api, placed).await?;
        let (status, reason) = (order.status, order.cancellation_reason);
        ensure!(
            status == "COMPLETED",
            "it became {status} ({}) and should have been COMPLETED first",
            reason.as_deref().unwrap_or("-")
        );
        Ok(())
    }

    /// Waits until the order is not PENDING any more.
    async fn ended(&self, api: &Api, placed: &Order) -> Result<Order> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let order = api.order(&placed.order_id).await?;
            if order.status != "PENDING" {
                return Ok(order);
            }
            if Instant::now() > deadline {
                let saga = api.saga(&placed.saga_id).await?;
                let step = saga.current_step.as_deref().unwrap_or("-");
                bail!(
                    "it is PENDING after {PATIENCE:?}: its saga {} is {} at step {step}",
                    placed.saga_id,
                    saga.status
                );
            }
            sleep(POLL).await;
        }
    }

    /// Looks at payment, returns and reservation.
    async fn look(&self, api: &Api, outcome: &mut Outcome, placed: &Order) -> Result<()> {
        let or_none = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
        let payments = api.payments(&placed.order_id).await?;
        outcome.payment = or_none(payments.iter().map(in_words).collect());
        let reservations = api.reservations(&placed.order_id).await?;
        outcome.reservation = or_none(reservations.into_iter().map(|r| r.status).collect());
        let returns = api.returns(&placed.order_id).await?;
        if !returns.is_empty() {
            let worth: Money = returns.iter().map(|one| one.refund_amount).sum();
            let back: Money = payments.iter().map(|payment| payment.refunded_amount).sum();
            ensure!(
                worth == back,
                "its returns are worth {worth}, but {back} was given back"
            );
            outcome.returned = Some(worth.to_string());
        }
        Ok(())
    }

    fn compare(&self, outcome: &mut Outcome) {
        let Outcome {
            became,
            reason,
            payment,
            returned,
            reservation,
            problems,
            ..
        } = outcome;
        let status = payment.as_deref().and_then(|text| text.split(' ').next());
        let mut expect = |what: &str, is: Option<&str>, should: &[&str]| {
            let is = is.unwrap_or("-");
            if !should.contains(&is) {
                problems.push(format!("{what} is {is}, should be {}", should.join(" or ")));
            }
        };
        expect("the order", became.as_deref(), &[self.end.status]);
        expect("the reason", reason.as_deref(), &[self.end.reason]);
        expect("the payment", status, self.end.payment);
        expect("what came back", returned.as_deref(), &[self.end.returned]);
        expect(
            "the reservation",
            reservation.as_deref(),
            self.end.reservation,
        );
    }
}

/// `CAPTURED 89.48, 19.99 back`; what is REFUNDED is back as a whole.
fn in_words(payment: &Payment) -> String {
    let Payment {
        status,
        amount,
        refunded_amount: back,
    } = payment;
    if *back == Money::default() || back == amount {
        format!("{status} {amount}")
    } else {
        format!("{status} {amount}, {back} back")
    }
}

/// Whether the cancellation came before the saga was completed.
fn was_stopped(saga: &Saga) -> bool {
    let has = |event| saga.log.iter().any(|entry| entry.event == event);
    has("CANCEL_REQUESTED") && !has("SAGA_COMPLETED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::scenarios::table;

    #[test]
    fn a_part_that_was_given_back_is_shown_beside_the_payment() {
        let payment = |status: &str, back| Payment {
            status: status.to_owned(),
            amount: Money::from_minor(8948),
            refunded_amount: Money::from_minor(back),
        };
        for (payment, words) in [
            (payment("CAPTURED", 0), "CAPTURED 89.48"),
            (payment("CAPTURED", 1999), "CAPTURED 89.48, 19.99 back"),
            (payment("REFUNDED", 8948), "REFUNDED 89.48"),
        ] {
            assert_eq!(in_words(&payment), words);
        }
    }

    #[test]
    fn a_wrong_end_is_named() {
        let scenario = &table(25).unwrap()[3];
        let mut outcome = Outcome {
            became: Some("CANCELLED".to_owned()),
            reason: Some("OUT_OF_STOCK".to_owned()),
            payment: Some("REFUNDED 5.00".to_owned()),
            ..Outcome::default()
        };
        scenario.compare(&mut outcome);
        assert_eq!(outcome.problems, [""; 0]);
        outcome.payment = Some("CAPTURED 5.00".to_owned());
        outcome.reason = None;
        scenario.compare(&mut outcome);
        assert_eq!(
            outcome.problems,
            [
                "the reason is -, should be OUT_OF_STOCK",
                "the payment is CAPTURED, should be REFUNDED"
            ]
        );
    }
}
