//! Each filter finds what fits and nothing else, and reads only so much for it.

use std::{collections::BTreeSet, time::Instant};

use common::{
    config::{DatabaseConfig, Secret},
    db,
    http::Created,
};
use sea_orm::{SqlxPostgresConnector, Statement};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgPool};
use test_support::Environment;

use super::*;

/// More than any page may read.
const SAGAS: i64 = 60_000;

/// How many there are instead, for those who want to know how long a page takes: `FIND_SAGAS=1000000`. Then only the first
/// page of each list is read.
#[expect(clippy::disallowed_methods, reason = "tests have no config")]
fn many() -> Option<i64> {
    std::env::var("FIND_SAGAS").ok()?.parse().ok()
}

/// A saga a minute, the last one now: some hundred are open, some parked, a twelfth is undone.
const FILL: &str = "
    INSERT INTO sagas (id, type, definition_version, status, current_step, reason, last_error, version, command_id,
                       deadline_at, subject, data, correlation_id, created_at, updated_at)
    SELECT id, CASE WHEN i % 5000 = 0 THEN 'rare' ELSE 'often' END, 1, status,
           CASE WHEN status IN ('RUNNING', 'PARKED') THEN CASE WHEN i % 3 = 0 THEN 'one' ELSE 'two' END END,
           CASE WHEN status = 'COMPENSATED' THEN CASE WHEN i % 10000 = 0 THEN 'ODD' ELSE 'USUAL' END END,
           CASE WHEN status IN ('COMPENSATED', 'PARKED') THEN 'two: No reply to attempt ' || i % 1000 END,
           2, id, CASE WHEN status = 'RUNNING' THEN now() + make_interval(secs => i % 7 * 600 - 1200) END,
           'order/' || i % 20000, '{}', 'test', at, CASE WHEN i % 999 = 0 THEN now() - interval '1 s' ELSE at END
    FROM (SELECT i, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 3)
                         || '8' || substr(md5(i::text), 4, 15))::uuid AS id,
                 CASE WHEN i % 400 = 1 THEN 'RUNNING' WHEN i % 600 = 2 THEN 'PARKED' WHEN i % 12 = 4 THEN 'COMPENSATED'
                      ELSE 'COMPLETED' END AS status
          FROM (SELECT i, now() - make_interval(mins => ($1 - i)::int) AS at FROM generate_series(1, $1::bigint) i) a) s";

/// Filters, and what they mean.
const FILTERS: &[(&str, &str)] = &[
    ("{}", "true"),
    (r#"{"status":"COMPLETED"}"#, "status = 'COMPLETED'"),
    (r#"{"status":"COMPENSATED"}"#, "status = 'COMPENSATED'"),
    (r#"{"status":"COMPENSATING"}"#, "status = 'COMPENSATING'"),
    (r#"{"status":"RUNNING"}"#, "status = 'RUNNING'"),
    (r#"{"status":"PARKED"}"#, "status = 'PARKED'"),
    (r#"{"type":"rare"}"#, "type = 'rare'"),
    (r#"{"type":"none"}"#, "false"),
    (r#"{"step":"one"}"#, "current_step = 'one'"),
    (
        r#"{"step":"one","status":"PARKED"}"#,
        "current_step = 'one' AND status = 'PARKED'",
    ),
    (r#"{"subject":"order/7"}"#, "subject = 'order/7'"),
    (r#"{"reason":"USUAL"}"#, "reason = 'USUAL'"),
    (r#"{"reason":"ODD"}"#, "reason = 'ODD'"),
    (
        r#"{"reason":"ODD","type":"rare"}"#,
        "reason = 'ODD' AND type = 'rare'",
    ),
    (
        r#"{"error":"no REPLY to attempt 77"}"#,
        "last_error ILIKE '%no reply to attempt 77%'",
    ),
    (r#"{"error":"100%"}"#, "false"),
    (
        r#"{"error":"attempt 2","status":"PARKED"}"#,
        "last_error LIKE '%attempt 2%' AND status = 'PARKED'",
    ),
    (
        r#"{"olderThan":"20d"}"#,
        "created_at < now() - interval '20 d'",
    ),
    (
        r#"{"olderThan":"20d","type":"rare"}"#,
        "created_at < now() - interval '20 d' AND type = 'rare'",
    ),
    (
        r#"{"stuck":"true"}"#,
        "status = 'PARKED' OR deadline_at < now() - interval '1 min'",
    ),
    (
        r#"{"updatedFrom":"LATELY"}"#,
        "updated_at >= (SELECT lately FROM times)",
    ),
    (
        r#"{"updatedBefore":"LATELY","status":"COMPENSATED"}"#,
        "updated_at < (SELECT lately FROM times) AND status = 'COMPENSATED'",
    ),
    (
        r#"{"updatedFrom":"LONG_AGO","updatedBefore":"LATELY"}"#,
        "updated_at >= (SELECT long_ago FROM times) AND updated_at < (SELECT lately FROM times)",
    ),
    (
        r#"{"updatedFrom":"LONG_AGO","type":"rare","error":"77"}"#,
        "updated_at >= (SELECT long_ago FROM times) AND type = 'rare' AND last_error LIKE '%77%'",
    ),
    (
        r#"{"createdFrom":"LONG_AGO","createdBefore":"LATELY","type":"rare"}"#,
        "created_at >= (SELECT long_ago FROM times) AND created_at < (SELECT lately FROM times) AND type = 'rare'",
    ),
];

struct Sagas {
    reads: DatabaseConnection,
    db: PgPool,
    /// An hour ago, and 30 days ago.
    lately: String,
    long_ago: String,
}

impl Sagas {
    async fn fill(environment: &Environment) -> Self {
        let url = Secret::new(environment.database_url("order"));
        let config = DatabaseConfig {
            url,
            max_connections: 2,
        };
        let db = db::pool("test", &config).unwrap();
        let sagas = many().unwrap_or(SAGAS);
        // It takes longer than a statement of a service may.
        let mut connection = sqlx::PgConnection::connect(&environment.database_url("order"))
            .await
            .unwrap();
        sqlx::query(FILL)
            .bind(sagas)
            .execute(&mut connection)
            .await
            .unwrap();
        for sql in [
            "ANALYZE sagas",
            "CREATE TABLE times AS SELECT now() - interval '1 h' AS lately, now() - interval '30 d' AS long_ago",
        ] {
            sqlx::query(sql).execute(&db).await.unwrap();
        }
        let text = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                    FROM times, UNNEST(ARRAY[lately, long_ago]) at";
        let times: Vec<String> = sqlx::query_scalar(text).fetch_all(&db).await.unwrap();
        let [lately, long_ago] = <[String; 2]>::try_from(times).unwrap();
        Self {
            reads: SqlxPostgresConnector::from_sqlx_postgres_pool(db.clone()),
            db,
            lately,
            long_ago,
        }
    }

    fn search(&self, filter: &str) -> Search {
        let filter = filter.replace("LATELY", &self.lately);
        let fields: Value =
            serde_json::from_str(&filter.replace("LONG_AGO", &self.long_ago)).unwrap();
        let created: Created = serde_json::from_value(fields.clone()).unwrap();
        let filter: Filter = serde_json::from_value(fields).unwrap();
        let mut search = filter.search().unwrap();
        let created = created.condition(Column::Id, Column::CreatedAt).unwrap();
        search.range = search.range.add(created);
        search
    }

    async fn expected(&self, condition: &str) -> Vec<Uuid> {
        let sql = format!("SELECT id FROM sagas WHERE {condition} ORDER BY id DESC");
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&self.db)
            .await
            .unwrap()
    }

    /// All pages, and how many there were.
    async fn walk(&self, filter: &str, limit: u64) -> (Vec<Uuid>, u64) {
        let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = self.search(filter).page(&self.reads, after, limit);
            let page = page.await.unwrap();
            assert!(page.items.len() as u64 <= limit);
            found.extend(page.items.iter().map(|row| row.id));
            pages += 1;
            let Some(cursor) = page.next_cursor else {
                return (found, pages);
            };
            let part: common::http::Part =
                serde_json::from_value(json!({ "cursor": cursor })).unwrap();
            let next = part.after().unwrap();
            assert!(after.is_none_or(|after| next < Some(after)), "it goes on");
            after = next;
        }
    }

    /// What PostgreSQL did for a statement.
    async fn plan(&self, query: &SelectStatement) -> Value {
        let plain = self.reads.get_database_backend().build(query);
        let sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", plain.sql);
        let values = plain.values.unwrap();
        let backend = self.reads.get_database_backend();
        let explain = Statement::from_sql_and_values(backend, sql, values);
        let row = self.reads.query_one_raw(explain).await.unwrap().unwrap();
        row.try_get_by_index::<Value>(0).unwrap()[0]["Plan"].take()
    }
}

/// The rows that the scans of a plan read, and the indexes that they read.
fn read(plan: &Value, indexes: &mut BTreeSet<String>) -> f64 {
    let kind = plan["Node Type"].as_str().unwrap();
    assert_ne!(kind, "Seq Scan", "{plan:#}");
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let own = match kind.contains("Scan") && kind != "Subquery Scan" {
        true => {
            indexes.extend(plan["Index Name"].as_str().map(str::to_owned));
            let removed =
                number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            (number("Actual Rows") + removed) * number("Actual Loops")
        }
        false => 0.0,
    };
    let below = plan["Plans"].as_array().into_iter().flatten();
    own + below.map(|plan| read(plan, indexes)).sum::<f64>()
}

/// All pages together have what fits, and there are not many more of them than are needed.
async fn assert_found(sagas: &Sagas, filter: &str, condition: &str) {
    let expected = sagas.expected(condition).await;
    let (found, pages) = sagas.walk(filter, 200).await;
    let (count, of) = (found.len(), expected.len());
    assert!(found == expected, "{filter}: {count} of {of}");
    let most = of as u64 / 200 + SAGAS as u64 / SPARSE_WALK_MAX + 1;
    assert!(pages <= most, "{filter}: {pages} pages");
}

/// No statement of a page scans a table, or reads more rows than one may.
async fn assert_read_little(sagas: &Sagas, filter: &str) {
    let search = sagas.search(filter);
    let mut walk = search.walk.clone();
    walk.rows = walk.rows.add(search.range.clone());
    let end = Query::select()
        .column(Column::Id)
        .from_subquery(walk.rows(walk.max), Alias::new("some"))
        .offset(walk.max - 1)
        .limit(1)
        .to_owned();
    let mut statements = vec![walk.fitting(&search.filter, walk.max, 51), end];
    let few = search.few.iter();
    statements.extend(few.map(|one| one.fitting(&search.filter, FEW + 1, 51)));
    for statement in statements {
        let (plan, mut indexes) = (sagas.plan(&statement).await, BTreeSet::new());
        let rows = read(&plan, &mut indexes);
        // Some are created a minute from what their id says.
        let most = WALK_MAX as f64 * 1.05;
        assert!(
            rows < most,
            "{filter}: {rows} rows of {indexes:?}: {plan:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_finds_what_fits_and_reads_only_so_much() {
    let environment = Environment::new().await;
    let sagas = Sagas::fill(&environment).await;
    for (filter, condition) in FILTERS {
        let asked = Instant::now();
        let page = sagas.search(filter).page(&sagas.reads, None, 50);
        let count = page.await.unwrap().items.len();
        println!("{:?} for {count} of {filter}", asked.elapsed());
        if many().is_none() {
            assert_found(&sagas, filter, condition).await;
        }
        assert_read_little(&sagas, filter).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_many_are_found_by_walking() {
    let environment = Environment::new().await;
    let sagas = Sagas::fill(&environment).await;
    // An outage: too many wait to be sorted for each page.
    let open = "UPDATE sagas SET status = 'RUNNING', current_step = 'one', reason = NULL, deadline_at = now() + interval '1 h'
                WHERE id IN (SELECT id FROM sagas ORDER BY id LIMIT 5000)";
    sqlx::query(open).execute(&sagas.db).await.unwrap();
    for (filter, condition) in [
        (r#"{"status":"RUNNING"}"#, "status = 'RUNNING'"),
        (r#"{"step":"one"}"#, "current_step = 'one'"),
        (
            r#"{"updatedFrom":"LATELY"}"#,
            "updated_at >= (SELECT lately FROM times)",
        ),
    ] {
        let expected = sagas.expected(condition).await;
        let (found, _) = sagas.walk(filter, 200).await;
        assert!(
            found == expected,
            "{filter}: {} of {}",
            found.len(),
            expected.len()
        );
    }
}
