//! The steps of a saga, as its log tells them.

use chrono::{DateTime, Utc};
use saga::{Intervention, Registry, Status, Table, What, store::Written};
use serde::Serialize;
use utoipa::ToSchema;

use crate::entity::saga as row;

/// A step of a saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepView {
    /// The step's name.
    #[schema(example = "payment")]
    pub(super) name: &'static str,
    pub(super) status: StepStatus,
    /// How often its command, or its compensation, was sent.
    pub(super) attempts: u32,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    #[schema(example = "OUT_OF_STOCK: prod-1")]
    pub(super) last_error: Option<String>,
    /// When it is tried again if no reply comes.
    next_wake_up_at: Option<DateTime<Utc>>,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum StepStatus {
    /// Its turn has not come.
    Pending,
    /// Its command is with the participant.
    Sent,
    /// It is done.
    Succeeded,
    /// It was refused, and left nothing behind.
    Rejected,
    /// Its compensation is with the participant.
    Undoing,
    /// Nothing of it is left.
    Undone,
    /// Its turn will never come.
    Skipped,
}

/// The steps of a saga, as its log tells them. Empty where this program does not have its definition.
pub(super) fn steps(registry: &Registry, saga: &row::Model, log: &[Written]) -> Vec<StepView> {
    let Some(definition) = registry.find(&saga.kind, saga.definition_version) else {
        return Vec::new();
    };
    let table: &dyn Table = definition;
    let entries: Vec<_> = log
        .iter()
        .filter_map(|written| Some((written.at, written.entry(table).ok()?)))
        .collect();
    // Of a step that the log says nothing of.
    let status = match (saga.status.parse(), log.first()) {
        (Ok(Status::Completed), _) if !saga.overruled => StepStatus::Succeeded,
        // It is not known which ones were done, but nothing of any is left.
        (Ok(Status::Compensated), None) if !saga.overruled => StepStatus::Undone,
        _ if saga.reason.is_some() => StepStatus::Skipped,
        _ => StepStatus::Pending,
    };
    let view = |name: &'static str| StepView {
        name,
        status,
        attempts: 0,
        started_at: None,
        finished_at: None,
        last_error: None,
        next_wake_up_at: saga
            .deadline_at
            .filter(|_| saga.current_step.as_deref() == Some(name)),
    };
    let mut steps: Vec<_> = table.plans().map(|step| view(step.name)).collect();
    for (at, entry) in &entries {
        match (&entry.what, entry.step) {
            (What::CompletionForced { by } | What::CompensationForced { by }, _) => {
                steps.iter_mut().for_each(|step| step.forced(by, *at));
            }
            (what, Some(name)) => {
                let about = steps.iter_mut().filter(|step| step.name == name);
                about.for_each(|step| step.follow(what, *at));
            }
            _ => {}
        }
    }
    steps
}

impl StepView {
    fn follow(&mut self, what: &What, at: DateTime<Utc>) {
        self.last_error = what.error().or(self.last_error.take());
        match what {
            What::ActionSent { attempt } => {
                self.status = StepStatus::Sent;
                self.attempts = *attempt;
                self.started_at.get_or_insert(at);
            }
            What::CompensationSent { attempt } => {
                self.status = StepStatus::Undoing;
                self.attempts = *attempt;
                self.finished_at = None;
            }
            What::StepSucceeded {} => self.finish(StepStatus::Succeeded, at),
            What::StepUndone {} => self.finish(StepStatus::Undone, at),
            What::StepRejected { .. } => self.finish(StepStatus::Rejected, at),
            What::SkipRequested { by } => self.skip(by, at),
            _ => {}
        }
    }

    /// Somebody forced the end: nobody waits any more for what was never done.
    fn forced(&mut self, by: &Intervention, at: DateTime<Utc>) {
        if matches!(
            self.status,
            StepStatus::Pending | StepStatus::Sent | StepStatus::Undoing
        ) {
            self.skip(by, at);
        }
    }

    fn skip(&mut self, by: &Intervention, at: DateTime<Utc>) {
        let actor = by.actor.as_deref().unwrap_or("an operator");
        let note = by.note.as_deref().unwrap_or_default();
        self.last_error = Some(format!("skipped by {actor}: {note}"));
        self.finish(StepStatus::Skipped, at);
    }

    fn finish(&mut self, status: StepStatus, at: DateTime<Utc>) {
        self.status = status;
        self.finished_at = Some(at);
    }
}
