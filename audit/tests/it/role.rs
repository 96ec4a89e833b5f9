//! The role of the audit: `migrate` makes it, it reads everything, and it writes nothing.

use common::{config::Secret, fleet};
use migrations::auditor::{self, Granted};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

use crate::case::Case;

/// All tables of a database, partitions included, and the views for operators.
const TABLES: &str = "SELECT oid::regclass::text FROM pg_class
                      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                          OR relnamespace::regnamespace::text = 'saga_v1'";

#[tokio::test]
async fn it_reads_every_table_and_writes_none() {
    let case = Case::new().await;
    case.completed().await;
    // A day that comes after the role was made, as the service makes it.
    let later = "CREATE TABLE saga_log_later PARTITION OF saga_log
                     FOR VALUES FROM (first_id('2999-01-01')) TO (first_id('2999-01-02'))";
    case.run(&case.order, later).await;
    for database in fleet::databases() {
        let url = case.env.audit_url(database.short_name());
        let mut role = PgConnection::connect(&url).await.unwrap();
        let tables: Vec<String> = sqlx::query_scalar(TABLES)
            .fetch_all(&mut role)
            .await
            .unwrap();
        assert!(tables.len() > 4, "{tables:?}");
        for table in &tables {
            let read = format!("SELECT count(*) FROM {table}");
            execute(&mut role, &read).await.unwrap();
            for write in [
                format!("DELETE FROM {table}"),
                format!("TRUNCATE {table}"),
                format!("INSERT INTO {table} SELECT * FROM {table} LIMIT 0"),
            ] {
                let refused = execute(&mut role, &write).await.unwrap_err();
                // Most views cannot be written by anybody.
                let is_view = table.starts_with("saga_v1.");
                assert!(
                    is_view || refused.contains("permission denied"),
                    "{write}: {refused}"
                );
            }
        }
    }
}

#[tokio::test]
async fn making_it_again_changes_nothing() {
    let case = Case::new().await;
    case.env.make_auditor().await;
    case.completed().await;
    let report = case.audit().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn who_may_not_make_it_is_told_what_to_run() {
    let case = Case::new().await;
    let mut owner = Url::parse(&case.env.database_url("payment")).unwrap();
    // No role can have a name that another test uses: it is made of the name of the database.
    let plain = format!("{}_plain", &owner.path()[1..]);
    let make = format!("CREATE ROLE {plain} LOGIN PASSWORD 'it''s 100%'");
    case.run(&case.payment, &make).await;
    owner.set_username(&plain).unwrap();
    owner.set_password(Some("it's 100%25")).unwrap();
    let mut reader = owner.clone();
    let own = auditor::grant(&secret(&owner), &secret(&reader)).await;
    assert!(matches!(own.unwrap(), Granted::IsOwner));

    reader.set_username(&format!("{plain}_reader")).unwrap();
    let granted = auditor::grant(&secret(&owner), &secret(&reader)).await;
    let Granted::No { reason, by_hand } = granted.unwrap() else {
        panic!("a role without the right to do so made another one");
    };
    assert!(reason.contains("permission denied"), "{reason}");
    assert!(!by_hand.contains("100%"), "{by_hand}");

    // What is to be run is all that is missing.
    let own_tables = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {plain}");
    assert!(by_hand.contains(&own_tables), "{by_hand}");
    case.run(&case.payment, &by_hand.replace("'…'", "'secret'"))
        .await;
    reader.set_password(Some("secret")).unwrap();
    let mut role = PgConnection::connect(reader.as_str()).await.unwrap();
    let read = "SELECT count(*) FROM payments";
    execute(&mut role, read).await.unwrap();
    role.close().await.unwrap();
    let tidy = format!(
        "DROP OWNED BY {plain}; DROP OWNED BY {plain}_reader; DROP ROLE {plain}, {plain}_reader"
    );
    case.run(&case.payment, &tidy).await;
}

fn secret(url: &Url) -> Secret {
    Secret::new(url.as_str())
}

async fn execute(role: &mut PgConnection, sql: &str) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(role).await;
    done.map(drop).map_err(|error| error.to_string())
}
