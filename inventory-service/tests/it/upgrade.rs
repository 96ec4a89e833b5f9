//! A later release's schema, under this release's service: columns are added while it runs.

use reqwest::{Client, StatusCode};
use serde_json::json;
use test_support::participant::Replica;

use crate::support::{Saga, World};

const TABLES: [&str; 5] = [
    "inventory_items",
    "reservations",
    "restocks",
    "idempotency",
    "outbox",
];

/// As many as the service has: the pool gives each its turn.
const CONNECTIONS: usize = 8;

/// Each command once, again, and too late; and what the API does with a product.
async fn everything(world: &World, service: &Replica, product: &str) {
    let (kept, dropped) = (Saga::new(), Saga::new());
    let commands = [
        (kept.reserve(&[("a", 2)]), "inventory.reserved.v1"),
        (kept.another().commit(), "inventory.committed.v1"),
        (
            kept.another().restock(&[("a", 1)]),
            "inventory.restocked.v1",
        ),
        (dropped.reserve(&[("a", 1)]), "inventory.reserved.v1"),
        (dropped.release(), "inventory.released.v1"),
        (Saga::new().release(), "inventory.released.v1"),
        (
            Saga::new().reserve(&[("none", 1)]),
            "inventory.reservation_failed.v1",
        ),
    ];
    for (command, answer) in commands {
        for _ in 0..2 {
            world.command(&command).await;
            assert_eq!(world.reply().await["type"], answer);
        }
    }
    let (http, all) = (Client::new(), format!("{}/inventory", service.url));
    for n in 0..CONNECTIONS {
        let product = format!("{product}-{n}");
        let new = json!({ "productId": product, "quantity": 7 });
        let added = http.post(&all).json(&new).send().await.unwrap();
        assert_eq!(added.status(), StatusCode::CREATED);
        let change = http.patch(format!("{all}/{product}"));
        let changed = change.json(&json!({ "quantity": 8 })).send().await.unwrap();
        assert_eq!(changed.status(), StatusCode::OK);
    }
    for path in ["/inventory", "/inventory/a", "/reservations"] {
        assert_eq!(service.get(path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn columns_are_added_while_the_service_runs() {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    // Every statement is prepared on the tables as they are now.
    everything(&world, &service, "b").await;
    world.environment.add_columns("inventory", &TABLES).await;
    everything(&world, &service, "c").await;
    assert_eq!(world.dead_letters().await, 0);
    world.assert_books_balance().await;
}
