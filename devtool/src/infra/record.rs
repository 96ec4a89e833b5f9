//! `.dev/infra.json`: what we started, and which of the user's databases are ours.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Plan, databases::Database};
use crate::workspace::{Workspace, remove_if_there, write_private};

/// How we started a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A container of `docker-compose.yml`.
    Compose,
    /// A process below `.dev`.
    Private,
}

/// A server that we started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// How.
    pub(crate) source: Source,
    /// With user and password: of PostgreSQL the maintenance database, of RabbitMQ the default virtual host.
    pub(crate) url: String,
    /// RabbitMQ's management API; empty for PostgreSQL.
    pub(crate) api_url: String,
}

/// The record. It is kept when the servers stop, until the data is wiped.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Infra {
    /// Our PostgreSQL, running or not.
    pub(crate) postgres: Option<Server>,
    /// Our RabbitMQ, running or not.
    pub(crate) rabbitmq: Option<Server>,
    /// Whether Docker Compose has been asked to start something, in the project of this checkout.
    pub(crate) compose: bool,
    /// The databases on servers that the user configured.
    #[serde(default)]
    pub(crate) databases: Vec<Database>,
}

impl Infra {
    /// Reads the record; an empty one when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self> {
        match fs::read_to_string(path(workspace)) {
            Ok(text) => serde_json::from_str(&text)
                .context("cannot understand .dev/infra.json; stop what runs and remove it"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("cannot read .dev/infra.json"),
        }
    }

    /// Writes it, or removes it when there is nothing in it.
    ///
    /// # Errors
    /// When `.dev` cannot be written.
    pub(crate) fn save(&self, workspace: &Workspace) -> Result<()> {
        if *self == Self::default() {
            return remove_if_there(&path(workspace));
        }
        write_private(&path(workspace), &serde_json::to_string_pretty(self)?)
    }

    /// Takes over what the plan adds. A server that this plan does not use stays recorded: it may still run.
    pub(crate) fn adopt(&mut self, plan: &Plan) {
        self.postgres = plan.postgres.clone().or(self.postgres.take());
        self.rabbitmq = plan.rabbitmq.clone().or(self.rabbitmq.take());
    }
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.dev().join("infra.json")
}
