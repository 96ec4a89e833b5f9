//! `example`: orders that are checked for fraud, by a participant in TypeScript, before they are paid.
//!
//! ```text
//! checked-orders ─► fraud-check (Node) ─► payment-service ─► inventory-service
//! ```
//! The system is its own, below `.dev/example`, and is removed at the end. One that runs is left alone.

mod orders;
mod system;

use std::process::ExitCode;

use anyhow::Result;
use test_support::servers::stop_left_over;
use tokio::signal::unix::{SignalKind, signal};

use self::orders::Ended;
use self::system::System;
use crate::lock::Alone;
use crate::workspace::Workspace;

/// Runs the example. Fails when an order did not end as it should.
///
/// # Errors
/// The system does not start, or does not answer.
pub(crate) async fn run(workspace: &Workspace) -> Result<ExitCode> {
    let _lock = Alone::Example.lock(workspace)?;
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let result = tokio::select! {
        result = show(workspace) => result,
        _ = interrupted.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    if result.is_err() {
        let dir = system::dir(workspace);
        stop_left_over(&dir).await?;
        eprintln!("Everything is stopped. The logs are in {}.", dir.display());
    }
    Ok(if result? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether every order ended as it should.
async fn show(workspace: &Workspace) -> Result<bool> {
    println!("Starting a system of its own …");
    let system = System::start(workspace).await?;
    let ended = orders::play(&system).await?;
    println!();
    orders::print(&ended);
    if let Some(refused) = ended.iter().find(|order| order.reason != "-") {
        println!("\nThe saga log of “{}”", refused.kind);
        refused.log.iter().for_each(|entry| println!("{entry}"));
    }
    system.end().await?;
    let is_good = ended.iter().all(Ended::is_good);
    println!(
        "\n{} docs/PARTICIPANTS.md tells how such a participant is made.",
        if is_good {
            "All orders ended as they should."
        } else {
            "NOT all orders ended as they should."
        }
    );
    Ok(is_good)
}
