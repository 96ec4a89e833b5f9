//! PostgreSQL and RabbitMQ for the services and the tests.
//!
//! Each of the two is found or started, in this order:
//! 1. the user configured a URL: what answers there; if nothing does and the place is free, a server of ours right there;
//! 2. what we started before and still runs;
//! 3. Docker Compose;
//! 4. a private server out of the machine's packages, on the usual port or a free one.
//!
//! What we started is recorded in `.dev/infra.json`. Only that is ever stopped, and only what we made is ever dropped.

pub(crate) mod compose;
mod databases;
pub(crate) mod packages;
mod plan;
mod record;

use anyhow::{Context as _, Result};
use test_support::servers::{PostgresServer, RabbitMqServer, probe_postgres, probe_rabbitmq};

use crate::settings::Settings;
use crate::workspace::Workspace;
use databases::Database;
pub(crate) use plan::{Plan, answers, maintenance_url, same_place};
pub(crate) use record::{Infra, Server, Source};

/// Makes PostgreSQL and RabbitMQ answer for the services, and says where they are.
///
/// # Errors
/// When one of them can neither be found nor started; the message says what to do.
pub(crate) async fn up(workspace: &Workspace, settings: &Settings) -> Result<Plan> {
    let mut infra = Infra::load(workspace)?;
    let mut plan = Plan::make(workspace, settings, &infra, compose::is_available()).await?;
    if plan
        .servers()
        .any(|server| server.source == Source::Compose)
    {
        infra.compose = true;
        infra.save(workspace)?;
        if let Err(reason) = compose::up(workspace, &plan) {
            println!("Docker Compose failed ({reason:#}); using the machine's packages instead.");
            plan = Plan::make(workspace, settings, &infra, false).await?;
        }
    }
    let private = |server: &Option<Server>| {
        server
            .as_ref()
            .is_some_and(|server| server.source == Source::Private)
    };
    packages::ensure(workspace, private(&plan.postgres), private(&plan.rabbitmq))?;
    start(workspace, &mut infra, &plan).await?;
    make_databases(workspace, infra, &plan).await?;
    Ok(plan)
}

/// Makes the databases that are missing on the user's servers, so that it is known which of them are ours.
async fn make_databases(workspace: &Workspace, mut infra: Infra, plan: &Plan) -> Result<()> {
    for url in &plan.databases_of_the_user {
        let is_known = infra.databases.iter().any(|known| known.url == *url);
        let is_missing = databases::is_missing(url).await?;
        if is_known && !is_missing {
            continue;
        }
        let database = if is_missing {
            Database::ours(url)
        } else {
            Database::of_the_user(url)
        };
        infra.databases.retain(|known| known.url != *url);
        infra.databases.push(database.clone());
        infra.save(workspace)?;
        if is_missing {
            database.make().await?;
        }
    }
    Ok(())
}

/// Private servers for the tests, or those of ours that run already; never those that the user configured for the services.
/// `postgres` and `rabbitmq` say which are needed.
///
/// # Errors
/// When one of them cannot be started.
pub(crate) async fn up_for_tests(
    workspace: &Workspace,
    settings: &Settings,
    postgres: bool,
    rabbitmq: bool,
) -> Result<Plan> {
    packages::ensure_for_tests(workspace)?;
    let mut infra = Infra::load(workspace)?;
    let mut plan = Plan::make(workspace, &settings.without_choices(), &infra, false).await?;
    plan.postgres.take_if(|_| !postgres);
    plan.rabbitmq.take_if(|_| !rabbitmq);
    start(workspace, &mut infra, &plan).await?;
    Ok(plan)
}

async fn start(workspace: &Workspace, infra: &mut Infra, plan: &Plan) -> Result<()> {
    infra.adopt(plan);
    // Before they start, so that a later command finds them even when this one is interrupted.
    infra.save(workspace)?;
    tokio::try_join!(
        start_postgres(workspace, plan),
        start_rabbitmq(workspace, plan)
    )?;
    Ok(())
}

async fn start_postgres(workspace: &Workspace, plan: &Plan) -> Result<()> {
    let Some(server) = &plan.postgres else {
        return Ok(());
    };
    let what = format!("PostgreSQL at {}", shown(&server.url));
    if server.source == Source::Compose {
        return probe_postgres(&server.url).await.context(what);
    }
    let private = PostgresServer::for_url(workspace.dev(), &server.url)?;
    if private.process().is_none() {
        eprintln!("Starting {what} …");
    }
    private.start().await
}

async fn start_rabbitmq(workspace: &Workspace, plan: &Plan) -> Result<()> {
    let Some(server) = &plan.rabbitmq else {
        return Ok(());
    };
    let what = format!("RabbitMQ at {}", shown(&server.url));
    if server.source == Source::Compose {
        return probe_rabbitmq(&server.url).await.context(what);
    }
    let private = RabbitMqServer::for_urls(workspace.dev(), &server.url, &server.api_url)?;
    if private.process().is_none() {
        eprintln!("Starting {what} … (about ten seconds)");
    }
    private.start().await
}

/// The private servers of this checkout, whatever their ports: enough to find, stop and remove them.
#[must_use]
pub(crate) fn private_servers(workspace: &Workspace) -> (PostgresServer, RabbitMqServer) {
    let dev = workspace.dev();
    (
        PostgresServer::new(dev, 0, "", ""),
        RabbitMqServer::new(dev, 0, 0, "", ""),
    )
}

/// Stops what we started, and with `wipe` drops what we made.
///
/// # Errors
/// When something does not stop.
pub(crate) async fn down(workspace: &Workspace, wipe: bool) -> Result<()> {
    let (postgres, rabbitmq) = private_servers(workspace);
    if rabbitmq.process().is_some() {
        println!("Stopping RabbitMQ …");
    }
    // Its port mapper may outlive it.
    rabbitmq.stop().await?;
    if postgres.process().is_some() {
        println!("Stopping PostgreSQL …");
    }
    postgres.stop().await?;
    let infra = Infra::load(workspace)?;
    if infra.compose {
        compose::down(workspace, wipe)?;
    }
    if wipe {
        rabbitmq.remove_data()?;
        postgres.remove_data()?;
        let mut left = Infra::default();
        for database in infra.databases {
            left.databases.extend(database.wipe().await);
        }
        left.save(workspace)?;
    }
    Ok(())
}

/// `url` without its password.
#[must_use]
pub(crate) fn shown(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return "(not a URL)".to_owned();
    };
    let _ = parsed.set_password(None);
    parsed.into()
}
