//! Which servers to use. Planning looks and asks, and starts nothing.

use anyhow::{Context as _, Result, bail, ensure};
use common::fleet::{self, Database};
use test_support::servers::{
    PostgresServer, RabbitMqServer, free_ports, is_free, probe_postgres, probe_rabbitmq,
};
use url::Url;

use super::{Infra, Server, Source, private_servers, shown};
use crate::settings::{RABBITMQ_URL, Settings};
use crate::workspace::Workspace;

/// The management port that goes with the usual AMQP port.
const MANAGEMENT_PORT: u16 = 15672;

/// What the services will talk to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Our PostgreSQL, when one is needed.
    pub(crate) postgres: Option<Server>,
    /// Our RabbitMQ, when one is needed.
    pub(crate) rabbitmq: Option<Server>,
    /// URLs of the databases on servers that the user configured, which answer.
    pub(crate) databases_of_the_user: Vec<String>,
}

impl Plan {
    /// Decides for both servers.
    ///
    /// # Errors
    /// When a configured server does not answer and cannot be started; the message says what to do.
    pub(crate) async fn make(
        workspace: &Workspace,
        settings: &Settings,
        infra: &Infra,
        docker: bool,
    ) -> Result<Self> {
        let mut plan = Self::default();
        plan.postgres(workspace, settings, infra, docker).await?;
        plan.rabbitmq(workspace, settings, infra, docker).await?;
        Ok(plan)
    }

    /// The servers that are or will be ours.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.postgres.iter().chain(&self.rabbitmq)
    }

    /// What to tell the services: each URL variable with its value.
    ///
    /// # Errors
    /// When a URL cannot be read.
    pub(crate) fn urls(&self, settings: &Settings) -> Result<Vec<(&'static str, String)>> {
        let mut urls = Vec::new();
        for database in fleet::databases() {
            urls.push((database.audit_variable, self.audit_url(settings, database)?));
            let name = database.variable;
            let url = match (settings.chosen(name), &self.postgres) {
                (None, Some(server)) => {
                    with_path(&server.url, parse(name, settings.default(name)?)?.path())?
                }
                _ => settings.value(name)?.to_owned(),
            };
            urls.push((name, url));
        }
        let broker = match (settings.chosen(RABBITMQ_URL), &self.rabbitmq) {
            (None, Some(server)) => server.url.clone(),
            _ => settings.value(RABBITMQ_URL)?.to_owned(),
        };
        urls.push((RABBITMQ_URL, broker));
        Ok(urls)
    }

    /// Where the audit reads `database`. On a server that the user chose, a role of its own is used only if the user
    /// names one: none with a well-known password shall appear there.
    fn audit_url(&self, settings: &Settings, database: &Database) -> Result<String> {
        let (own, audit) = (database.variable, database.audit_variable);
        if let Some(chosen) = settings.chosen(audit).or(settings.chosen(own)) {
            return Ok(chosen.to_owned());
        }
        let default = parse(audit, settings.default(audit)?)?;
        let Some(server) = &self.postgres else {
            return Ok(default.into());
        };
        let mut url = Url::parse(&with_path(&server.url, default.path())?)?;
        url.set_username(default.username())
            .and_then(|()| url.set_password(default.password()))
            .ok()
            .context("the server's URL has no host")?;
        Ok(url.into())
    }

    async fn postgres(
        &mut self,
        workspace: &Workspace,
        settings: &Settings,
        infra: &Infra,
        docker: bool,
    ) -> Result<()> {
        let running = running_postgres(workspace, infra).await;
        for name in fleet::databases().map(|database| database.variable) {
            if let Some(url) = settings.chosen(name) {
                let usual = docker && url == settings.default(name)?;
                let source = if usual {
                    Source::Compose
                } else {
                    Source::Private
                };
                self.chosen_database(name, url, running.as_ref(), source)
                    .await?;
            }
        }
        let all_chosen =
            fleet::databases().all(|database| settings.chosen(database.variable).is_some());
        if !all_chosen && self.postgres.is_none() {
            let usual = || usual_postgres(workspace, settings, docker);
            self.postgres = Some(running.map_or_else(usual, Ok)?);
        }
        Ok(())
    }

    /// One URL that the user set: it is ours already, or it answers, or a server of ours, from `source`, may stand there.
    async fn chosen_database(
        &mut self,
        name: &str,
        url: &str,
        running: Option<&Server>,
        source: Source,
    ) -> Result<()> {
        let place = parse(name, url)?;
        let mut ours = running.into_iter().chain(&self.postgres);
        if let Some(ours) = ours.find(|ours| same_place(&ours.url, url)) {
            self.postgres = Some(ours.clone());
            return Ok(());
        }
        let Err(reason) = answers(url).await else {
            self.databases_of_the_user.push(url.to_owned());
            return Ok(());
        };
        can_be_ours(name, &place, running.or(self.postgres.as_ref()), &reason)?;
        let url = maintenance_url(url)?;
        self.postgres = Some(Server {
            source,
            url,
            api_url: String::new(),
        });
        Ok(())
    }

    async fn rabbitmq(
        &mut self,
        workspace: &Workspace,
        settings: &Settings,
        infra: &Infra,
        docker: bool,
    ) -> Result<()> {
        let running = running_rabbitmq(workspace, infra).await;
        let Some(nodes) = settings.chosen(RABBITMQ_URL) else {
            self.rabbitmq =
                Some(running.map_or_else(|| usual_rabbitmq(workspace, settings, docker), Ok)?);
            return Ok(());
        };
        let mut reason = anyhow::anyhow!("{RABBITMQ_URL} is empty");
        for node in nodes.split(',').map(str::trim) {
            let place = parse(RABBITMQ_URL, node)?;
            if let Some(ours) = running
                .iter()
                .find(|ours| same_place(&ours.url, place.as_str()))
            {
                self.rabbitmq = Some(ours.clone());
                return Ok(());
            }
            match probe_rabbitmq(node).await {
                Ok(()) => return Ok(()),
                Err(error) => reason = error,
            }
        }
        // None of them answers: ours can take the place of the only one.
        ensure!(
            !nodes.contains(','),
            "no node of {RABBITMQ_URL} answers ({reason:#}); start them, or unset it"
        );
        let place = parse(RABBITMQ_URL, nodes)?;
        can_be_ours(RABBITMQ_URL, &place, running.as_ref(), &reason)?;
        ensure!(
            matches!(place.path(), "" | "/" | "/%2f" | "/%2F"),
            "{RABBITMQ_URL} names a virtual host, and a new broker has only the default one; use /%2f, or start yours"
        );
        if docker && nodes == settings.default(RABBITMQ_URL)? {
            self.rabbitmq = Some(compose_rabbitmq(settings)?);
        } else {
            self.rabbitmq = Some(private_rabbitmq(
                workspace,
                nodes,
                place.port().unwrap_or(5672),
            )?);
        }
        Ok(())
    }
}

async fn running_postgres(workspace: &Workspace, infra: &Infra) -> Option<Server> {
    let ours = infra.postgres.clone()?;
    let runs = match ours.source {
        Source::Private => private_servers(workspace).0.process().is_some(),
        Source::Compose => probe_postgres(&ours.url).await.is_ok(),
    };
    runs.then_some(ours)
}

async fn running_rabbitmq(workspace: &Workspace, infra: &Infra) -> Option<Server> {
    let ours = infra.rabbitmq.clone()?;
    let runs = match ours.source {
        Source::Private => private_servers(workspace).1.process().is_some(),
        Source::Compose => probe_rabbitmq(&ours.url).await.is_ok(),
    };
    runs.then_some(ours)
}

/// The server of `url` lets us in: through its maintenance database, or through our own where that one is closed to us.
///
/// # Errors
/// When it does neither.
pub(crate) async fn answers(url: &str) -> Result<()> {
    match probe_postgres(&maintenance_url(url)?).await {
        Ok(()) => Ok(()),
        Err(reason) => probe_postgres(url).await.map_err(|_| reason),
    }
}

/// Whether a server of ours may be started at the place that the user configured and where nobody answers.
fn can_be_ours(
    name: &str,
    place: &Url,
    another: Option<&Server>,
    reason: &anyhow::Error,
) -> Result<()> {
    let at = shown(place.as_str());
    let loopback = matches!(place.host_str(), Some("localhost" | "127.0.0.1"));
    let port = place.port().unwrap_or_else(|| usual_port(place));
    if !loopback || !is_free(port) {
        bail!(
            "{name} is set to {at}, which does not let us in: {reason:#}. Correct it, start that server, or unset it"
        );
    }
    if let Some(another) = another {
        bail!(
            "{name} is set to {at}, but ours runs at {}; run `./dev down` first",
            shown(&another.url)
        );
    }
    Ok(())
}

fn usual_postgres(workspace: &Workspace, settings: &Settings, docker: bool) -> Result<Server> {
    let usual = maintenance_url(settings.default(fleet::ORDER.database.variable)?)?;
    if docker {
        return Ok(Server {
            source: Source::Compose,
            url: usual,
            api_url: String::new(),
        });
    }
    let port = usual_or_free(Url::parse(&usual)?.port().unwrap_or(5432))?;
    let mut url = Url::parse(&usual)?;
    url.set_port(Some(port)).ok().context("no port")?;
    let url = PostgresServer::for_url(workspace.dev(), url.as_str())?.url();
    Ok(Server {
        source: Source::Private,
        url,
        api_url: String::new(),
    })
}

fn usual_rabbitmq(workspace: &Workspace, settings: &Settings, docker: bool) -> Result<Server> {
    if docker {
        return compose_rabbitmq(settings);
    }
    let usual = settings.default(RABBITMQ_URL)?;
    let port = usual_or_free(Url::parse(usual)?.port().unwrap_or(5672))?;
    private_rabbitmq(workspace, usual, port)
}

fn private_rabbitmq(workspace: &Workspace, url: &str, port: u16) -> Result<Server> {
    let mut url = Url::parse(url)?;
    url.set_port(Some(port)).ok().context("no port")?;
    let api_url = format!("http://127.0.0.1:{}", usual_or_free(MANAGEMENT_PORT)?);
    let server = RabbitMqServer::for_urls(workspace.dev(), url.as_str(), &api_url)?;
    Ok(Server {
        source: Source::Private,
        url: server.url(),
        api_url: server.api_url(),
    })
}

fn compose_rabbitmq(settings: &Settings) -> Result<Server> {
    let url = settings.default(RABBITMQ_URL)?.to_owned();
    let api_url = format!("http://guest:guest@localhost:{MANAGEMENT_PORT}");
    Ok(Server {
        source: Source::Compose,
        url,
        api_url,
    })
}

fn usual_or_free(port: u16) -> Result<u16> {
    if is_free(port) {
        Ok(port)
    } else {
        Ok(free_ports(1)?[0])
    }
}

/// Whether both URLs lead to the same host and port.
#[must_use]
pub(crate) fn same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.replace("localhost", "127.0.0.1");
        Some((host, url.port().unwrap_or_else(|| usual_port(&url))))
    };
    place(one).is_some() && place(one) == place(other)
}

fn usual_port(url: &Url) -> u16 {
    if url.scheme() == "amqp" { 5672 } else { 5432 }
}

/// The same server, at the database `postgres`, which is always there.
///
/// # Errors
/// When `url` is none.
pub(crate) fn maintenance_url(url: &str) -> Result<String> {
    with_path(url, "/postgres")
}

fn with_path(url: &str, path: &str) -> Result<String> {
    let mut url = Url::parse(url)?;
    url.set_path(path);
    Ok(url.into())
}

fn parse(name: &str, url: &str) -> Result<Url> {
    let parsed = Url::parse(url).with_context(|| format!("{name} is not a URL"))?;
    ensure!(parsed.has_host(), "{name} names no host");
    Ok(parsed)
}
