//! `status`: what runs, where, and how it is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use test_support::servers::{Files, Process, probe_rabbitmq};

use crate::infra::{Infra, Server, Source, answers, shown};
use crate::services::{Environment, SERVICES, Service};
use crate::settings::{DATABASE_URLS, RABBITMQ_URL, Settings};
use crate::workspace::Workspace;

/// Prints one line for each server and service, and under it what is wrong with it.
///
/// # Errors
/// When the configuration cannot be read.
pub(crate) async fn run(workspace: &Workspace) -> Result<()> {
    let infra = Infra::load(workspace)?;
    let environment = environment(workspace)?;
    print("NAME", "PID", "HEALTH", "UPTIME", "URL");

    let ours = infra.postgres.as_ref();
    let url = used_url(&environment, DATABASE_URLS[0], ours);
    let health = if url.is_empty() {
        Ok(())
    } else {
        answers(&url).await
    };
    server(workspace, "postgres", &url, ours, health);

    let ours = infra.rabbitmq.as_ref();
    let url = used_url(&environment, RABBITMQ_URL, ours);
    let health = if url.is_empty() {
        Ok(())
    } else {
        probe_rabbitmq(&url).await
    };
    server(workspace, "rabbitmq", &url, ours, health);

    for one in SERVICES {
        service(workspace, one, &environment).await?;
    }
    Ok(())
}

/// What `up` gave to the services; before `up`, what it would give.
fn environment(workspace: &Workspace) -> Result<Environment> {
    if workspace.env_file().exists() {
        let pairs: Result<BTreeMap<_, _>, _> =
            dotenvy::from_path_iter(workspace.env_file())?.collect();
        return pairs.context("cannot understand .dev/env");
    }
    let mut all = Settings::load(workspace.root())?.all();
    all.retain(|name, _| name.ends_with("_HTTP_ADDR"));
    Ok(all)
}

/// What the services use; without services, our server, which may run for the tests.
fn used_url(environment: &Environment, name: &str, ours: Option<&Server>) -> String {
    let first_node = |nodes: &String| nodes.split(',').next().unwrap_or_default().to_owned();
    let used = environment.get(name).map(first_node);
    used.or_else(|| ours.map(|server| server.url.clone()))
        .unwrap_or_default()
}

fn server(workspace: &Workspace, name: &str, url: &str, ours: Option<&Server>, health: Result<()>) {
    let files = Files::below(&workspace.dev(), name);
    let process = files.process();
    let pid = match (process, ours.map(|server| server.source)) {
        (Some(process), _) => process.number().to_string(),
        (None, Some(Source::Compose)) => "compose".to_owned(),
        (None, None) if !url.is_empty() => "yours".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let uptime = uptime(process, &files.pid);
    match health {
        Err(error) if pid != "-" => {
            print(name, &pid, "DOWN", &uptime, &shown(url));
            say(&format!("  {error:#}"));
        }
        Ok(()) if !url.is_empty() => print(name, &pid, "up", &uptime, &shown(url)),
        _ => print(name, "-", "stopped", "-", "-"),
    }
}

async fn service(workspace: &Workspace, service: Service, environment: &Environment) -> Result<()> {
    let url = service.url(environment)?;
    let Some(process) = service.process(workspace) else {
        print(service.name, "-", "stopped", "-", &url);
        return Ok(());
    };
    let problem = health(&url).await.err();
    let uptime = uptime(Some(process), &service.files(workspace).pid);
    let state = if problem.is_some() { "DOWN" } else { "up" };
    print(
        service.name,
        &process.number().to_string(),
        state,
        &uptime,
        &url,
    );
    if let Some(problem) = problem {
        say(&format!("  {problem:#}"));
    }
    Ok(())
}

/// `GET /health`: what the service says about itself and what it needs.
///
/// # Errors
/// When it does not answer, or says that something is wrong.
async fn health(url: &str) -> Result<()> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()?;
    let response = client
        .get(format!("{url}/health"))
        .send()
        .await
        .context("it does not answer")?;
    let status = response.status();
    ensure!(
        status.is_success(),
        "{} {}",
        status.as_u16(),
        response.text().await?
    );
    Ok(())
}

/// The pid file is as old as the process.
fn uptime(process: Option<Process>, pid_file: &Path) -> String {
    let age = std::fs::metadata(pid_file)
        .and_then(|file| file.modified())
        .ok()
        .and_then(|since| since.elapsed().ok());
    let (Some(_), Some(age)) = (process, age) else {
        return "-".to_owned();
    };
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn print(name: &str, pid: &str, health: &str, uptime: &str, url: &str) {
    say(&format!(
        "{name:18} {pid:>8}  {health:7} {uptime:>11}  {url}"
    ));
}

/// Not `println`, which panics when the reader has seen enough (`./dev status | head -2`).
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
