//! The role of the audit: it can read every table, also those that are made later, and every view for operators, and it
//! can write none.

use anyhow::{Context, ensure};
use common::{config::Secret, db};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// What became of the role.
#[derive(Debug)]
pub enum Granted {
    /// It can read.
    Yes,
    /// The audit is to use the role of the service itself, which needs nothing.
    IsOwner,
    /// The service's role may not grant that.
    No {
        /// Why.
        reason: String,
        /// The statements for somebody who may, to be run in that database; without the password.
        by_hand: String,
    },
}

/// Lets the role of the URL `reader` read the database of the URL `owner`; makes the role if there is none. Doing it
/// again changes nothing; the password of a role that is there stays what it is.
///
/// # Errors
/// The database is not reachable, or `reader` names no role. That nothing could be granted is no error, for the
/// services work without it.
pub async fn grant(owner: &Secret, reader: &Secret) -> anyhow::Result<Granted> {
    let (role, password) = db::credentials(reader.expose())?;
    ensure!(
        !role.is_empty() && !password.is_empty(),
        "the URL of the audit names no user or no password"
    );
    let mut connection = PgConnection::connect_with(&db::options(owner)?)
        .await
        .context("connecting to the database")?;
    let own: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&mut connection)
        .await?;
    if own == role {
        return Ok(Granted::IsOwner);
    }
    let granted = match execute(&mut connection, &role, &password).await {
        Ok(()) => Granted::Yes,
        Err(error) => Granted::No {
            reason: error.to_string(),
            by_hand: script(&mut connection, &role, "…").await?.join(";\n") + ";",
        },
    };
    connection.close().await?;
    Ok(granted)
}

async fn execute(connection: &mut PgConnection, role: &str, password: &str) -> sqlx::Result<()> {
    for statement in script(connection, role, password).await? {
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

/// What is left to be done for `role`, statement by statement. Names and passwords cannot be parameters of these, so
/// PostgreSQL quotes them.
async fn script(
    connection: &mut PgConnection,
    role: &str,
    password: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT statement FROM to_regnamespace('saga_v1') AS views, LATERAL (VALUES
             (1, CASE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)
                 THEN format('CREATE ROLE %I LOGIN PASSWORD %L', $1, $2) END),
             (2, format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $1)),
             (3, format('GRANT USAGE ON SCHEMA public TO %I', $1)),
             (4, format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', $1)),
             (5, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA public GRANT SELECT ON TABLES TO %I',
                        current_user, $1)),
             (6, CASE WHEN views IS NOT NULL THEN format('GRANT USAGE ON SCHEMA saga_v1 TO %I', $1) END),
             (7, CASE WHEN views IS NOT NULL THEN format('GRANT SELECT ON ALL TABLES IN SCHEMA saga_v1 TO %I', $1) END)
         ) AS script (n, statement) WHERE statement IS NOT NULL ORDER BY n",
    )
    .bind(role)
    .bind(password)
    .fetch_all(connection)
    .await
}
