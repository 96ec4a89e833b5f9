//! Shipping: `order.shipped.v1` makes a reservation final. The goods have left the warehouse.

use std::collections::{BTreeSet, HashMap};

use common::{
    contract::{
        Message, OrderId, Unreadable,
        order::{OrderShipped, OrderSnapshot},
    },
    db::UnitOfWork,
    messaging::{
        Outgoing,
        consumer::{Error, Handler, Incoming},
        outbox::Outbox,
    },
};
use sqlx::PgConnection;

use crate::{
    reservations::{self, Reservation, Status},
    stock,
};

/// The handler of `inventory.events`.
#[derive(Debug)]
pub(crate) struct Shipping {
    outbox: Outbox,
}

impl Shipping {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self { outbox }
    }

    /// Makes the reservations of `orders` final in one transaction, and returns what is to be told.
    async fn ship(
        &self,
        db: &mut PgConnection,
        orders: &BTreeSet<OrderId>,
    ) -> Result<Vec<Outgoing>, Error> {
        let mut work = UnitOfWork::new(db);
        let tx = work.transaction().await?;
        let ids: Vec<_> = orders.iter().map(|order| order.0).collect();
        let mut leaving = leaving(orders, reservations::lock_by_order(tx, &ids).await?)?;
        let items = || leaving.iter().flat_map(|reservation| &reservation.items);
        let products: BTreeSet<_> = items().map(|item| item.product_id.as_str()).collect();
        let products: Vec<_> = products.into_iter().collect();
        let mut stock = stock::lock(tx, &products).await?;
        for reservation in &leaving {
            let failed = |error: stock::Error| Error::Failed(error.into());
            stock.ship(&reservation.items).map_err(failed)?;
        }
        let events = stock::write(&mut work.writes, stock.changes());
        for reservation in &mut leaving {
            reservation.status = Status::Committed;
        }
        reservations::set_status(&mut work.writes, &leaving.iter().collect::<Vec<_>>());
        self.outbox.enqueue(&mut work.writes, &events);
        work.commit().await?;
        Ok(events)
    }
}

impl Handler for Shipping {
    type Input = OrderId;

    fn decode(&self, event: &Incoming) -> Result<OrderId, Unreadable> {
        if event.envelope.kind != OrderShipped::TYPE {
            return Err(Unreadable::UnknownType(event.envelope.kind.clone()));
        }
        let OrderShipped(OrderSnapshot { order_id, .. }) = event.envelope.data()?;
        Ok(order_id)
    }

    async fn handle(
        &self,
        db: &mut PgConnection,
        batch: &[OrderId],
    ) -> Result<Vec<Outgoing>, Error> {
        let orders = batch.iter().copied().collect();
        let events = self.ship(db, &orders).await?;
        self.outbox.hand_over(events).await;
        Ok(Vec::new())
    }
}

/// The reservations that are to become final; those that are already are left out.
fn leaving(orders: &BTreeSet<OrderId>, found: Vec<Reservation>) -> Result<Vec<Reservation>, Error> {
    let mut held: HashMap<OrderId, Vec<Reservation>> = HashMap::new();
    for reservation in found {
        if reservation.status != Status::Released {
            let order = held.entry(reservation.order_id).or_default();
            order.push(reservation);
        }
    }
    if let Some(order) = orders.iter().find(|order| !held.contains_key(order)) {
        let error = anyhow::anyhow!("order {order} was shipped but holds nothing");
        return Err(Error::Failed(error));
    }
    let reservations = held.into_values().flatten();
    Ok(reservations
        .filter(|reservation| reservation.status == Status::Reserved)
        .collect())
}
