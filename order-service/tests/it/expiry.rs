//! A saga that may take only so long as a whole.

use std::time::Duration;

use common::contract::topology;
use order_service::{
    app::Sagas,
    sagas::{
        CREATE_ORDER, OrderSaga, PlacedOrder, RETURN_ORDER, SHIP_ORDER, create_order, return_order,
        ship_order,
    },
};
use saga::Definition;
use sqlx::PgPool;
use test_support::eventually;

use crate::harness::{Participants, System, count, events, processed, refunded, released};

/// A step waits longer than that.
const LIFE: Duration = Duration::from_secs(25);
const SHORT: Definition<PlacedOrder> = CREATE_ORDER.expires_after(LIFE);
const SAGAS: Sagas = Sagas {
    placing: &SHORT,
    all: &[
        OrderSaga::new(&SHORT, create_order::follow),
        OrderSaga::new(&SHIP_ORDER, ship_order::follow),
        OrderSaga::new(&RETURN_ORDER, return_order::follow),
    ],
};

/// Whether the saga's step has no more time than the saga as a whole, which has 25 s from its beginning.
const BOTH: &str = "SELECT count(*) FROM sagas
                    WHERE deadline_at = expires_at AND expires_at = created_at + interval '25 s'";

async fn execute(db: &PgPool, statement: &'static str) {
    sqlx::query(statement).execute(db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_expires_whatever_its_steps_and_its_commands_do() {
    let system = System::of(SAGAS).await;
    let participants = Participants::of(&system.environment).await;
    let db = system.environment.pool("order").await;
    let order = system.place("prod-1", 1).await;
    assert_eq!(count(&db, BOTH).await, 1, "when it begins");
    let paid = processed(&participants.command("payment").await);
    participants.reply(&[paid]).await;
    participants.command("inventory").await;
    assert_eq!(count(&db, BOTH).await, 1, "when it goes on");

    // Time stands still for a command that has not left, but not for the whole saga.
    system.until_outbox_is_empty().await;
    execute(
        &db,
        "INSERT INTO outbox (id, exchange, routing_key, message, lease_until)
         SELECT command_id, 'saga.commands', 'inventory', '{}', now() + interval '1 h' FROM sagas",
    )
    .await;
    execute(
        &db,
        "UPDATE sagas SET deadline_at = now(), expires_at = now() + interval '8 s'",
    )
    .await;
    let put_off = "SELECT count(*) FROM sagas WHERE deadline_at = expires_at";
    let put_off = || count(&db, put_off);
    eventually("the deadline is put off, but not for long", put_off, |n| {
        *n == 1
    })
    .await;
    let release = participants.command("inventory").await;
    assert_eq!(release["type"], "inventory.release.v1");

    // The way back takes as long as it takes.
    let expires = "SELECT count(*) FROM sagas WHERE expires_at IS NOT NULL";
    assert_eq!(count(&db, expires).await, 0);
    participants.reply(&[released(&release)]).await;
    let refund = participants.command("payment").await;
    participants.reply(&[refunded(&refund)]).await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "TIMEOUT");
    let saga = system.saga(&order).await;
    assert!(events(&saga).contains(&"SAGA_EXPIRED"), "{saga}");
    assert!(!events(&saga).contains(&"ACTION_TIMED_OUT"), "{saga}");
    assert_eq!(
        participants
            .amqp
            .ready(topology::INVENTORY_COMMANDS.name)
            .await,
        0
    );
}
