//! What earlier versions left in the database.

use common::config::Secret;
use migrations::{Payment, exclusively, migrate, roll_back};
use sqlx::Row;
use test_support::Environment;
use tokio::sync::oneshot;

#[tokio::test]
async fn payments_of_earlier_versions_know_what_was_given_back_of_them() {
    let environment = Environment::new().await;
    let url = Secret::new(environment.database_url("payment"));
    let db = environment.pool("payment").await;
    let before_returns = || async {
        let has_column = "SELECT EXISTS (SELECT FROM information_schema.columns
                                         WHERE table_name = 'payments' AND column_name = 'refunded_minor')";
        while sqlx::query_scalar(has_column).fetch_one(&db).await.unwrap() {
            roll_back::<Payment>(&url).await.unwrap();
        }
    };
    before_returns().await;
    sqlx::query(
        "INSERT INTO payments (id, saga_id, step, order_id, customer_id, amount_minor, currency, status,
                               gateway_id, decline_code)
         SELECT gen_random_uuid(), gen_random_uuid(), 'payment', gen_random_uuid(), 'customer-1', 3998, 'USD', status,
                'sim_1', CASE WHEN status = 'DECLINED' THEN 'lost_card' END
         FROM UNNEST(ARRAY['CAPTURED', 'DECLINED', 'REFUNDED']) AS status",
    )
    .execute(&db)
    .await
    .unwrap();
    for _ in 0..2 {
        migrate::<Payment>(&url).await.unwrap();
        let rows = sqlx::query("SELECT refunded_minor FROM payments ORDER BY status")
            .fetch_all(&db)
            .await
            .unwrap();
        let refunded: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(refunded, [0, 0, 3998]);
        before_returns().await;
    }
}

#[tokio::test]
async fn a_migration_waits_for_another_one_and_says_so() {
    let environment = Environment::new().await;
    let url = Secret::new(environment.database_url("payment"));
    let (begun, has_begun) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let first = {
        let url = url.clone();
        let work = async {
            begun.send(()).unwrap();
            Ok(ended.await?)
        };
        tokio::spawn(async move { exclusively(&url, || {}, work).await })
    };
    has_begun.await.unwrap();
    let mut has_waited = false;
    let waiting = || {
        has_waited = true;
        end.send(()).unwrap();
    };
    let second = exclusively(&url, waiting, async { Ok(()) });
    second.await.unwrap();
    first.await.unwrap().unwrap();
    assert!(has_waited);
}
