//! What is known of why a saga is where it is.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    amqp::Broker,
    contract::{Reason, SagaId, clock, topology},
    http::ApiError,
    outbox::{Held, Outbox, Route, Unsent},
};
use saga::{
    Entry, State, Status, StepPlan, Table, Undo, What,
    outlook::{self, Then},
    store::Written,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::super::one;
use crate::{entity::saga as row, http::api::Api};

/// Within this time, an answer is on its way.
const SOON: TimeDelta = TimeDelta::seconds(2);
/// How long RabbitMQ may take to count dead letters.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// What is known of a saga. What does not apply, or cannot be known, is null.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Facts {
    #[schema(value_type = SagaId)]
    pub(super) saga_id: uuid::Uuid,
    /// The time of this, by the database's clock.
    pub(super) at: DateTime<Utc>,
    /// The definition's name.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) definition_version: i32,
    #[schema(value_type = Status)]
    pub(super) status: String,
    /// The step that is executed or undone, or at which it is parked.
    pub(super) step: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) deadline_at: Option<DateTime<Utc>>,
    /// When all of it must be through, if it must.
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    pub(super) last_error: Option<String>,
    /// Whether the log's beginning was dropped, for it is older than RETENTION_DAYS.
    pub(super) log_dropped: bool,
    /// Why this program can say little about it.
    pub(super) unreadable: Option<Unreadable>,
    /// What it waits for.
    pub(super) waits: Option<Waits>,
    /// Why it is or was undone.
    pub(super) undone: Option<Undone>,
    /// Why it is parked.
    pub(super) parked: Option<Parked>,
    /// The dead-letter queues that may hold its command or the reply, where they are not empty. They are asked for when the
    /// command was taken a while ago, and only counted: `GET /dead-letters/{queue}?sagaId=` looks into them.
    pub(super) dead_letters: Option<Vec<DeadLetters>>,
    /// What follows if no reply comes.
    pub(super) next: Option<Next>,
    /// Who said last that something of it is done or undone, whatever its participants did; null where nobody has, or its log
    /// is dropped.
    pub(super) overruled: Option<Overruled>,
}

/// What an operator said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Overruled {
    /// What they did.
    #[schema(example = "skip")]
    pub(super) verb: String,
    pub(super) actor: Option<String>,
    pub(super) note: Option<String>,
}

/// Why a program can say little about a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Unreadable {
    /// Another version of this program has its definition.
    UnknownDefinition,
    /// Its row makes no sense.
    Damaged,
}

/// What an open saga waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waits {
    /// Who is to do or to undo the step.
    pub(super) participant: String,
    /// Since when it waits for this participant's answer.
    pub(super) since: DateTime<Utc>,
    /// Which time the command is being tried, from 1.
    pub(super) attempt: u32,
    /// How often it is tried.
    pub(super) attempts: u32,
    /// When this attempt was decided on.
    pub(super) asked_at: DateTime<Utc>,
    /// The command, while it is in the outbox: time stands still for that long.
    pub(super) unsent: Option<Unsent>,
    /// Why commands to this participant stay in the outbox of the replica that answers.
    pub(super) held: Option<Held>,
    /// Whether RabbitMQ can be reached.
    pub(super) broker_connected: bool,
    /// The participant's queue; null where RabbitMQ does not tell.
    pub(super) queue: Option<Queue>,
}

/// A participant's queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Queue {
    #[schema(example = "inventory.commands")]
    pub(super) name: String,
    /// AMQP messages that nobody has taken.
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

/// Dead letters, whoever they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadLettersNearby)]
pub(super) struct DeadLetters {
    #[schema(example = "inventory.commands.dlq")]
    pub(super) queue: String,
    pub(super) messages: u32,
}

/// Why a saga is or was undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Undone {
    pub(super) reason: String,
    /// What it began with; null where its log is dropped.
    pub(super) cause: Option<Cause>,
    /// The steps of which nothing is left, in the order in which they were undone.
    pub(super) steps: Vec<String>,
}

/// What made a saga be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Cause {
    pub(super) kind: CauseKind,
    /// The step that was refused or not answered.
    pub(super) step: Option<String>,
    /// How often the step was tried, where nobody answered.
    pub(super) attempts: Option<u32>,
    /// In the words of the participant who refused it, or of somebody who cancelled it.
    pub(super) text: Option<String>,
}

/// What can make a saga be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum CauseKind {
    /// A participant refused a step.
    Rejected,
    /// A participant did not answer.
    Silent,
    /// It was not through in time.
    Expired,
    /// Somebody wanted it undone.
    Cancelled,
}

/// Why a saga is parked, and what resuming it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parked {
    pub(super) since: DateTime<Utc>,
    /// What is wrong with its row or its log, if that is why.
    pub(super) problem: Option<String>,
    /// Whether the time for all of it was over.
    pub(super) expired: bool,
    /// Whether it was parked on its way back.
    pub(super) undoing: bool,
    /// How often the last command was sent; null where its log does not say.
    pub(super) attempts: Option<u32>,
    /// The participant of the step, if it has one.
    pub(super) participant: Option<String>,
}

/// What follows if no reply comes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Next {
    /// When.
    pub(super) at: DateTime<Utc>,
    /// What is decided then.
    pub(super) log: Vec<Decided>,
    /// How often the command is sent again before the saga gives up.
    pub(super) again: u32,
    /// The steps that are undone when it gives up, in order; null where it is parked.
    pub(super) then_undone: Option<Vec<String>>,
}

/// An entry of a log that is still to be written.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Decided {
    event: String,
    step: Option<String>,
    #[schema(value_type = Object)]
    details: Value,
}

/// Asks everybody.
///
/// # Errors
/// There is no such saga, or the database failed.
pub(super) async fn gather(api: &Api, id: SagaId) -> Result<Facts, ApiError> {
    let (row, log) = one::read(api, id).await?;
    let definition = api
        .engine
        .registry()
        .find(&row.kind, row.definition_version);
    let mut facts = Facts {
        saga_id: id.0,
        at: clock::now(),
        kind: row.kind.clone(),
        definition_version: row.definition_version,
        status: row.status.clone(),
        step: row.current_step.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        deadline_at: row.deadline_at,
        expires_at: row.expires_at,
        last_error: row.last_error.clone(),
        log_dropped: log.first().is_none_or(|entry| entry.seq > 1),
        ..Facts::default()
    };
    let Some(definition) = definition else {
        facts.unreadable = Some(Unreadable::UnknownDefinition);
        return Ok(facts);
    };
    let table: &dyn Table = definition;
    let log: Vec<_> = log
        .iter()
        .filter_map(|one| Some((one, entry(table, one)?)))
        .collect();
    let Some(state) = row.state(definition) else {
        // Somebody who could not read it either has noted that.
        facts.unreadable = Some(Unreadable::Damaged);
        facts.parked =
            (row.status == <&str>::from(Status::Parked)).then(|| parked(table, &row, &log));
        return Ok(facts);
    };
    facts.overruled = overruled(&log);
    facts.undone = state.reason().map(|reason| undone(reason, &log));
    if matches!(state, State::Parked { .. }) {
        facts.parked = Some(parked(table, &row, &log));
    }
    facts.next = next(table, state, &row);
    if let Some(plan) = state
        .step()
        .filter(|_| state.is_open())
        .and_then(|step| table.step(step))
    {
        let unsent = async {
            match row.command_id {
                Some(command) => api.engine.outbox().unsent(command).await,
                None => Ok(None),
            }
        };
        let outbox: &Outbox = api.engine.outbox();
        let (unsent, route) = tokio::join!(unsent, outbox.route(plan.participant));
        facts.waits = Some(waits(plan, state, &row, &log, unsent?, route));
    }
    if let Some(participant) = may_have_died(&facts) {
        let looking = dead_letters(&api.broker, participant);
        facts.dead_letters = timeout(LOOK_TIMEOUT, looking).await.ok().flatten();
    }
    Ok(facts)
}

/// The participant that took a command and has not answered, if that may be because something became a dead letter.
fn may_have_died(facts: &Facts) -> Option<&str> {
    match (&facts.waits, &facts.parked) {
        (Some(waits), None) => {
            let queue = waits.queue.as_ref();
            let is_taken = waits.unsent.is_none() && queue.is_some_and(|queue| queue.messages == 0);
            let is_late = facts.at - waits.asked_at >= SOON;
            (is_taken && is_late).then_some(&*waits.participant)
        }
        (None, Some(parked)) if parked.attempts.is_some() => parked.participant.as_deref(),
        _ => None,
    }
}

/// Where what `participant` was told, or what it said, may be; `None` where RabbitMQ does not tell.
async fn dead_letters(broker: &Broker, participant: &str) -> Option<Vec<DeadLetters>> {
    let queues = [
        topology::commands_queue(participant),
        topology::ORDER_REPLIES.name.to_owned(),
    ];
    let mut letters = Vec::new();
    for queue in queues.map(|queue| topology::dead_letter_queue(&queue)) {
        let messages = broker.look(&queue).await?.messages;
        if messages > 0 {
            letters.push(DeadLetters { queue, messages });
        }
    }
    Some(letters)
}

/// What an entry means, also where it is about a step that the definition does not have.
fn entry(table: &dyn Table, written: &Written) -> Option<Entry> {
    let whole = |_| Entry::from_columns(table, &written.event, None, &written.details);
    written.entry(table).or_else(whole).ok()
}

/// The log, with what each of its entries means.
type Log<'l> = [(&'l Written, Entry)];

fn waits(
    plan: &StepPlan,
    state: State,
    row: &row::Model,
    log: &Log<'_>,
    unsent: Option<Unsent>,
    route: Route,
) -> Waits {
    let is_back = state.reason().is_some();
    let sent = |what: &What| match what {
        What::ActionSent { attempt } if !is_back => Some(*attempt),
        What::CompensationSent { attempt } if is_back => Some(*attempt),
        _ => None,
    };
    let mut asked = log
        .iter()
        .rev()
        .filter(|(_, entry)| entry.step == Some(plan.name));
    let attempts = asked
        .by_ref()
        .filter_map(|(one, entry)| Some((one.at, sent(&entry.what)?)));
    let attempts: Vec<_> = attempts.collect();
    let first = attempts.iter().find(|(_, attempt)| *attempt == 1);
    let tries = match plan.undo {
        Undo::By { tries, .. } if is_back => tries,
        _ => plan.tries,
    };
    Waits {
        participant: plan.participant.to_owned(),
        since: first.map_or(row.updated_at, |(at, _)| *at),
        attempt: state.attempt(),
        attempts: tries.attempts,
        asked_at: attempts.first().map_or(row.updated_at, |(at, _)| *at),
        unsent,
        held: route.held,
        broker_connected: route.is_connected,
        queue: route.queue.map(|queue| Queue {
            name: topology::commands_queue(plan.participant),
            messages: queue.messages,
            consumers: queue.consumers,
        }),
    }
}

fn overruled(log: &Log<'_>) -> Option<Overruled> {
    let overrules = |(_, entry): &&(&Written, Entry)| entry.what.overrules();
    let (_, entry) = log.iter().rfind(overrules)?;
    let (verb, by) = entry.what.intervention()?;
    Some(Overruled {
        verb: verb.to_string(),
        actor: by.actor.clone(),
        note: by.note.clone(),
    })
}

fn undone(reason: Reason, log: &Log<'_>) -> Undone {
    let begun =
        |(_, entry): &(&Written, Entry)| matches!(entry.what, What::CompensationStarted { .. });
    let begin = log.iter().rposition(begun);
    let before = begin
        .and_then(|begin| begin.checked_sub(1))
        .and_then(|at| log.get(at));
    let steps = log[begin.unwrap_or(0)..]
        .iter()
        .filter_map(|(_, entry)| match entry.what {
            What::StepUndone {} => entry.step.map(str::to_owned),
            _ => None,
        });
    Undone {
        reason: reason.to_string(),
        cause: before.and_then(|(_, entry)| cause(entry)),
        steps: steps.collect(),
    }
}

fn cause(entry: &Entry) -> Option<Cause> {
    let (kind, attempts, text) = match &entry.what {
        What::StepRejected { detail, .. } => (CauseKind::Rejected, None, detail.clone()),
        What::ActionTimedOut { attempt } => (CauseKind::Silent, Some(*attempt), None),
        What::SagaExpired {} => (CauseKind::Expired, None, None),
        What::CancelRequested { by, .. } => (CauseKind::Cancelled, None, by.note.clone()),
        _ => return None,
    };
    Some(Cause {
        kind,
        step: entry.step.map(str::to_owned),
        attempts,
        text,
    })
}

fn parked(table: &dyn Table, row: &row::Model, log: &Log<'_>) -> Parked {
    let mut parked = Parked {
        since: row.updated_at,
        undoing: row.reason.is_some(),
        participant: row
            .current_step
            .as_deref()
            .and_then(|step| table.step(step))
            .map(|plan| plan.participant.to_owned()),
        ..Parked::default()
    };
    let is_it = |what: &What| matches!(what, What::SagaParked {} | What::SagaQuarantined { .. });
    let Some(at) = log.iter().rposition(|(_, entry)| is_it(&entry.what)) else {
        return parked;
    };
    let (written, entry) = &log[at];
    parked.since = written.at;
    if let What::SagaQuarantined { problem, .. } = &entry.what {
        parked.problem = Some(problem.clone());
        return parked;
    }
    match at.checked_sub(1).map(|before| &log[before].1.what) {
        Some(What::ActionTimedOut { attempt } | What::CompensationTimedOut { attempt }) => {
            parked.attempts = Some(*attempt);
        }
        Some(What::SagaExpired {}) => parked.expired = true,
        _ => {}
    }
    parked
}

fn next(table: &dyn Table, state: State, row: &row::Model) -> Option<Next> {
    let at = row.deadline_at?;
    let expires = row.expires_at.is_some_and(|expires| expires <= at);
    let outlook = outlook::outlook(table, state, expires)?;
    let decided = outlook.next.iter().map(|entry| {
        let (event, details) = entry.to_columns();
        Decided {
            event,
            step: entry.step.map(str::to_owned),
            details: details.parse().unwrap_or_default(),
        }
    });
    Some(Next {
        at,
        log: decided.collect(),
        again: outlook.again,
        then_undone: match outlook.then {
            Then::Undo(steps) => Some(steps.into_iter().map(str::to_owned).collect()),
            Then::Park => None,
        },
    })
}
