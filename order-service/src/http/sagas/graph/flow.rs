//! The nodes and edges of a saga's way.

use common::contract::SagaId;
use saga::{Registry, Status, Table, Undo, store::Written};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::steps::{StepStatus, StepView, steps};
use crate::entity::saga as row;

/// The way of a saga.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SagaGraph {
    #[schema(value_type = SagaId)]
    pub(super) saga_id: uuid::Uuid,
    /// The definition's name.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[schema(value_type = Status)]
    pub(super) status: String,
    /// Whether this program has its definition. Else only the step where it is, is there.
    pub(super) definition_known: bool,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// A station on the way.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// What edges call it.
    #[schema(example = "step:payment")]
    pub(super) id: String,
    pub(super) kind: NodeKind,
    /// The step's name, or what a beginning or an end is called.
    #[schema(example = "payment")]
    pub(super) label: String,
    /// Who does or undoes the step.
    pub(super) participant: Option<String>,
    pub(super) state: NodeState,
    /// How often its command was sent, where it was sent last.
    pub(super) attempts: Option<u32>,
    /// What went wrong last.
    pub(super) last_error: Option<String>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum NodeKind {
    Begin,
    /// The action of a step.
    Step,
    /// What undoes a step.
    Compensation,
    /// Where every step is done.
    Completed,
    /// Where nothing of any step is left.
    Compensated,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema, strum::Display)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "lowercase")]
pub(super) enum NodeState {
    /// It is behind the saga.
    Done,
    /// The saga is here.
    Current,
    /// The saga is here, and cannot go on by itself.
    Parked,
    /// Its turn has not come.
    Remaining,
    /// It was refused, and left nothing behind.
    Rejected,
    /// It was done, or may have been, and nothing of it is left.
    Undone,
    /// Its turn will never come.
    Skipped,
}

/// From one node to the next.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    /// Whether the saga went this way.
    pub(super) taken: bool,
    /// Whether it leads back.
    pub(super) back: bool,
}

impl SagaGraph {
    pub(super) fn new(registry: &Registry, row: row::Model, log: &[Written]) -> Self {
        let (saga_id, kind, status) = (row.id, row.kind.clone(), row.status.clone());
        let definition = registry.find(&row.kind, row.definition_version);
        let way = Way {
            status: status.parse().ok(),
            current: row.current_step.clone(),
            is_back: row.reason.is_some(),
            error: row.last_error.clone(),
        };
        let views = steps(registry, &row, log);
        let forward = match definition {
            Some(definition) => views
                .iter()
                .map(|view| way.step(definition, view))
                .collect(),
            None => way.current_only(),
        };
        let back = definition.map_or(vec![], |definition| way.back(definition, &views));
        let nodes = way.nodes(forward, back);
        let edges = edges(&nodes);
        Self {
            saga_id,
            kind,
            status,
            definition_known: definition.is_some(),
            nodes,
            edges,
        }
    }
}

/// Where a saga is, and whether it is on its way back.
struct Way {
    status: Option<Status>,
    current: Option<String>,
    is_back: bool,
    error: Option<String>,
}

impl Way {
    fn step(&self, table: &dyn Table, view: &StepView) -> Node {
        let is_here = self.current.as_deref() == Some(view.name) && !self.is_back;
        let state = match view.status {
            _ if is_here && self.status == Some(Status::Parked) => NodeState::Parked,
            StepStatus::Pending if is_here => NodeState::Current,
            StepStatus::Pending if self.is_back => NodeState::Skipped,
            StepStatus::Pending => NodeState::Remaining,
            // On the way back, a step that stayed silent has nothing that undoes it.
            StepStatus::Sent if self.is_back => NodeState::Undone,
            StepStatus::Sent => NodeState::Current,
            StepStatus::Succeeded if self.status == Some(Status::Compensated) => NodeState::Undone,
            StepStatus::Succeeded | StepStatus::Undoing => NodeState::Done,
            StepStatus::Rejected => NodeState::Rejected,
            StepStatus::Undone => NodeState::Undone,
            StepStatus::Skipped => NodeState::Skipped,
        };
        let participant = table
            .step(view.name)
            .map(|plan| plan.participant.to_owned());
        let is_last_sent = !matches!(view.status, StepStatus::Undoing | StepStatus::Undone);
        Node {
            id: format!("step:{}", view.name),
            kind: NodeKind::Step,
            label: view.name.to_owned(),
            participant,
            state,
            attempts: Some(view.attempts).filter(|attempts| *attempts > 0 && is_last_sent),
            last_error: view.last_error.clone(),
        }
    }

    /// The step where it is, of a definition that this program does not have.
    fn current_only(&self) -> Vec<Node> {
        let here = |step: &String| Node {
            id: format!("step:{step}"),
            kind: NodeKind::Step,
            label: step.clone(),
            participant: None,
            state: match self.status {
                Some(Status::Parked) => NodeState::Parked,
                _ => NodeState::Current,
            },
            attempts: None,
            last_error: self.error.clone(),
        };
        self.current.iter().map(here).collect()
    }

    /// What undoes the steps, in the order in which it happens: none where nothing is undone.
    fn back(&self, table: &dyn Table, views: &[StepView]) -> Vec<Node> {
        if !self.is_back {
            return Vec::new();
        }
        let compensation = |view: &StepView| {
            let plan = table.step(view.name)?;
            let Undo::By { .. } = plan.undo else {
                return None;
            };
            let is_here = self.current.as_deref() == Some(view.name);
            let state = match view.status {
                _ if is_here && self.status == Some(Status::Parked) => NodeState::Parked,
                _ if is_here => NodeState::Current,
                StepStatus::Undoing => NodeState::Current,
                StepStatus::Undone => NodeState::Done,
                StepStatus::Succeeded if self.status != Some(Status::Compensated) => {
                    NodeState::Remaining
                }
                // It was refused, or its turn never came: there is nothing to undo.
                _ => return None,
            };
            let was_sent = matches!(view.status, StepStatus::Undoing | StepStatus::Undone);
            Some(Node {
                id: format!("undo:{}", view.name),
                kind: NodeKind::Compensation,
                label: format!("undo {}", view.name),
                participant: Some(plan.participant.to_owned()),
                state,
                attempts: Some(view.attempts).filter(|_| was_sent),
                last_error: None,
            })
        };
        views.iter().rev().filter_map(compensation).collect()
    }

    /// All of it, with a beginning and its ends.
    fn nodes(&self, forward: Vec<Node>, back: Vec<Node>) -> Vec<Node> {
        let plain = |id: &str, kind, state| Node {
            id: id.to_owned(),
            kind,
            label: id.to_owned(),
            participant: None,
            state,
            attempts: None,
            last_error: None,
        };
        let end = |is_reached, is_possible| match (is_reached, is_possible) {
            (true, _) => NodeState::Done,
            (false, true) => NodeState::Remaining,
            (false, false) => NodeState::Skipped,
        };
        let completed = end(self.status == Some(Status::Completed), !self.is_back);
        let mut nodes = vec![plain("begin", NodeKind::Begin, NodeState::Done)];
        nodes.extend(forward);
        nodes.push(plain("completed", NodeKind::Completed, completed));
        if self.is_back {
            nodes.extend(back);
            let compensated = end(self.status == Some(Status::Compensated), true);
            nodes.push(plain("compensated", NodeKind::Compensated, compensated));
        }
        nodes
    }
}

fn edges(nodes: &[Node]) -> Vec<Edge> {
    let is_back =
        |node: &&Node| matches!(node.kind, NodeKind::Compensation | NodeKind::Compensated);
    let forward: Vec<_> = nodes.iter().filter(|node| !is_back(node)).collect();
    let is_touched = |node: &Node| !matches!(node.state, NodeState::Remaining | NodeState::Skipped);
    let edge = |from: &Node, to: &Node, back| Edge {
        from: from.id.clone(),
        to: to.id.clone(),
        taken: is_touched(from) && is_touched(to),
        back,
    };
    let mut edges: Vec<_> = forward
        .windows(2)
        .map(|pair| edge(pair[0], pair[1], false))
        .collect();
    // It turned at the last station that it came to.
    let turned = forward.iter().rev().find(|node| is_touched(node)).copied();
    let back: Vec<_> = turned
        .into_iter()
        .chain(nodes.iter().filter(is_back))
        .collect();
    if back.len() > 1 {
        edges.extend(back.windows(2).map(|pair| edge(pair[0], pair[1], true)));
    }
    edges
}
