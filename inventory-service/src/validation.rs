//! Questions: would these items be available now? Answered from a look at the table; nothing is held.

use std::collections::{BTreeSet, HashMap};

use common::{
    amqp::{Raw, consumer::Incoming},
    contract::{
        Envelope, Trace, Unreadable,
        inventory::{StockAvailability, StockItem, StockValidated, ValidateStock},
    },
};
use sqlx::PgExecutor;

use crate::{SOURCE, stock, wanted::merge};

/// A request, with where its answer goes.
#[derive(Debug)]
pub(crate) struct Question {
    envelope: Envelope,
    items: Vec<StockItem>,
    reply_to: String,
    correlation_id: Option<String>,
    trace: Option<Trace>,
}

impl Question {
    /// Reads a request; it needs no saga.
    ///
    /// # Errors
    /// Its data is wrong, or it does not say where the answer goes.
    pub(crate) fn read(event: &Incoming) -> Result<Self, Unreadable> {
        let ValidateStock { items } = event.envelope.data()?;
        let reply_to = event.reply_to.clone();
        Ok(Self {
            items: merge(&event.envelope, items)?,
            reply_to: reply_to.ok_or(Unreadable::Attribute("reply_to"))?,
            correlation_id: event.correlation_id.clone(),
            trace: event.trace.clone(),
            envelope: event.envelope.clone(),
        })
    }

    fn answer(&self, there: &HashMap<String, i64>) -> Raw {
        let items: Vec<_> = self
            .items
            .iter()
            .map(|item| StockAvailability {
                product_id: item.product_id.clone(),
                requested: item.quantity.into(),
                available: there
                    .get(&item.product_id)
                    .map(|n| n.max(&0).unsigned_abs()),
            })
            .collect();
        let enough =
            |item: &StockAvailability| item.available.is_some_and(|there| there >= item.requested);
        let data = StockValidated {
            available: items.iter().all(enough),
            items,
        };
        let asked = &self.envelope;
        let envelope = Envelope {
            correlationid: asked.correlationid.clone(),
            causationid: Some(asked.id),
            ..Envelope::new(SOURCE, &asked.subject, &data).traced(self.trace.as_ref())
        };
        Raw::response(&self.reply_to, self.correlation_id.as_deref(), &envelope)
    }
}

/// Answers `questions` with what is there at this moment.
///
/// # Errors
/// The database failed.
pub(crate) async fn answer(
    db: impl PgExecutor<'_>,
    questions: &[&Question],
) -> sqlx::Result<Vec<Raw>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let items = questions.iter().flat_map(|question| &question.items);
    let products: BTreeSet<_> = items.map(|item| item.product_id.as_str()).collect();
    let there = stock::availability(db, &products.into_iter().collect::<Vec<_>>()).await?;
    Ok(questions.iter().map(|q| q.answer(&there)).collect())
}
