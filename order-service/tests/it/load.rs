//! Many at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use reqwest::StatusCode;
use serde_json::json;
use test_support::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::harness::{System, count, order};

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_orders_of_64_clients_all_end_and_the_books_balance() {
    const ORDERS: usize = 2000;
    let system = System::whole_with(&[
        ("PAYMENT_SUCCESS_RATE", "0.7"),
        ("DATABASE_MAX_CONNECTIONS", "16"),
    ])
    .await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..64 {
        let (orders, next) = (system.orders.clone(), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= ORDERS {
                    return;
                }
                // Scarce: there are 175 in all.
                let items: Vec<_> = (0..1 + number % 3)
                    .map(|i| json!({ "productId": format!("prod-{}", 1 + (number + i) % 3), "quantity": 1, "unitPrice": 9.99 }))
                    .collect();
                let body = json!({ "customerId": format!("customer-{}", number % 10), "items": items });
                assert_eq!(orders.post("/orders", &body).await.status(), StatusCode::CREATED);
            }
        });
    }
    clients.join_all().await;
    let db = system.environment.pool("order").await;
    let open =
        || async { count(&db, "SELECT count(*) FROM orders WHERE status = 'PENDING'").await };
    eventually("all orders end", open, |open| *open == 0).await;
    assert_eq!(count(&db, "SELECT count(*) FROM orders").await, 2000);
    for (reason, query) in [
        (
            "completed",
            "SELECT count(*) FROM orders WHERE status = 'COMPLETED'",
        ),
        (
            "declined",
            "SELECT count(*) FROM orders WHERE cancellation_reason = 'PAYMENT_DECLINED'",
        ),
        (
            "out of stock",
            "SELECT count(*) FROM orders WHERE cancellation_reason = 'OUT_OF_STOCK'",
        ),
    ] {
        assert!(count(&db, query).await > 20, "some orders are {reason}");
    }
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_hang_up_leave_whole_orders_or_none() {
    let system = System::whole().await;
    let body = order("prod-1", 1, "pm_card_visa").to_string();
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut clients = JoinSet::new();
    for number in 0..1000_usize {
        let (address, request) = (system.orders.address().to_owned(), request.clone());
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Some hang up in the middle of the request, some right after it, some while the answer comes.
            let sent = if number % 4 == 0 {
                request.len() / 2
            } else {
                request.len()
            };
            stream.write_all(&request.as_bytes()[..sent]).await.unwrap();
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            if number % 4 == 3 {
                let _ = stream.read(&mut [0; 1]).await;
            }
        });
        if clients.len() >= 100 {
            clients.join_next().await.unwrap().unwrap();
        }
    }
    clients.join_all().await;
    // One more order, after all of them: what was handed in before it is placed before it.
    system.place("prod-1", 1).await;
    let db = system.environment.pool("order").await;
    let open =
        || async { count(&db, "SELECT count(*) FROM orders WHERE status = 'PENDING'").await };
    eventually("all orders end", open, |open| *open == 0).await;
    assert!(count(&db, "SELECT count(*) FROM orders").await > 500);
    let in_transaction = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually(
        "no connection is left in a transaction",
        || count(&db, in_transaction),
        |n| *n == 0,
    )
    .await;
    system.audit().await;
}
