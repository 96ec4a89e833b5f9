//! Why every run ends: each thing that happens uses something up.

use super::{
    participant::{Hand, Stage},
    world::{Message, World},
};
use crate::{
    state::State,
    table::{StepPlan, Table, Undo},
    testing::plans::Plans,
};

/// More than all decisions between two interventions can weigh.
const INTERVENTION: usize = 10_000;
/// More than any message weighs.
const DECISION: usize = 10;

/// What is left to be used up. Everything that happens makes it smaller, so there are no cycles, and a run can only
/// stop where nothing can happen any more.
pub(crate) fn measure(saga: &Plans, world: &World) -> usize {
    let published: usize = world.broker.iter().map(weight).sum();
    // One more than in RabbitMQ.
    let unpublished: usize = world.outbox.iter().map(|message| weight(message) + 1).sum();
    let hands: usize = world.hands.iter().map(weight_in_hand).sum();
    let requests = world.participants.iter().filter(|one| one.under_way);
    let left = world.left;
    INTERVENTION * usize::from(left.interventions)
        + DECISION * decisions(saga, world.saga)
        + DECISION * usize::from(left.faults)
        + usize::from(left.cancellations)
        + published
        + unpublished
        + hands
        + requests.count()
}

/// Decisions that there are at most from `state` to an end, without interventions.
fn decisions(saga: &Plans, state: State) -> usize {
    let undo: usize = saga.steps.iter().map(back).sum();
    let forward = |from: usize| saga.steps[from..].iter().map(ahead).sum::<usize>();
    let upto = |step: usize| saga.steps[..=step].iter().map(back).sum::<usize>();
    let table: &dyn Table = saga;
    let at = state.step().and_then(|step| table.position(step));
    let at = at.unwrap_or_default();
    let attempts = state.attempt() as usize;
    match state {
        State::Running { .. } => forward(at) + undo + 2 - attempts,
        // Its step may still succeed.
        State::Parked { reason: None, .. } => forward(at + 1) + undo + 2,
        State::Completed => undo + 1,
        State::Compensating { .. } => upto(at) + 1 - attempts,
        State::Parked { .. } => upto(at) + 1 - back(&saga.steps[at]),
        State::Compensated { .. } => 0,
    }
}

/// Its attempts, and its end.
fn ahead(step: &StepPlan) -> usize {
    step.tries.attempts as usize + 1
}

/// The attempts of its compensation, and their end.
fn back(step: &StepPlan) -> usize {
    match step.undo {
        Undo::By { tries, .. } => tries.attempts as usize + 1,
        Undo::Nothing | Undo::Never => 0,
    }
}

/// A command is taken and answered, with whatever the hand that it is in may have to do.
const fn weight(message: Message) -> usize {
    if message.is_command() { 8 } else { 1 }
}

const fn weight_in_hand(hand: Hand) -> usize {
    let to_finish = match hand.stage {
        Stage::Found => 4,
        Stage::Ready { .. } => 3,
        Stage::Called => 2,
    };
    let to_start_over = if hand.saw_action { 0 } else { 3 };
    to_finish + to_start_over
}
