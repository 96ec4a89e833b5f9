//! A database per service and a vhost for one test, dropped after it.

use std::thread;

use anyhow::{Context, Result};
use common::{
    config::{Secret, Vars},
    fleet,
};
use migrations::{SCHEMAS, auditor};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use url::Url;
use uuid::Uuid;

/// What a test has to itself.
#[derive(Debug)]
pub struct Environment {
    name: String,
    servers: Servers,
}

/// The servers that tests share.
#[derive(Clone, Debug)]
pub struct Servers {
    /// URL of PostgreSQL's maintenance database, as a user who may create databases.
    pub postgres: String,
    /// URL of RabbitMQ without a vhost.
    pub rabbitmq: String,
    /// URL of RabbitMQ's management API, with user and password.
    pub rabbitmq_api: String,
}

impl Servers {
    /// Those that `./dev test` started.
    ///
    /// # Panics
    /// When it did not start the test; the message says what to run.
    #[must_use]
    pub fn shared() -> Self {
        let variable = |name: &str| {
            #[expect(clippy::disallowed_methods, reason = "tests have no config")]
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: run the tests with ./dev test"))
        };
        Self {
            postgres: variable("TEST_DATABASE_URL"),
            rabbitmq: variable("TEST_RABBITMQ_URL"),
            rabbitmq_api: variable("TEST_RABBITMQ_API_URL"),
        }
    }
}

impl Environment {
    /// Makes databases and a vhost on the servers that `./dev test` started.
    ///
    /// # Panics
    /// When they cannot be made; the message says what to run.
    pub async fn new() -> Self {
        Self::on(Servers::shared())
            .await
            .expect("the servers of ./dev test answer")
    }

    /// The same on servers of the test's own.
    ///
    /// # Errors
    /// The servers do not answer.
    pub async fn on(servers: Servers) -> Result<Self> {
        let environment = Self {
            name: format!("t{}", Uuid::new_v4().simple()),
            servers,
        };
        environment
            .vhost("PUT")
            .await
            .context("creating the vhost")?;
        environment
            .migrate()
            .await
            .context("creating the databases")?;
        Ok(environment)
    }

    async fn migrate(&self) -> Result<()> {
        for schema in &SCHEMAS {
            let url = self.database_url(schema.database.short_name());
            schema.migrate(&Secret::new(url)).await?;
        }
        Ok(())
    }

    /// URL of the database of `service`: `order`, `payment` or `inventory`.
    #[must_use]
    pub fn database_url(&self, service: &str) -> String {
        let mut url = Url::parse(&self.servers.postgres).expect("TEST_DATABASE_URL is a URL");
        url.set_path(&format!("{}_{service}", self.name));
        url.into()
    }

    /// URL of the same database for the audit, whose role is there after [`Self::make_auditor`].
    #[must_use]
    pub fn audit_url(&self, service: &str) -> String {
        let mut url = Url::parse(&self.database_url(service)).expect("it is a URL");
        url.set_username(&self.auditor())
            .and_then(|()| url.set_password(Some("auditor")))
            .expect("a URL with a host takes both");
        url.into()
    }

    /// Makes the role that the audit reads the databases with, as `migrate` does.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn make_auditor(&self) {
        for database in fleet::databases() {
            let service = database.short_name();
            let owner = Secret::new(self.database_url(service));
            let reader = Secret::new(self.audit_url(service));
            let granted = auditor::grant(&owner, &reader).await;
            let granted = granted.expect("the test's database answers");
            assert!(matches!(granted, auditor::Granted::Yes), "{granted:?}");
        }
    }

    /// Roles belong to the whole server, so each test has its own.
    fn auditor(&self) -> String {
        format!("{}_auditor", self.name)
    }

    /// URL of the vhost.
    #[must_use]
    pub fn rabbitmq_url(&self) -> String {
        let mut url = Url::parse(&self.servers.rabbitmq).expect("TEST_RABBITMQ_URL is a URL");
        url.set_path(&self.name);
        url.into()
    }

    /// A pool on the database of `service`, for looking into it.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn pool(&self, service: &str) -> PgPool {
        PgPool::connect(&self.database_url(service))
            .await
            .expect("the test's database answers")
    }

    /// Adds a column to each of `tables` of `service`, as the migrations of a later release do.
    ///
    /// # Panics
    /// When a table is not there.
    pub async fn add_columns(&self, service: &str, tables: &[&str]) {
        let db = self.pool(service).await;
        for table in tables {
            let add = format!("ALTER TABLE {table} ADD COLUMN of_a_later_release text");
            let added = db.execute(AssertSqlSafe(add)).await;
            added.expect("the table is there");
        }
    }

    /// The variables that make a service use this environment, with HTTP on a free port and no declines;
    /// `overrides` come last.
    #[must_use]
    pub fn vars(&self, overrides: &[(&str, &str)]) -> Vars {
        self.pairs(overrides).into_iter().collect()
    }

    /// The same as pairs, for a process.
    #[must_use]
    pub fn pairs(&self, overrides: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("RABBITMQ_URL".to_owned(), self.rabbitmq_url()),
            ("PAYMENT_SUCCESS_RATE".to_owned(), "1".to_owned()),
            ("DATABASE_MAX_CONNECTIONS".to_owned(), "8".to_owned()),
        ];
        for database in fleet::databases() {
            let url = self.database_url(database.short_name());
            pairs.push((database.variable.to_owned(), url));
            let url = self.audit_url(database.short_name());
            pairs.push((database.audit_variable.to_owned(), url));
        }
        for program in fleet::programs() {
            pairs.push((program.http_variable.to_owned(), "127.0.0.1:0".to_owned()));
        }
        pairs.extend(
            overrides
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        pairs
    }

    async fn vhost(&self, method: &str) -> Result<()> {
        let url = Url::parse(&self.servers.rabbitmq_api)?;
        let path = format!("/api/vhosts/{}", self.name);
        // reqwest sends the URL's user and password by itself.
        reqwest::Client::new()
            .request(method.parse()?, url.join(&path)?)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    async fn drop_all(&self) -> Result<()> {
        self.vhost("DELETE").await?;
        let mut connection = PgConnection::connect(&self.servers.postgres).await?;
        for database in fleet::databases() {
            let name = format!("{}_{}", self.name, database.short_name());
            // Services of the test may still try to connect, which would hold the drop up.
            let close = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
            connection.execute(AssertSqlSafe(close)).await?;
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(drop)).await?;
        }
        let drop = format!("DROP ROLE IF EXISTS {}", self.auditor());
        connection.execute(AssertSqlSafe(drop)).await?;
        connection.close().await?;
        Ok(())
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                // A server that the test stopped needs no cleaning.
                let _ = runtime.map(|runtime| runtime.block_on(self.drop_all()));
            });
        });
    }
}
