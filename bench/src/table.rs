//! The results as people read them, no wider than 110 columns.

use std::fmt::Write as _;

use common::fleet;

use crate::report::{Floor, Growth, Outcome, Part, Results};

/// All tables.
pub(crate) fn shown(results: &Results) -> String {
    let mut text = String::new();
    let growth = results.growth.iter();
    let mut all: Vec<_> = results
        .scenarios
        .iter()
        .map(|o| (o.scenario.clone(), o))
        .collect();
    all.extend(growth.flat_map(|growth| {
        let Growth { before, after, .. } = growth;
        [("before".to_owned(), before), ("filled".to_owned(), after)]
    }));
    // Writing to a string cannot fail.
    let _ = speed(&mut text, &all);
    let _ = cost(&mut text, &all);
    if let Some(growth) = &results.growth {
        let _ = writeln!(
            text,
            "\nfilled: {} finished sagas in {:.0} s, {:.0} MiB in all",
            growth.filled, growth.fill_s, growth.databases_mib
        );
    }
    if let Some(audit) = &results.audit {
        let _ = writeln!(
            text,
            "\naudit: {} orders in {:.1} s with {:.0} MiB, {} violations",
            audit.orders, audit.took_s, audit.memory_mib, audit.violations
        );
    }
    if let Some(floor) = &results.floor {
        let _ = writeln!(text, "\n{}", floor_shown(floor, results.cores));
    }
    text
}

type Row<'a> = (String, &'a Outcome);

fn speed(text: &mut String, rows: &[Row<'_>]) -> std::fmt::Result {
    writeln!(
        text,
        "\n{:<11} {:>8} {:>8} {:>8} │ {:>34} │ {:>21}",
        "", "accepted", "ended", "overall", "POST to the saga's end, ms", "POST to answer, ms"
    )?;
    writeln!(
        text,
        "{:<11} {:>8} {:>8} {:>8} │ {:>7} {:>8} {:>8} {:>8} │ {:>6} {:>6} {:>7}",
        "scenario", "/s", "/s", "/s", "p50", "p95", "p99", "max", "p50", "p99", "max"
    )?;
    for (name, o) in rows {
        let (end, answer) = (&o.to_end_ms, &o.to_answer_ms);
        writeln!(
            text,
            "{name:<11} {:>8.0} {:>8.0} {:>8.0} │ {:>7.1} {:>8.1} {:>8.1} {:>8.1} │ {:>6.1} {:>6.1} {:>7.1}",
            o.accepted_per_s,
            o.sagas_per_s,
            o.overall_per_s,
            end.p50,
            end.p95,
            end.p99,
            end.max,
            answer.p50,
            answer.p99,
            answer.max,
        )?;
    }
    Ok(())
}

const PROCESSES: [(&str, &str); 5] = [
    (fleet::ORDER.program.name, "order"),
    (fleet::PAYMENT.program.name, "pay"),
    (fleet::INVENTORY.program.name, "stock"),
    ("postgresql", "pg"),
    ("rabbitmq", "mq"),
];

fn cost(text: &mut String, rows: &[Row<'_>]) -> std::fmt::Result {
    writeln!(
        text,
        "\n{:<11} │ {:>41} │ {:>25} │ {:>21}",
        "", "CPU-seconds per 1000 sagas", "memory MiB", "per saga"
    )?;
    write!(text, "{:<11} │", "scenario")?;
    for (_, short) in PROCESSES {
        write!(text, " {short:>5}")?;
    }
    write!(text, " {:>5} {:>5} │", "all", "drive")?;
    for (_, short) in PROCESSES {
        write!(text, " {short:>4.4}")?;
    }
    writeln!(text, " │ {:>6} {:>8} {:>5}", "commit", "WAL B", "AMQP")?;
    for (name, outcome) in rows {
        let Some(cost) = &outcome.cost else { continue };
        write!(text, "{name:<11} │")?;
        for (process, _) in PROCESSES {
            write!(
                text,
                " {:>5.3}",
                cost.cpu_per_1000.get(process).unwrap_or(&0.0)
            )?;
        }
        let (all, driver) = (cost.cpu_per_1000_total, cost.driver_cpu_per_1000);
        write!(text, " {all:>5.3} {driver:>5.3} │")?;
        for (process, _) in PROCESSES {
            write!(
                text,
                " {:>4.0}",
                cost.memory_mib.get(process).unwrap_or(&0.0)
            )?;
        }
        writeln!(
            text,
            " │ {:>6.3} {:>8.0} {:>5.2}",
            cost.commits_per_saga, cost.wal_bytes_per_saga, cost.messages_per_saga
        )?;
    }
    Ok(())
}

fn floor_shown(floor: &Floor, cores: usize) -> String {
    let part = |name: &str, part: &Part| {
        format!(
            "{name:<33} {:>8.0} sagas/s   {:.3} + {:.3} CPU-s per 1000 (server + client)\n",
            part.sagas_per_s, part.server_cpu_per_1000, part.client_cpu_per_1000
        )
    };
    let together = |name: &str, rate: f64, reached: Option<f64>| {
        let reached = reached.map(|share| format!("; burst-64 reaches {:.0} %", share * 100.0));
        format!(
            "{name:<33} {rate:>8.0} sagas/s on {cores} cores{}\n",
            reached.unwrap_or_default()
        )
    };
    [
        "floor: the rows and messages of completed sagas alone\n".to_owned(),
        part("PostgreSQL, 100 sagas a commit", &floor.postgresql),
        part("RabbitMQ, single messages", &floor.rabbitmq_single),
        part("RabbitMQ, batches of 64", &floor.rabbitmq_batched),
        together(
            "both, single messages",
            floor.single_per_s,
            floor.burst_of_single,
        ),
        together(
            "both, batches of 64",
            floor.batched_per_s,
            floor.burst_of_batched,
        ),
    ]
    .concat()
}
