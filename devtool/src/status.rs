//! `status`: what runs, where, and how it is.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::fleet;
use test_support::servers::{Files, Process, probe_rabbitmq};

use crate::infra::{Infra, Server, Source, answers, same_place, shown};
use crate::services::{self, Environment, Service};
use crate::settings::{RABBITMQ_URL, Settings};
use crate::workspace::Workspace;

/// Prints one line for each server and service, and under it what is wrong with it.
///
/// # Errors
/// When the configuration cannot be read.
pub(crate) async fn run(workspace: &Workspace) -> Result<()> {
    let infra = Infra::load(workspace)?;
    let environment = environment(workspace)?;
    print("NAME", "PID", "HEALTH", "UPTIME", "URL");

    let urls = used_urls(
        &environment,
        fleet::ORDER.database.variable,
        infra.postgres.as_ref(),
    );
    let answering = first_to_answer(&urls, async |url| answers(url).await).await;
    server(workspace, "postgres", infra.postgres.as_ref(), answering);

    let urls = used_urls(&environment, RABBITMQ_URL, infra.rabbitmq.as_ref());
    let answering = first_to_answer(&urls, async |url| probe_rabbitmq(url).await).await;
    server(workspace, "rabbitmq", infra.rabbitmq.as_ref(), answering);

    for one in services::all() {
        service(workspace, one, &environment).await?;
    }
    Ok(())
}

/// What `up` gave to the services; before `up`, what it would give.
fn environment(workspace: &Workspace) -> Result<Environment> {
    if let Some(given) = services::environment(workspace)? {
        return Ok(given);
    }
    let mut all = Settings::load(workspace.root())?.all();
    all.retain(|name, _| name.ends_with("_HTTP_ADDR"));
    Ok(all)
}

/// What the services use; without services, our server, which may run for the tests.
fn used_urls(environment: &Environment, name: &str, ours: Option<&Server>) -> Vec<String> {
    match environment.get(name) {
        Some(nodes) => nodes
            .split(',')
            .map(|node| node.trim().to_owned())
            .collect(),
        None => ours.map(|server| server.url.clone()).into_iter().collect(),
    }
}

/// The first URL whose server answers; when none does, the first one with its error.
async fn first_to_answer(
    urls: &[String],
    probe: impl AsyncFn(&str) -> Result<()>,
) -> Option<(String, Result<()>)> {
    let mut first = None;
    for url in urls {
        let answer = probe(url).await;
        if answer.is_ok() {
            return Some((url.clone(), answer));
        }
        first.get_or_insert((url.clone(), answer));
    }
    first
}

fn server(
    workspace: &Workspace,
    name: &str,
    ours: Option<&Server>,
    used: Option<(String, Result<()>)>,
) {
    let Some((url, health)) = used else {
        return print(name, "-", "stopped", "-", "-");
    };
    let ours = ours.filter(|ours| same_place(&ours.url, &url));
    let files = Files::below(workspace.dev(), name);
    let process = files.process().filter(|_| ours.is_some());
    let pid = match (process, ours.map(|server| server.source)) {
        (Some(process), _) => process.number().to_string(),
        (None, Some(Source::Private)) => return print(name, "-", "stopped", "-", "-"),
        (None, Some(Source::Compose)) => "compose".to_owned(),
        (None, None) => "yours".to_owned(),
    };
    let state = if health.is_ok() { "up" } else { "DOWN" };
    print(
        name,
        &pid,
        state,
        &uptime(process, &files.pid),
        &shown(&url),
    );
    if let Err(error) = health {
        say(&format!("  {error:#}"));
    }
}

async fn service(workspace: &Workspace, service: Service, environment: &Environment) -> Result<()> {
    let url = service.url(environment)?;
    let Some(process) = service.process(workspace) else {
        print(service.name(), "-", "stopped", "-", &url);
        return Ok(());
    };
    let problem = health(&url).await.err();
    let uptime = uptime(Some(process), &service.files(workspace).pid);
    let state = if problem.is_some() { "DOWN" } else { "up" };
    print(
        service.name(),
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
