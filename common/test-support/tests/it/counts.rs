//! What a transaction counts.

use common::{
    config::{DatabaseConfig, Secret},
    db::{self, LazyTransaction},
    metrics::{self, Kind, Metric},
};
use sqlx::{Executor, PgConnection};
use test_support::Environment;

static INSERTED: Metric = Metric::new(Kind::Counter, "test_inserted_total", "Rows.", &[]);
static SIZES: Metric = Metric::new(Kind::Histogram, "test_inserted_messages", "Sizes.", &[]);

/// Tries to insert some numbers, and counts them.
async fn insert(connection: &mut PgConnection, numbers: &[i32], read_first: bool) -> bool {
    let mut work = LazyTransaction::new(connection);
    if read_first {
        let tx = work.transaction().await.expect("it begins");
        tx.execute("SELECT 1").await.expect("it answers");
    }
    work.writes
        .add("INSERT INTO numbers SELECT * FROM UNNEST($1::int[])")
        .bind(numbers.to_vec());
    work.tally.add(&INSERTED, &[], numbers.len() as u64);
    work.tally.record(&SIZES, &[], numbers.len() as f64);
    work.commit().await.is_ok()
}

fn counted() -> (String, String) {
    let text = metrics::render();
    let value = |series: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(name, _)| *name == series).expect(series);
        value.to_owned()
    };
    (
        value("test_inserted_total"),
        value("test_inserted_messages_count"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_again_is_counted_when_it_is_committed_and_not_before() {
    metrics::describe(&[&INSERTED, &SIZES]);
    let environment = Environment::new().await;
    let config = DatabaseConfig {
        url: Secret::new(environment.database_url("order").as_str()),
        max_connections: 4,
    };
    let pool = db::pool("test", &config).expect("the URL is one");
    let mut connection = pool.acquire().await.expect("it answers");
    let table = "CREATE TABLE numbers (n int PRIMARY KEY CHECK (n > 0))";
    connection.execute(table).await.expect("it is made");
    for read_first in [false, true] {
        assert!(!insert(&mut connection, &[7, -1], read_first).await);
        assert_eq!(counted(), ("0".to_owned(), "0".to_owned()));
    }
    assert!(insert(&mut connection, &[1, 2], false).await);
    assert!(!insert(&mut connection, &[2, 3], true).await, "2 is there");
    assert!(insert(&mut connection, &[3], true).await);
    assert_eq!(counted(), ("3".to_owned(), "2".to_owned()));

    // A rehearsal counts nothing.
    let mut rehearsal = LazyTransaction::new(&mut connection);
    rehearsal.tally.add(&INSERTED, &[], 1);
    let tx = rehearsal.write().await.expect("there is nothing to write");
    tx.commit().await.expect("it is committed");
    assert_eq!(counted().0, "3");
}
