//! One order, as requests find it.

use common::{contract::OrderId, http::ApiError};
use sqlx::PgConnection;

use crate::{
    http::api::refusal,
    orders::{self, Order},
};

pub(crate) fn no_such_order(id: OrderId) -> ApiError {
    ApiError::NotFound(format!("there is no order {id}"))
}

/// Takes the lock of the order's subject, so that whoever else is about to begin or reopen a saga of it has to wait, and
/// reads the order. Its row is not locked: that lock comes after those of sagas.
pub(crate) async fn lock(work: &mut saga::Work<'_>, id: OrderId) -> Result<Order, ApiError> {
    let subject = orders::subject(id);
    work.lock_subject(&subject).await.map_err(refusal)?;
    let order = orders::find(&mut **work.transaction().await?, id).await?;
    order.ok_or_else(|| no_such_order(id))
}

/// Reads the order, as it is now.
pub(crate) async fn read(db: &mut PgConnection, id: OrderId) -> Result<Order, ApiError> {
    let order = orders::find(db, id).await?;
    order.ok_or_else(|| no_such_order(id))
}
