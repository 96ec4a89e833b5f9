//! What holds in every state, whatever happens.

use common::participant::idempotency::Direction;
use stateright::Property;

use super::{
    model::OneSaga,
    properties::{always, is_compensated, is_parked},
    world::{Message, World},
};
use crate::{state::State, table::StepPlan};

/// Nothing is silently stuck.
pub const ENDS: &str = "what comes to rest is completed, compensated or parked";
/// Nothing of a completed saga is missing, and nothing is there twice. Where an operator said that something is done, that
/// is theirs to know.
pub const COMPLETE: &str = "a completed saga has every effect exactly once";
/// Of a compensated saga, all that can be undone is undone, also what an operator skipped on the way forward. Where an
/// operator said that something is undone, that is theirs to know.
pub const CLEAN: &str = "a compensated saga that came to rest has no effect left";
/// Also where the action comes after its compensation.
pub const GONE: &str = "no effect survives its compensation";
/// Whatever comes twice, late, out of order or after a crash.
pub const ONCE: &str = "an effect is applied and undone at most once";
/// The CHECK of table `sagas`.
pub const ARMED: &str = "a saga has a deadline exactly while it is open";
/// The row is a cache of the log.
pub const FOLDS: &str = "folding the log gives the state";
/// No message is lost in silence: deadlines are there for what RabbitMQ or a participant loses, not for us.
pub const MOVES: &str = "what an open saga waits for is on its way, unless RabbitMQ lost it";
/// An operator is needed only for what nobody answers: a slow participant's answer ends the saga by itself.
pub const GOES_ON: &str = "a saga stays parked only if RabbitMQ lost something";
/// Nobody is even asked to.
pub const NEVER_UNDONE: &str = "a forward-only step is never undone";
/// Its command may have been heard, whatever else happened to it.
pub const NO_RETURN: &str = "nothing is undone once a forward-only step was asked for";

/// All of them.
pub(crate) fn all() -> Vec<Property<OneSaga>> {
    vec![
        always(ENDS, |_, world| !world.at_rest() || !world.saga.is_open()),
        always(COMPLETE, |_, world| {
            let mut steps = world.participants.iter();
            world.saga != State::Completed
                || world.said_done
                || steps.all(|step| step.applied == 1 && step.undone == 0)
        }),
        always(CLEAN, |model, world| {
            let is_end = world.at_rest() && is_compensated(world) && !world.said_undone;
            let mut steps = model.saga.steps.iter();
            !is_end || steps.all(|step| leaves_nothing(model, world, step))
        }),
        always(GONE, |model, world| {
            let mut steps = model.saga.steps.iter().map(|step| step.name);
            steps.all(|step| {
                let participant = model.participant(world, step);
                !participant.compensation || participant.held() == 0
            })
        }),
        always(ONCE, |_, world| {
            let mut steps = world.participants.iter();
            steps.all(|step| step.applied <= 1 && step.undone <= step.applied)
        }),
        always(ARMED, |_, world| world.armed == world.saga.is_open()),
        always(FOLDS, |_, world| world.folds),
        always(MOVES, |_, world| {
            let is_on_its_way = |command: Message| world.is_on_its_way(command.key());
            world.lost || world.awaits().is_none_or(is_on_its_way)
        }),
        always(GOES_ON, |_, world| {
            !is_parked(world) || !world.at_rest() || world.lost
        }),
        always(NEVER_UNDONE, |model, world| {
            let steps = model.saga.steps.iter();
            let mut names = steps.filter(|step| step.is_forward_only()).map(|s| s.name);
            names.all(|step| {
                let participant = model.participant(world, step);
                participant.undone == 0
                    && !participant.compensation
                    && !world.is_on_its_way((step, Direction::Compensation))
            })
        }),
        always(NO_RETURN, |_, world| {
            !world.past_return || world.saga.reason().is_none()
        }),
    ]
}

/// Whether nothing is left of a step that can be undone.
fn leaves_nothing(model: &OneSaga, world: &World, step: &StepPlan) -> bool {
    let is_undone = step.undone().is_some() || step.is_forward_only();
    !is_undone || model.participant(world, step.name).held() == 0
}
