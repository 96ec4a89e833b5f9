//! `up`: infrastructure, migrations, services, links.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;

use crate::infra::{self, Plan};
use crate::services::{self, Environment, Service};
use crate::settings::Settings;
use crate::workspace::{Workspace, write_private};
use crate::{lock, test_env};

/// Starts whatever does not run yet, and restarts services whose program or environment changed.
///
/// # Errors
/// When something cannot be started; what has been started until then stays.
pub(crate) async fn run(workspace: &Workspace) -> Result<()> {
    let _lock = lock::exclusive(workspace)?;
    let settings = Settings::load(workspace.root())?;
    let plan = infra::up(workspace, &settings).await?;
    test_env::claim(workspace)?;
    println!("PostgreSQL and RabbitMQ are ready.");

    let mut environment = settings.all();
    environment.extend(
        plan.urls(&settings)?
            .into_iter()
            .map(|(name, url)| (name.to_owned(), url)),
    );
    write_environment(workspace, &environment)?;

    migrate(workspace, &environment)?;
    start_services(workspace, &environment).await?;
    print_links(&plan, &environment)
}

fn migrate(workspace: &Workspace, environment: &Environment) -> Result<()> {
    println!("Migrating the databases …");
    let mut command = Command::new(workspace.program("migrate")?);
    let status = command
        .envs(environment)
        .status()
        .context("cannot run migrate")?;
    ensure!(
        status.success(),
        "the migrations failed; their own message is above"
    );
    Ok(())
}

async fn start_services(workspace: &Workspace, environment: &Environment) -> Result<()> {
    let mut stale: Vec<Service> = Vec::new();
    for service in services::all() {
        if !service.is_current(workspace, environment)? {
            stale.push(service);
        }
    }
    try_join_all(stale.iter().map(|service| service.stop(workspace))).await?;
    for service in stale {
        println!(
            "Starting {} at {} …",
            service.name(),
            service.url(environment)?
        );
        service.start(workspace, environment)?;
    }
    try_join_all(services::all().map(|service| service.ready(workspace, environment))).await?;
    Ok(())
}

/// One `KEY='value'` a line, which a shell and dotenv both read.
fn write_environment(workspace: &Workspace, environment: &Environment) -> Result<()> {
    let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
    let lines = environment
        .iter()
        .map(|(name, value)| format!("{name}={}\n", quoted(value)));
    write_private(&workspace.env_file(), &lines.collect::<String>())
}

fn print_links(plan: &Plan, environment: &Environment) -> Result<()> {
    println!();
    for service in services::all() {
        println!(
            "{:18} {}/api/docs",
            service.name(),
            service.url(environment)?
        );
    }
    if let Some(rabbitmq) = &plan.rabbitmq {
        let api = url::Url::parse(&rabbitmq.api_url)?;
        let port = api.port().context("the management API has a port")?;
        println!(
            "{:18} http://localhost:{port} (user {})",
            "RabbitMQ",
            api.username()
        );
    }
    println!("\n./dev status shows how they are, ./dev logs what they say, ./dev down stops them.");
    Ok(())
}
