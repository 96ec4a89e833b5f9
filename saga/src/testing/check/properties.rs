//! What must hold in every state, and what must be possible in some.

use common::participant::idempotency::Direction;
use order_service::saga::State;
use stateright::Property;

use crate::{
    model::OneSaga,
    participant::{AfterRefund, Outcome, Place},
    world::{Message, World},
};

/// Nothing is silently stuck.
pub(crate) const ENDS: &str = "what comes to rest is completed, compensated or parked";
/// Nothing of a completed saga is missing, and nothing is there twice.
pub(crate) const COMPLETE: &str = "a completed saga has every effect exactly once";
/// Nothing of a compensated saga is left.
pub(crate) const CLEAN: &str = "a compensated saga that came to rest has no effect left";
/// Also where the action comes after its compensation.
pub(crate) const GONE: &str = "no effect survives its compensation";
/// Whatever comes twice, late, out of order or after a crash.
pub(crate) const ONCE: &str = "an effect is applied and undone at most once";
/// The CHECK of table `sagas`.
pub(crate) const ARMED: &str = "a saga has a deadline exactly while it is open";
/// The row is a cache of the log.
pub(crate) const FOLDS: &str = "folding the log gives the state";
/// No message is lost in silence: deadlines are there for what RabbitMQ or a participant loses, not for us.
pub(crate) const MOVES: &str = "what an open saga waits for is on its way, unless RabbitMQ lost it";
/// An operator is needed only for what nobody answers: a slow participant's answer ends the saga by itself.
pub(crate) const GOES_ON: &str = "a saga stays parked only if RabbitMQ lost something";

/// What always holds, and what sometimes happens, so that the former means something.
pub(crate) fn all(model: &OneSaga) -> Vec<Property<OneSaga>> {
    let mut all = guarantees();
    all.extend(possible());
    if model.left.cancellations > 0 {
        all.push(sometimes(
            "a saga is undone after all succeeded",
            |model, world| {
                let mut steps = model
                    .saga
                    .steps
                    .iter()
                    .map(|step| (step.name, Direction::Action));
                steps.all(|key| world.counted.contains(key))
                    && world.participants.iter().all(|step| step.held() == 1)
                    && matches!(world.saga, State::Compensating { .. })
            },
        ));
    }
    if model.left.retries > 0 {
        all.push(sometimes(
            "a parked saga is compensated after a retry",
            |model, world| is_compensated(world) && world.left.retries < model.left.retries,
        ));
    }
    if model.loses && model.left.faults > 0 {
        all.push(sometimes("a saga stays parked", |_, world| {
            is_parked(world) && world.at_rest()
        }));
    }
    if !model.forgets_stale {
        all.push(sometimes("a reply comes that was counted", |_, world| {
            let mut replies = world.broker.iter().filter(|message| !message.is_command());
            replies.any(|reply| world.counted.contains(reply.key()))
        }));
    }
    all
}

/// What always holds.
pub(crate) fn guarantees() -> Vec<Property<OneSaga>> {
    vec![
        always(ENDS, |_, world| !world.at_rest() || !world.saga.is_open()),
        always(COMPLETE, |_, world| {
            let mut steps = world.participants.iter();
            world.saga != State::Completed
                || steps.all(|step| step.applied == 1 && step.undone == 0)
        }),
        always(CLEAN, |_, world| {
            let is_end = world.at_rest() && is_compensated(world);
            !is_end || world.participants.iter().all(|step| step.held() == 0)
        }),
        always(GONE, |model, world| {
            let mut steps = model.saga.steps.iter().map(|step| step.name);
            steps.all(|step| is_gone(model, world, step))
        }),
        always(ONCE, |_, world| {
            let mut steps = world.participants.iter();
            steps.all(|step| step.applied <= 1 && step.undone <= step.applied)
        }),
        always(ARMED, |_, world| world.armed == world.saga.is_open()),
        always(FOLDS, |_, world| world.folds),
        always(GOES_ON, |_, world| {
            !is_parked(world) || !world.at_rest() || world.lost
        }),
        always(MOVES, |_, world| {
            let is_on_its_way = |command: Message| world.is_on_its_way(command.key());
            world.lost || world.awaits().is_none_or(is_on_its_way)
        }),
    ]
}

fn possible() -> [Property<OneSaga>; 6] {
    [
        sometimes("a saga completes", |_, world| {
            world.saga == State::Completed
        }),
        sometimes("a saga is compensated after an effect", |_, world| {
            is_compensated(world) && world.participants.iter().any(|step| step.undone > 0)
        }),
        sometimes("a saga is parked", |_, world| is_parked(world)),
        sometimes(
            "a success comes late: its step is being undone",
            |_, world| {
                let success = |step| world.broker.contains(Message::Succeeded(step));
                matches!(world.saga, State::Compensating { step, .. } if success(step))
            },
        ),
        sometimes(
            "a success comes after the command was sent again",
            |_, world| {
                let success = |step| world.broker.contains(Message::Succeeded(step));
                matches!(world.saga, State::Running { step, attempt: 2 } if success(step))
            },
        ),
        sometimes("a command runs into a tombstone", |_, world| {
            let is_too_late = |message| matches!(message, Message::TooLate(_));
            world.broker.iter().any(is_too_late)
        }),
    ]
}

type Condition = fn(&OneSaga, &World) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<OneSaga> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<OneSaga> {
    Property::sometimes(name, condition)
}

fn is_parked(world: &World) -> bool {
    matches!(world.saga, State::Parked { .. })
}

fn is_compensated(world: &World) -> bool {
    matches!(world.saga, State::Compensated { .. })
}

/// A gateway that charges after a refund is asked for the refund again by who had it charge.
fn is_gone(model: &OneSaga, world: &World, step: &'static str) -> bool {
    let participant = model.participant(world, step);
    let is_asked_again = model.place(step) == Place::Gateway(AfterRefund::Charges)
        && participant.action == Some(Outcome::Tombstone)
        && world.is_on_its_way((step, Direction::Action));
    !participant.compensation || participant.held() == 0 || is_asked_again
}
