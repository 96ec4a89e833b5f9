//! Replicas whose clocks are a month off.

use std::{process::Stdio, time::SystemTime};

use test_support::{eventually, faketime::clock_off_by};
use tokio::process::Command;
use uuid::{NoContext, Timestamp, Uuid};

use crate::service::{Orchestrator, Saga};

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_forgotten_is_decided_by_the_clock_of_the_database() {
    for offset in ["+31d", "-31d"] {
        let orchestrator = Orchestrator::new().await;
        let _replica = Command::new(env!("CARGO_BIN_EXE_payment-service"))
            .envs(orchestrator.environment.pairs(&[("RETENTION_DAYS", "2")]))
            .envs(clock_off_by(offset))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let long_ago = Timestamp::from_unix(NoContext, now - 49 * 3600, 0);
        let old = Saga {
            id: Uuid::new_v7(long_ago),
            ..Saga::new()
        };
        orchestrator.send(&old.process("pm_card_visa")).await;
        let new = orchestrator.paid().await;
        assert_eq!(orchestrator.payments(&new).await, ["CAPTURED"], "{offset}");
        assert!(orchestrator.payments(&old).await.is_empty(), "{offset}");
        let dead = || orchestrator.dead_letters();
        eventually("the old command is a dead letter", dead, |n| *n == 1).await;
    }
}
