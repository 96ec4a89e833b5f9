//! What the progress of sagas means for orders: their status, and the events that tell of it.

use std::collections::HashMap;

use anyhow::Context as _;
use async_trait::async_trait;
use common::{
    contract::{OrderId, Reason},
    metrics::{OTHER, Tally},
};
use saga::{Decision, Error, Follow, Following};

use crate::{
    metrics::{CANCELLED, CONFIRMED, RETURNED, SHIPPED},
    orders::{self, Change, Order},
    returns,
    sagas::OrderSaga,
};

/// Follows the sagas of orders.
#[derive(Debug)]
pub struct Orders {
    sagas: &'static [OrderSaga],
}

impl Orders {
    /// Follows `sagas`.
    #[must_use]
    pub const fn new(sagas: &'static [OrderSaga]) -> Self {
        Self { sagas }
    }

    /// What these decisions change, in their order.
    fn changes<'d>(
        &self,
        decisions: impl Iterator<Item = &'d Decision>,
    ) -> anyhow::Result<Vec<(OrderId, &'d Decision, Change)>> {
        let mut changes = Vec::new();
        for decision in decisions {
            let definition = decision.saga.definition;
            let known = |saga: &&OrderSaga| {
                let own = saga.definition;
                (own.name(), own.version()) == (definition.name(), definition.version())
            };
            let saga = self.sagas.iter().find(known).with_context(|| {
                format!(
                    "{} v{} is no saga of orders",
                    definition.name(),
                    definition.version()
                )
            })?;
            for entry in &decision.transition.log {
                if let Some(change) = (saga.follow)(&entry.what, decision)? {
                    let order = decision.saga.subject.id().parse::<OrderId>()?;
                    changes.push((order, decision, change));
                }
            }
        }
        Ok(changes)
    }
}

#[async_trait]
impl Follow for Orders {
    async fn follow(&self, work: &mut Following<'_, '_>) -> Result<(), Error> {
        let changes = self.changes(work.decisions()).map_err(Error::Follow)?;
        if changes.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = changes.iter().map(|(order, ..)| *order).collect();
        let tx = work.transaction().await?;
        let mut orders: HashMap<OrderId, Order> = orders::lock(tx, &ids).await?;
        let returning = |change: &Change| matches!(change, Change::Returned { .. });
        let mut returns = if changes.iter().any(|(.., change)| returning(change)) {
            returns::of_orders(tx, &ids).await?
        } else {
            HashMap::new()
        };
        let mut completed = Vec::new();
        for (id, decision, change) in changes {
            let missing = || Error::Follow(anyhow::anyhow!("there is no order {id}"));
            let order = orders.get_mut(&id).ok_or_else(missing)?;
            let returns = returns.entry(id).or_default();
            if let Change::Returned { id, .. } = &change {
                completed.push(*id);
            }
            count(work.tally(), &change, order);
            let event = order.apply(change, returns, &decision.context());
            event.into_iter().for_each(|event| work.tell(event));
        }
        returns::complete(work.writes(), &completed);
        orders::update(work.writes(), orders.into_values().collect());
        Ok(())
    }
}

/// Adds what becomes of an order to what is counted when it is committed.
fn count(tally: &mut Tally, change: &Change, order: &Order) {
    match change {
        Change::Completed => tally.add(&CONFIRMED, &[], 1),
        Change::Cancelled => {
            let reason = order.cancellation_reason;
            let reason = reason.as_ref().map_or(OTHER, Reason::as_str);
            tally.add(&CANCELLED, &[reason], 1);
        }
        Change::Shipped => tally.add(&SHIPPED, &[], 1),
        Change::Returned { .. } => tally.add(&RETURNED, &[], 1),
        Change::Undoing(_) => {}
    }
}
