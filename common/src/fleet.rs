//! The one list of what runs: each program with its port, its database and its queues.
//!
//! ```text
//! services, migrate     read their own variables through it
//! devtool, bench, tests start what is in it
//! AsyncAPI              takes the receivers of each channel from it
//! ```
//!
//! The Compose files, `.env.example` and the `Dockerfile` cannot read it; a test compares them with it.

use std::net::SocketAddr;

use crate::{
    config::{self, DatabaseConfig, Secret, Vars},
    contract::topology::{self, Queue},
};

/// A program that serves HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// The name of the program, and of the container that it runs in: `payment-service`.
    pub name: &'static str,
    /// The variable with the address that it listens at.
    pub http_variable: &'static str,
    /// The port that it listens at unless that variable is set.
    pub port: u16,
}

/// The database of one service.
#[derive(Debug, PartialEq, Eq)]
pub struct Database {
    /// The name that it has unless its variable is set: `payment_db`.
    pub name: &'static str,
    /// The variable with the URL that its service uses.
    pub variable: &'static str,
    /// The variable with the URL that the audit uses, as a role that can only read.
    pub audit_variable: &'static str,
}

/// A program that carries orders onward: it has a database and consumes queues.
#[derive(Debug)]
pub struct Service {
    /// Its program. The name is also the `source` of its messages.
    pub program: Program,
    /// Its database, which no other service uses.
    pub database: Database,
    /// The queues that it consumes.
    pub queues: &'static [&'static Queue],
}

/// Orders, and the sagas that execute them.
pub const ORDER: Service = Service {
    program: Program {
        name: "order-service",
        http_variable: "ORDER_HTTP_ADDR",
        port: 3001,
    },
    database: Database {
        name: "order_db",
        variable: "ORDER_DATABASE_URL",
        audit_variable: "AUDIT_ORDER_DATABASE_URL",
    },
    queues: &[&topology::ORDER_REPLIES],
};

/// Payments.
pub const PAYMENT: Service = Service {
    program: Program {
        name: "payment-service",
        http_variable: "PAYMENT_HTTP_ADDR",
        port: 3002,
    },
    database: Database {
        name: "payment_db",
        variable: "PAYMENT_DATABASE_URL",
        audit_variable: "AUDIT_PAYMENT_DATABASE_URL",
    },
    queues: &[&topology::PAYMENT_COMMANDS],
};

/// Stock and reservations.
pub const INVENTORY: Service = Service {
    program: Program {
        name: "inventory-service",
        http_variable: "INVENTORY_HTTP_ADDR",
        port: 3003,
    },
    database: Database {
        name: "inventory_db",
        variable: "INVENTORY_DATABASE_URL",
        audit_variable: "AUDIT_INVENTORY_DATABASE_URL",
    },
    queues: &[&topology::INVENTORY_COMMANDS],
};

/// The check of the guarantees. It reads the databases of the services and has none of its own.
pub const AUDIT: Program = Program {
    name: "audit",
    http_variable: "AUDIT_HTTP_ADDR",
    port: 3009,
};

/// The services, in the order of the flow.
pub const SERVICES: [&Service; 3] = [&ORDER, &PAYMENT, &INVENTORY];

/// Everything that serves HTTP: the programs of the services, then the audit.
pub fn programs() -> impl Iterator<Item = &'static Program> {
    let services = SERVICES.iter().map(|service| &service.program);
    services.chain([&AUDIT])
}

/// The databases of the services.
pub fn databases() -> impl Iterator<Item = &'static Database> {
    SERVICES.iter().map(|service| &service.database)
}

impl Program {
    /// Where it listens.
    ///
    /// # Errors
    /// The variable is set to something that is no address.
    pub fn http_addr(&self, vars: &Vars) -> Result<SocketAddr, config::Error> {
        vars.http_addr(self.http_variable, self.port)
    }
}

impl Database {
    /// How its service connects to it.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn config(&self, vars: &Vars) -> Result<DatabaseConfig, config::Error> {
        DatabaseConfig::from_vars(vars, self.variable, self.name)
    }

    /// What it is about: `payment` for `payment_db`.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.strip_suffix("_db").unwrap_or(self.name)
    }

    /// How the audit connects to it.
    ///
    /// # Errors
    /// The variable is set to something that is no PostgreSQL URL.
    pub fn audit_url(&self, vars: &Vars) -> Result<Secret, config::Error> {
        config::postgres_url(vars, self.audit_variable, || {
            format!("postgres://auditor:auditor@localhost:5432/{}", self.name)
        })
    }

    /// The URL whose role `migrate` makes for the audit, if there is one to be made.
    ///
    /// None when only the service's URL is set: on a server that somebody chose, a role with the well-known password
    /// of development must not appear by itself.
    ///
    /// # Errors
    /// The variable is set to something that is no PostgreSQL URL.
    pub fn audit_role(&self, vars: &Vars) -> Result<Option<Secret>, config::Error> {
        let is_set = |name| vars.secret(name).map(|url| url.is_some());
        if is_set(self.audit_variable)? || !is_set(self.variable)? {
            return self.audit_url(vars).map(Some);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_share_anything() {
        let ports: BTreeSet<u16> = programs().map(|program| program.port).collect();
        assert_eq!(ports.len(), programs().count());
        let databases_named: BTreeSet<_> = databases().map(|database| database.name).collect();
        assert_eq!(databases_named.len(), SERVICES.len());
    }

    #[test]
    fn every_queue_has_one_consumer() {
        for queue in topology::QUEUES {
            let consumes = |service: &&Service| service.queues.iter().any(|q| q.name == queue.name);
            let consumers = SERVICES.into_iter().filter(consumes).count();
            assert_eq!(consumers, 1, "{}", queue.name);
        }
    }

    #[test]
    fn a_role_with_a_known_password_is_made_for_development_only() {
        let role = |vars: &[(&str, &str)]| {
            let vars = vars.iter().copied().collect();
            let url = ORDER.database.audit_role(&vars).unwrap();
            url.map(|url| url.expose().to_owned())
        };
        let (own, reader) = ("postgres://o:s@db/orders", "postgres://r:s@db/orders");
        let development = "postgres://auditor:auditor@localhost:5432/order_db";
        assert_eq!(role(&[]).as_deref(), Some(development));
        assert_eq!(role(&[("ORDER_DATABASE_URL", own)]), None);
        let both = [
            ("ORDER_DATABASE_URL", own),
            ("AUDIT_ORDER_DATABASE_URL", reader),
        ];
        assert_eq!(role(&both).as_deref(), Some(reader));
    }
}
