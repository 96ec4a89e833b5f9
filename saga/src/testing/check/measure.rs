//! Why every run ends: each thing that happens uses something up.

use order_service::saga::{Definition, State, Step};

use crate::{
    participant::Hand,
    world::{Message, World},
};

/// More than all decisions between two retries can weigh.
const RETRY: usize = 10_000;
/// More than any message weighs.
const DECISION: usize = 10;

/// What is left to be used up. Everything that happens makes it smaller, so there are no cycles, and a run can only
/// stop where nothing can happen any more.
pub(crate) fn measure(saga: &Definition, world: &World) -> usize {
    let published: usize = world.broker.iter().map(weight).sum();
    // One more than in RabbitMQ.
    let unpublished: usize = world.outbox.iter().map(|message| weight(message) + 1).sum();
    let hands: usize = world.hands.iter().map(weight_in_hand).sum();
    let left = world.left;
    RETRY * usize::from(left.retries)
        + DECISION * decisions(saga, world.saga)
        + DECISION * usize::from(left.faults)
        + usize::from(left.cancellations)
        + published
        + unpublished
        + hands
}

/// Decisions that there are at most from `state` to an end, without retries.
fn decisions(saga: &Definition, state: State) -> usize {
    let undo: usize = saga.steps.iter().map(back).sum();
    let forward = |from| saga.steps[from..].iter().map(ahead).sum::<usize>();
    let upto = |step| saga.steps[..=step].iter().map(back).sum::<usize>();
    let position = |name| saga.steps.iter().position(|step| step.name == name);
    let at = state.step().and_then(position).unwrap_or_default();
    let attempts = state.attempt() as usize;
    match state {
        State::Running { .. } => forward(at) + undo + 1 - attempts,
        State::Completed => undo + 1,
        State::Compensating { .. } => upto(at) + 1 - attempts,
        State::Parked { .. } => upto(at) + 1 - back(&saga.steps[at]),
        State::Compensated { .. } => 0,
    }
}

fn ahead(step: &Step) -> usize {
    step.action.attempts as usize
}

/// Its attempts, and its end.
fn back(step: &Step) -> usize {
    step.compensation.attempts as usize + 1
}

/// A command is taken and answered, with whatever the hand that it is in may have to do.
const fn weight(message: Message) -> usize {
    if message.is_command() { 6 } else { 1 }
}

const fn weight_in_hand(hand: Hand) -> usize {
    let to_finish = if hand.called { 2 } else { 3 };
    let to_start_over = if hand.saw_action { 0 } else { 2 };
    to_finish + to_start_over
}
