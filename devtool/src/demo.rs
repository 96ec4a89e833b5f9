//! `demo`: everything that `up` does, then orders of every kind, and what became of them.
//!
//! ```text
//! up ─► stock ─► scenarios, all at once ─► table ─► one saga's log ─► messages ─► audit ─► where to look next
//! ```
//! It may be run any number of times, also between the orders of others: it only adds to the stock.

mod api;
mod delivery;
mod play;
mod scenarios;
mod stock;
mod table;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use test_support::contract::{Contract, Tap};

use crate::infra::{Infra, same_place};
use crate::services::{self, Environment};
use crate::settings::RABBITMQ_URL;
use crate::workspace::Workspace;
use crate::{guarantees, up};
use api::{Api, Saga};
use play::Outcome;
use table::Paint;

/// Runs the demo. Fails when an order did not end as it should, a message was not as published, or a
/// guarantee was not kept.
///
/// # Errors
/// When something cannot be started, or a service cannot be asked.
pub(crate) async fn run(workspace: &Workspace) -> Result<ExitCode> {
    up::run(workspace).await?;
    let environment = services::environment(workspace)?.context("`up` left no .dev/env")?;
    let api = Api::new(&environment)?;
    let url = environment
        .get(RABBITMQ_URL)
        .context("`up` left no broker")?;
    let tap = Tap::open(url).await?;
    let paint = Paint::for_stdout();

    println!("\n{}", paint.bold("Stock"));
    let scarce = stock::fill(&api).await?;
    println!("\n{}\n", paint.bold("Orders of every kind, all at once"));
    let outcomes = play::all(&api, &scenarios::table(scarce)?).await;
    table::print(&outcomes, paint);

    if let Some(failed) = outcomes.iter().find(|outcome| outcome.is_example) {
        let kind = failed.kind;
        println!(
            "\n{}",
            paint.bold(&format!("The saga log of the order “{kind}”"))
        );
        match api
            .saga(failed.saga_id.as_deref().unwrap_or_default())
            .await
        {
            Ok(saga) => print_log(&saga),
            Err(error) => println!("{error:#}"),
        }
    }

    println!("\n{}", paint.bold("The messages"));
    let heard = tap.compare(&Contract::new()).await?;
    println!("{heard}");

    println!("\n{}", paint.bold("The audit"));
    let report = guarantees::check(&environment).await?;
    println!("{report}");

    print_links(workspace, &environment, &api, &outcomes, paint)?;
    let is_clean = report.is_clean() && heard.problems.is_empty();
    Ok(verdict(&outcomes, is_clean, paint))
}

fn print_log(saga: &Saga) {
    let started = saga.log.first().map(|entry| entry.at);
    for entry in &saga.log {
        let after = started.map_or(0, |started| (entry.at - started).num_milliseconds());
        let step = entry.step.as_deref().unwrap_or("");
        let details = entry.details_in_words();
        let line = format!(
            "{:>4}  {after:>+6} ms  {:22} {step:10} {details}",
            entry.seq, entry.event
        );
        println!("{}", line.trim_end());
    }
}

fn print_links(
    workspace: &Workspace,
    environment: &Environment,
    api: &Api,
    outcomes: &[Outcome],
    paint: Paint,
) -> Result<()> {
    println!("\n{}", paint.bold("Where to look next"));
    println!("{:18} {}", "the page", api.page());
    let example = outcomes.iter().find(|outcome| outcome.is_example);
    if let Some(saga) = example.and_then(|outcome| outcome.saga_id.as_deref()) {
        println!("{:18} {}ui/sagas/{saga}", "that saga", api.page());
    }
    for service in services::all() {
        println!(
            "{:18} {}/api/docs",
            service.name(),
            service.url(environment)?
        );
    }
    let used = environment.get(RABBITMQ_URL).map_or("", String::as_str);
    let ours = Infra::load(workspace)?.rabbitmq;
    if let Some(ours) = ours.filter(|ours| same_place(&ours.url, used)) {
        let management = url::Url::parse(&ours.api_url)?;
        let port = management.port().context("the management API has a port")?;
        let user = management.username();
        println!("{:18} http://localhost:{port} (user {user})", "RabbitMQ");
    }
    println!(
        "{:18} ./dev status, ./dev logs, ./dev sagactl, ./dev audit; ./dev down stops it",
        "commands"
    );
    Ok(())
}

fn verdict(outcomes: &[Outcome], is_clean: bool, paint: Paint) -> ExitCode {
    let wrong: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.problems.is_empty())
        .collect();
    println!();
    if wrong.is_empty() && is_clean {
        let text = format!(
            "All {} orders ended as they should, and every guarantee held.",
            outcomes.len()
        );
        println!("{}", paint.green(&text));
        return ExitCode::SUCCESS;
    }
    for outcome in wrong {
        for problem in &outcome.problems {
            println!("{}", paint.red(&format!("{}: {problem}", outcome.kind)));
        }
    }
    if !is_clean {
        println!(
            "{}",
            paint
                .red("The audit found violations, or a message is not as it should be: see above.")
        );
    }
    println!("./dev status shows what is wrong with a service, ./dev logs what it says.");
    ExitCode::FAILURE
}
