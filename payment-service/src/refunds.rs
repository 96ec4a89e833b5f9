//! What is given back of payments part by part: the table `refunds`, and the sum in `payments`.

use std::collections::{BTreeMap, HashMap, HashSet};

use common::{
    amqp::consumer,
    contract::{Money, OrderId, PaymentId, ReturnId, clock, payment::RefundPart},
    db::Writes,
    participant::idempotency::Key,
};
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::payments::action_key;

/// A part cannot be given back. It is no refusal, for there is none, but a fault: somebody must look.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// The order was never paid.
    #[error("order {0} has no payment that anything could be given back of")]
    NotPaid(OrderId),
    /// The payment is in another currency.
    #[error("payment {payment} is in {paid:?}, and {asked:?} is to be given back")]
    OtherCurrency {
        payment: PaymentId,
        paid: String,
        asked: String,
    },
    /// More than is left of the payment.
    #[error("{left} is left of payment {payment}, and {asked} is to be given back")]
    TooMuch {
        payment: PaymentId,
        left: Money,
        asked: Money,
    },
}

impl From<Error> for consumer::Error {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A payment, and what is left of it.
#[derive(Debug)]
struct Paid {
    /// The action that made the charge.
    charge: Key,
    gateway_id: String,
    currency: String,
    left: Money,
}

/// A part that is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    /// The payment that it is a part of.
    pub(crate) payment: PaymentId,
    /// The action that made its charge.
    pub(crate) charge: Key,
    /// The gateway's id of the charge.
    pub(crate) gateway_id: String,
    /// Whether it was given back before.
    pub(crate) is_recorded: bool,
}

/// A row of the table.
#[derive(Debug)]
struct Entry {
    key: Key,
    payment: PaymentId,
    order: OrderId,
    for_return: ReturnId,
    amount: Money,
    currency: String,
}

/// What is left of payments, while parts are taken from them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    paid: HashMap<PaymentId, Paid>,
    by_order: HashMap<OrderId, PaymentId>,
    recorded: HashSet<Key>,
    taken: Vec<Entry>,
}

impl Ledger {
    /// The payments of the orders of `parts`, as they are at this moment.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) async fn of_orders(
        db: &mut PgConnection,
        parts: &[(&Key, &RefundPart)],
    ) -> sqlx::Result<Self> {
        let orders = parts.iter().map(|(_, part)| part.order_id.0).collect();
        let keys: Vec<_> = parts.iter().map(|(key, _)| *key).collect();
        Self::read(db, "order_id = ANY($1) ORDER BY id", orders, &keys).await
    }

    /// These `payments`, locked in the order that all transactions keep.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) async fn lock(
        db: &mut PgConnection,
        payments: &[PaymentId],
        keys: &[&Key],
    ) -> sqlx::Result<Self> {
        let ids = payments.iter().map(|id| id.0).collect();
        Self::read(db, "id = ANY($1) ORDER BY id FOR UPDATE", ids, keys).await
    }

    async fn read(
        db: &mut PgConnection,
        which: &'static str,
        ids: Vec<Uuid>,
        keys: &[&Key],
    ) -> sqlx::Result<Self> {
        let select = format!(
            "SELECT id, saga_id, step, order_id, amount_minor - refunded_minor AS left_minor, currency, status, gateway_id
             FROM payments WHERE status <> 'DECLINED' AND {which}"
        );
        let rows = sqlx::query(AssertSqlSafe(select))
            .bind(ids)
            .fetch_all(&mut *db)
            .await?;
        let mut ledger = Self::default();
        for row in &rows {
            ledger.add(row);
        }
        // After the payments: what was recorded of a sum that is seen here is seen, too.
        ledger.recorded = recorded(db, keys).await?;
        Ok(ledger)
    }

    fn add(&mut self, row: &PgRow) {
        let id = PaymentId(row.get("id"));
        let is_captured = row.get::<&str, _>("status") == "CAPTURED";
        let left = if is_captured {
            row.get("left_minor")
        } else {
            0
        };
        let paid = Paid {
            charge: action_key(row),
            gateway_id: row.get("gateway_id"),
            currency: row.get("currency"),
            left: Money::from_minor(left),
        };
        // Of several, the first one that is not given back as a whole.
        let of_order = self.by_order.entry(OrderId(row.get("order_id")));
        let of_order = of_order.or_insert(id);
        let is_used_up = |other: &Paid| other.left == Money::default();
        if self.paid.get(of_order).is_some_and(is_used_up) && is_captured {
            *of_order = id;
        }
        self.paid.insert(id, paid);
    }

    /// The payment that parts of `order` are given back of.
    pub(crate) fn payment_of(&self, order: OrderId) -> Result<PaymentId, Error> {
        self.by_order
            .get(&order)
            .copied()
            .ok_or(Error::NotPaid(order))
    }

    /// Leaves nothing of `payments`.
    pub(crate) fn close(&mut self, payments: &[PaymentId]) {
        for id in payments {
            if let Some(paid) = self.paid.get_mut(id) {
                paid.left = Money::default();
            }
        }
    }

    /// Takes what is `asked` under `key` from a payment, unless that was done before.
    pub(crate) fn take(
        &mut self,
        payment: PaymentId,
        key: &Key,
        asked: &RefundPart,
    ) -> Result<Refund, Error> {
        let not_paid = || Error::NotPaid(asked.order_id);
        let paid = self.paid.get_mut(&payment).ok_or_else(not_paid)?;
        let refund = Refund {
            payment,
            charge: paid.charge.clone(),
            gateway_id: paid.gateway_id.clone(),
            is_recorded: self.recorded.contains(key),
        };
        if refund.is_recorded {
            return Ok(refund);
        }
        if paid.currency != asked.currency {
            return Err(Error::OtherCurrency {
                payment,
                paid: paid.currency.clone(),
                asked: asked.currency.clone(),
            });
        }
        if asked.amount > paid.left {
            return Err(Error::TooMuch {
                payment,
                left: paid.left,
                asked: asked.amount,
            });
        }
        paid.left = Money::from_minor(paid.left.minor() - asked.amount.minor());
        self.taken.push(Entry {
            key: key.clone(),
            payment,
            order: asked.order_id,
            for_return: asked.return_id,
            amount: asked.amount,
            currency: asked.currency.clone(),
        });
        Ok(refund)
    }

    /// Adds what was taken to `writes`.
    pub(crate) fn write(mut self, writes: &mut Writes) {
        if self.taken.is_empty() {
            return;
        }
        // The order is the same in all transactions, so that two of them cannot wait for each other.
        self.taken.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.insert(writes);
        self.add_up(writes);
    }

    /// A step that has a row keeps it: then a faster replica made it, which the frame is about to notice.
    fn insert(&self, writes: &mut Writes) {
        let uuids = |get: fn(&Entry) -> Uuid| self.taken.iter().map(get).collect::<Vec<_>>();
        let texts = |get: fn(&Entry) -> &str| self.taken.iter().map(get).collect::<Vec<_>>();
        let amounts: Vec<_> = self.taken.iter().map(|e| e.amount.minor()).collect();
        writes
            .add(
                "INSERT INTO refunds (id, saga_id, step, payment_id, order_id, return_id, amount_minor, currency)
                 SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[],
                                      $7::bigint[], $8::text[])
                 ON CONFLICT (saga_id, step) DO NOTHING",
            )
            .bind(uuids(|_| clock::new_id()))
            .bind(uuids(|e| e.key.saga.0))
            .bind(texts(|e| &e.key.step))
            .bind(uuids(|e| e.payment.0))
            .bind(uuids(|e| e.order.0))
            .bind(uuids(|e| e.for_return.0))
            .bind(amounts)
            .bind(texts(|e| &e.currency));
    }

    fn add_up(&self, writes: &mut Writes) {
        let mut sums: BTreeMap<PaymentId, i64> = BTreeMap::new();
        for entry in &self.taken {
            *sums.entry(entry.payment).or_default() += entry.amount.minor();
        }
        writes
            .add(
                "UPDATE payments p
                 SET refunded_minor = p.refunded_minor + r.amount_minor, updated_at = now(),
                     status = CASE WHEN p.refunded_minor + r.amount_minor = p.amount_minor THEN 'REFUNDED'
                                   ELSE p.status END
                 FROM UNNEST($1::uuid[], $2::bigint[]) AS r (payment_id, amount_minor)
                 WHERE p.id = r.payment_id",
            )
            .bind(sums.keys().map(|id| id.0).collect::<Vec<_>>())
            .bind(sums.into_values().collect::<Vec<_>>());
    }
}

/// Which of `keys` have given their part back.
async fn recorded(db: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<HashSet<Key>> {
    let (sagas, steps, _) = Key::columns(keys.iter().copied());
    let rows = sqlx::query(
        "SELECT saga_id, step FROM refunds
         WHERE (saga_id, step) IN (SELECT * FROM UNNEST($1::uuid[], $2::text[]))",
    )
    .bind(sagas)
    .bind(steps)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(action_key).collect())
}
