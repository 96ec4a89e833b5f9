//! What happens to an order after it was completed: it is shipped, and goods come back.
//!
//! Each of these is a saga. While it is open, it keeps others away from the order, so it is waited for.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::time::sleep;

use super::api::Api;
use super::play::{PATIENCE, POLL};
use super::scenarios::Parcel;

/// Ships an order, and waits until its stock has left.
///
/// # Errors
/// It cannot be shipped, or its saga does not end.
pub(super) async fn ship(api: &Api, order: &str) -> Result<()> {
    api.set_status(order, "SHIPPED").await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sagas = api.sagas(order).await?;
        let saga = sagas.iter().find(|saga| saga.kind == "ship_order");
        let saga = saga.context("it is shipped without a saga ship_order")?;
        if saga.status == "COMPLETED" {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("its saga ship_order is {} after {PATIENCE:?}", saga.status);
        }
        sleep(POLL).await;
    }
}

/// Sends parcels back, all at once, and waits until each is on the shelf and its price given back.
///
/// # Errors
/// One of them is refused, or its saga does not end.
pub(super) async fn give_back(api: &Api, order: &str, parcels: &[Parcel]) -> Result<()> {
    for goods in parcels {
        let sent = api.give_back(order, goods).await;
        sent.with_context(|| format!("sending {goods:?} back"))?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let returns = api.returns(order).await?;
        let Some(open) = returns.iter().find(|one| one.status != "COMPLETED") else {
            return Ok(());
        };
        if Instant::now() > deadline {
            let saga = api.saga(&open.saga_id).await?;
            bail!(
                "its return {} is {} after {PATIENCE:?}: its saga {} is {} at step {}",
                open.return_id,
                open.status,
                open.saga_id,
                saga.status,
                saga.current_step.as_deref().unwrap_or("-")
            );
        }
        sleep(POLL).await;
    }
}
