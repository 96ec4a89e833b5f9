//! What the engine counts of sagas: read off the log entries of each decision, and counted with its commit.

use common::{
    contract::{Reason, clock},
    metrics::{
        Kind::{Counter, Gauge, Histogram, Sampled},
        Label, Metric, OTHER, Tally, describe,
    },
};
use uuid::Uuid;

use crate::{
    decision::Decision,
    registry::Registry,
    state::{State, What},
    table::Table,
};

const TYPE: Label = Label::known("type", "the saga's name");
const STEP: Label = Label::known("step", "the step's name");
const ENDED_AS: Label = Label::one_of("status", &["COMPLETED", "COMPENSATED"]);

pub(crate) static STARTED: Metric =
    Metric::new(Counter, "sagas_started_total", "Sagas that began.", &[TYPE]);
pub(crate) static ENDED: Metric = Metric::new(
    Counter,
    "sagas_ended_total",
    "Sagas that ended, by how. One that is cancelled after its end ends again.",
    &[TYPE, ENDED_AS],
);
pub(crate) static PARKED: Metric = Metric::new(
    Counter,
    "sagas_parked_total",
    "Times that a saga was parked, by the step that could not be done or undone.",
    &[TYPE, STEP],
);
pub(crate) static QUARANTINED: Metric = Metric::new(
    Counter,
    "sagas_quarantined_total",
    "Sagas that were parked because the program cannot understand their row or their log.",
    &[],
);
pub(crate) static SECONDS: Metric = Metric::new(
    Histogram,
    "saga_duration_seconds",
    "How long sagas took from their beginning to their end.",
    &[TYPE, ENDED_AS],
);
pub(crate) static STEP_SECONDS: Metric = Metric::new(
    Histogram,
    "saga_step_duration_seconds",
    "How long steps took from the command that was answered to its reply.",
    &[
        TYPE,
        STEP,
        Label::one_of("outcome", &["succeeded", "rejected", "undone"]),
    ],
);
pub(crate) static COMMANDS: Metric = Metric::new(
    Counter,
    "saga_commands_total",
    "Commands that were decided to be sent, also those that are sent again.",
    &[
        TYPE,
        STEP,
        Label::one_of("direction", &["action", "compensation"]),
    ],
);
pub(crate) static TIMEOUTS: Metric = Metric::new(
    Counter,
    "saga_step_timeouts_total",
    "Commands that were not answered in time.",
    &[TYPE, STEP],
);
pub(crate) static LATE_REPLIES: Metric = Metric::new(
    Counter,
    "saga_late_replies_total",
    "Replies that their saga no longer waited for.",
    &[TYPE],
);
pub(crate) static STRAY_REPLIES: Metric = Metric::new(
    Counter,
    "saga_stray_replies_total",
    "Replies of no saga, or without a meaning to theirs: they become dead letters.",
    &[],
);
pub(crate) static INTERVENTIONS: Metric = Metric::new(
    Counter,
    "saga_interventions_total",
    "What operators did about sagas.",
    &[Label::one_of(
        "verb",
        &[
            "retry",
            "skip",
            "force-complete",
            "force-compensated",
            "abort",
            "reschedule",
            "redrive-letter",
            "delete-letter",
        ],
    )],
);
pub(crate) static OPEN: Metric = Metric::new(
    Sampled,
    "sagas_open",
    "Sagas that have not ended and are not parked; at most 20 000 are counted, those whose deadlines come first.",
    &[
        TYPE,
        Label::one_of("status", &["RUNNING", "COMPENSATING"]),
        STEP,
    ],
);
pub(crate) static NOW_PARKED: Metric = Metric::new(
    Sampled,
    "sagas_parked",
    "Sagas that wait for an operator; at most 20 000 are counted.",
    &[TYPE, STEP],
);
pub(crate) static OLDEST: Metric = Metric::new(
    Sampled,
    "sagas_oldest_open_seconds",
    "How long ago the oldest of the open sagas that are counted began; 0 where there is none.",
    &[TYPE],
);
pub(crate) static OVERDUE: Metric = Metric::new(
    Sampled,
    "sagas_overdue",
    "Open sagas at which nobody has looked for a minute after their deadline.",
    &[TYPE],
);
pub(crate) static SAMPLED: Metric = Metric::new(
    Gauge,
    "sagas_sampled_timestamp_seconds",
    "When the sagas were last looked at, in seconds since 1970; 0 before the first time.",
    &[],
);

/// The engine's metrics.
pub const LIST: &[&Metric] = &[
    &STARTED,
    &ENDED,
    &PARKED,
    &QUARANTINED,
    &SECONDS,
    &STEP_SECONDS,
    &COMMANDS,
    &TIMEOUTS,
    &LATE_REPLIES,
    &STRAY_REPLIES,
    &INTERVENTIONS,
    &OPEN,
    &NOW_PARKED,
    &OLDEST,
    &OVERDUE,
    &SAMPLED,
];

/// Has all of them be there for the sagas of `registry`.
pub(crate) fn begin(registry: &Registry) {
    describe(LIST);
    for definition in registry.definitions() {
        let name = definition.name();
        STARTED.zero(&[name]);
        LATE_REPLIES.zero(&[name]);
        for status in ["COMPLETED", "COMPENSATED"] {
            ENDED.zero(&[name, status]);
            SECONDS.zero(&[name, status]);
        }
        let table: &dyn Table = definition;
        for plan in table.plans() {
            let step = plan.name;
            PARKED.zero(&[name, step]);
            TIMEOUTS.zero(&[name, step]);
            COMMANDS.zero(&[name, step, "action"]);
            STEP_SECONDS.zero(&[name, step, "succeeded"]);
            if plan.rejected.is_some() {
                STEP_SECONDS.zero(&[name, step, "rejected"]);
            }
            if plan.undone().is_some() {
                COMMANDS.zero(&[name, step, "compensation"]);
                STEP_SECONDS.zero(&[name, step, "undone"]);
            }
        }
    }
}

/// Adds what was decided about a saga to what is counted with the commit.
pub(crate) fn count(tally: &mut Tally, decision: &Decision) {
    let (saga, after) = (&decision.saga, decision.transition.state);
    let name = saga.definition.name();
    for entry in &decision.transition.log {
        let step = entry.step.unwrap_or(OTHER);
        match &entry.what {
            What::SagaStarted {} => tally.add(&STARTED, &[name], 1),
            What::ActionSent { .. } => tally.add(&COMMANDS, &[name, step, "action"], 1),
            What::CompensationSent { .. } => tally.add(&COMMANDS, &[name, step, "compensation"], 1),
            What::ActionTimedOut { .. } | What::CompensationTimedOut { .. } => {
                tally.add(&TIMEOUTS, &[name, step], 1);
            }
            What::LateReply { .. } => tally.add(&LATE_REPLIES, &[name], 1),
            what => {
                if let Some(verb) = verb(what) {
                    tally.add(&INTERVENTIONS, &[&verb], 1);
                }
            }
        }
    }
    if saga.state == after {
        return;
    }
    let status = match after {
        State::Completed => "COMPLETED",
        State::Compensated { .. } => "COMPENSATED",
        State::Parked { step, .. } => return tally.add(&PARKED, &[name, step], 1),
        State::Running { .. } | State::Compensating { .. } => return,
    };
    tally.add(&ENDED, &[name, status], 1);
    if let Some(seconds) = seconds_since(saga.id.0) {
        tally.record(&SECONDS, &[name, status], seconds);
    }
}

/// Adds how long the step took whose reply led to the decision. The reply names its command, `asked`, whose id says when it
/// was made.
pub(crate) fn count_reply(tally: &mut Tally, decision: &Decision, asked: Option<Uuid>) {
    let name = decision.saga.definition.name();
    let outcome = |what: &What| match what {
        What::StepSucceeded {} => Some("succeeded"),
        What::StepRejected { .. } => Some("rejected"),
        What::StepUndone {} => Some("undone"),
        _ => None,
    };
    let mut told = decision.transition.log.iter();
    let told = told.find_map(|entry| Some((entry.step?, outcome(&entry.what)?)));
    let (Some((step, outcome)), Some(seconds)) = (told, asked.and_then(seconds_since)) else {
        return;
    };
    // Who replies may name anything: no command is older than its saga.
    let longest = seconds_since(decision.saga.id.0).unwrap_or_default();
    tally.record(&STEP_SECONDS, &[name, step, outcome], seconds.min(longest));
}

/// What an operator did, if somebody did.
fn verb(what: &What) -> Option<String> {
    match what {
        // A customer's request is none of an operator.
        What::CancelRequested { reason, .. } if *reason != Reason::OPERATOR => None,
        What::DeadLetterRedriven(_) => Some("redrive-letter".to_owned()),
        What::DeadLetterDeleted(_) => Some("delete-letter".to_owned()),
        what => what.intervention().map(|(verb, _)| verb.to_string()),
    }
}

/// How long ago an id of version 7 was made; none where it says no time.
fn seconds_since(id: Uuid) -> Option<f64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let made = seconds as f64 + f64::from(nanos) / 1e9;
    let now = clock::now().timestamp_millis() as f64 / 1000.0;
    Some((now - made).max(0.0))
}
