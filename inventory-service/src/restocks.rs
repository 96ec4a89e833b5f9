//! The table `restocks`: goods that came back, one row for each step of a saga that puts some on the shelf again.

use std::collections::{HashMap, HashSet};

use common::{
    amqp::consumer,
    contract::{
        OrderId, SagaId, clock,
        inventory::{Restock, StockItem},
    },
    db::Writes,
    participant::idempotency::Key,
};
use sqlx::{Postgres, Row, Transaction, types::Json};
use uuid::Uuid;

use crate::wanted::Sum;

/// More came back than was shipped. It is no refusal, for there is none, but a fault: somebody must look.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{shipped} of product {product_id:?} were shipped for order {order}, and {back} came back before: not {asked} more"
)]
pub(crate) struct TooMany {
    order: OrderId,
    product_id: String,
    shipped: u64,
    back: u64,
    asked: u32,
}

impl From<TooMany> for consumer::Error {
    fn from(error: TooMany) -> Self {
        Self::Failed(error.into())
    }
}

/// What came back of orders whose reservations a transaction has locked.
#[derive(Debug, Default)]
pub(crate) struct Book {
    back: HashMap<OrderId, Sum>,
    recorded: HashSet<(SagaId, String)>,
    made: Vec<(Key, Restock)>,
}

impl Book {
    /// Reads what came back of `orders`. Their reservations must be locked before, so that it stays true.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) async fn read(
        tx: &mut Transaction<'_, Postgres>,
        orders: &[OrderId],
    ) -> sqlx::Result<Self> {
        let mut book = Self::default();
        if orders.is_empty() {
            return Ok(book);
        }
        let rows = sqlx::query(
            "SELECT saga_id, step, order_id, items FROM restocks WHERE order_id = ANY($1)",
        )
        .bind(orders.iter().map(|order| order.0).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
        for row in &rows {
            let items: Json<Vec<StockItem>> = row.try_get("items")?;
            let order = OrderId(row.try_get("order_id")?);
            book.back.entry(order).or_default().add(&items);
            let action = (SagaId(row.try_get("saga_id")?), row.try_get("step")?);
            book.recorded.insert(action);
        }
        Ok(book)
    }

    /// Whether the action of the same step as `key` has put its goods on the shelf before.
    pub(crate) fn is_recorded(&self, key: &Key) -> bool {
        self.recorded.contains(&(key.saga, key.step.clone()))
    }

    /// Notes what comes back, of `shipped` goods.
    pub(crate) fn add(&mut self, key: &Key, asked: &Restock, shipped: &Sum) -> Result<(), TooMany> {
        let back = self.back.entry(asked.order_id).or_default();
        for item in &asked.items {
            let (shipped, back) = (shipped.of(&item.product_id), back.of(&item.product_id));
            if back + u64::from(item.quantity) > shipped {
                return Err(TooMany {
                    order: asked.order_id,
                    product_id: item.product_id.clone(),
                    shipped,
                    back,
                    asked: item.quantity,
                });
            }
        }
        back.add(&asked.items);
        self.made.push((key.clone(), asked.clone()));
        Ok(())
    }

    /// Adds what is new to `writes`. A step that has a row keeps it.
    pub(crate) fn write(mut self, writes: &mut Writes) {
        if self.made.is_empty() {
            return;
        }
        // The order is the same in all transactions, so that two of them cannot wait for each other.
        self.made.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let uuids =
            |get: fn(&(Key, Restock)) -> Uuid| self.made.iter().map(get).collect::<Vec<_>>();
        let steps: Vec<_> = self.made.iter().map(|(key, _)| key.step.as_str()).collect();
        let items: Vec<_> = self
            .made
            .iter()
            .map(|(_, asked)| Json(&asked.items))
            .collect();
        writes
            .add(
                "INSERT INTO restocks (id, saga_id, step, order_id, return_id, items)
                 SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::json[])
                 ON CONFLICT (saga_id, step) DO NOTHING",
            )
            .bind(uuids(|_| clock::new_id()))
            .bind(uuids(|(key, _)| key.saga.0))
            .bind(steps)
            .bind(uuids(|(_, asked)| asked.order_id.0))
            .bind(uuids(|(_, asked)| asked.return_id.0))
            .bind(items);
    }
}
