//! What is looked at in every state: that the guarantees hold, and that what they are about can happen at all.

use common::participant::idempotency::Direction;
use stateright::Property;

use super::{
    guarantees,
    model::OneSaga,
    orchestrator::REFUSED,
    participant::Outcome,
    world::{Message, World},
};
use crate::state::{State, What};

type Condition = fn(&OneSaga, &World) -> bool;

/// What always holds, and what sometimes happens, so that the former means something.
pub(crate) fn all(model: &OneSaga) -> Vec<Property<OneSaga>> {
    let possible = possible(model).into_iter();
    let possible = possible.filter(|(can_happen, ..)| *can_happen);
    let possible = possible.map(|(_, name, condition)| Property::sometimes(name, condition));
    guarantees::all().into_iter().chain(possible).collect()
}

/// What can happen to a saga of this shape within these bounds.
fn possible(model: &OneSaga) -> Vec<(bool, &'static str, Condition)> {
    let saga = &model.saga;
    let mut all = vec![
        (true, "a saga completes", completes as Condition),
        (
            saga.any(|step| step.tries.attempts > 1),
            "a success comes after the command was sent again",
            |_, world| matches!(world.saga, State::Running { step, attempt: 2 } if succeeds(world, step)),
        ),
        (
            saga.any(|step| step.rejected.is_some()),
            "a refused saga is compensated",
            |_, world| world.saga == State::Compensated { reason: REFUSED },
        ),
        (
            saga.expires_after.is_some(),
            "the time for the whole saga is over",
            |_, world| {
                let mut log = world.log.0.iter();
                log.any(|entry| entry.what == What::SagaExpired {})
            },
        ),
        (
            model.left.cancellations > 0 && !saga.has_point_of_no_return(),
            "a saga is undone after all succeeded",
            |model, world| {
                let mut steps = model
                    .saga
                    .steps
                    .iter()
                    .map(|step| (step.name, Direction::Action));
                steps.all(|key| world.counted.contains(key))
                    && world.participants.iter().all(|step| step.held() == 1)
                    && world.saga.reason().is_some()
            },
        ),
        (
            model.left.faults > 0 && (saga.has_way_back() || saga.has_point_of_no_return()),
            "a saga stays parked",
            |_, world| is_parked(world) && world.at_rest(),
        ),
        (
            !model.forgets_stale,
            "a reply comes that was counted",
            |_, world| {
                let mut replies = world.broker.iter().filter(|message| !message.is_command());
                replies.any(|reply| world.counted.contains(reply.key()))
            },
        ),
    ];
    if saga.has_way_back() {
        all.extend(back(model));
    }
    if saga.has_point_of_no_return() {
        all.extend(forward(model));
    }
    all
}

/// What can happen on the way back.
fn back(model: &OneSaga) -> [(bool, &'static str, Condition); 6] {
    [
        (
            model
                .saga
                .any(|step| step.undone().is_some() && model.has_intents(step.name)),
            "an effect that nobody recorded is undone",
            |_, world| {
                let mut steps = world.participants.iter();
                steps.any(|step| step.undone > 0 && step.action == Some(Outcome::Tombstone))
            },
        ),
        (true, "a saga is compensated after an effect", |_, world| {
            is_compensated(world) && world.participants.iter().any(|step| step.undone > 0)
        }),
        (
            true,
            "a success comes late: its step is being undone",
            |_, world| matches!(world.saga, State::Compensating { step, .. } if succeeds(world, step)),
        ),
        (true, "a command runs into a tombstone", |_, world| {
            let is_too_late = |message| matches!(message, Message::TooLate(_));
            world.broker.iter().any(is_too_late)
        }),
        (true, "a saga is parked on its way back", |_, world| {
            is_parked(world) && world.saga.reason().is_some()
        }),
        (
            model.left.interventions > 0,
            "a parked saga is compensated after a retry",
            |model, world| {
                is_compensated(world) && world.left.interventions < model.left.interventions
            },
        ),
    ]
}

/// What can happen behind the point of no return.
fn forward(model: &OneSaga) -> [(bool, &'static str, Condition); 3] {
    [
        (true, "a saga is parked on its way forward", |_, world| {
            is_parked(world) && world.past_return
        }),
        (
            true,
            "a success comes while its step is parked",
            |_, world| matches!(world.saga, State::Parked { step, reason: None } if succeeds(world, step)),
        ),
        (
            model.left.interventions > 0,
            "a parked saga completes after a retry",
            |model, world| {
                completes(model, world) && world.left.interventions < model.left.interventions
            },
        ),
    ]
}

pub(crate) fn always(name: &'static str, condition: Condition) -> Property<OneSaga> {
    Property::always(name, condition)
}

pub(crate) fn is_parked(world: &World) -> bool {
    matches!(world.saga, State::Parked { .. })
}

pub(crate) fn is_compensated(world: &World) -> bool {
    matches!(world.saga, State::Compensated { .. })
}

fn completes(_: &OneSaga, world: &World) -> bool {
    world.saga == State::Completed
}

fn succeeds(world: &World, step: &'static str) -> bool {
    world.broker.contains(Message::Succeeded(step))
}
