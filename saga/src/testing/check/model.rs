//! What can happen to a saga, and what follows from it.

use common::contract::Reason;
use stateright::{Model, Property};

use super::{
    bug::Bug,
    measure::measure,
    orchestrator,
    participant::{AfterRefund, Hand, Place, Stage, Verdict},
    properties,
    world::{Left, Message, World},
};
use crate::{
    testing::plans::Plans,
    transition::Event,
    verb::{Intervention, Verb},
};

/// One saga, its participants, RabbitMQ between them, and all that may go wrong.
#[derive(Clone, Debug)]
pub(crate) struct OneSaga {
    /// The saga's table.
    pub(crate) saga: Plans,
    /// What the bug takes the saga's table for.
    pub(crate) mistaken: Plans,
    /// The steps whose participants have gateways, which do this with an action that was undone before it came. All
    /// other steps have their effect in their participant's database.
    pub(crate) gateways: Vec<(&'static str, AfterRefund)>,
    /// Whether messages that came too late to change anything are forgotten at once. They change nothing whenever
    /// they come, so that it saves states and hides nothing.
    pub(crate) forgets_stale: bool,
    /// What may happen that need not.
    pub(crate) left: Left,
    /// What is wrong.
    pub(crate) bug: Option<Bug>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The relay publishes a row of the outbox.
    Publish(Message),
    /// The program that runs the saga dies between commit and publish.
    DieBeforePublish,
    /// The orchestrator handles a reply.
    Count(Message, Dies),
    /// A participant looks up what is recorded about a command. If there is something, it answers. If there is
    /// nothing, it commits and answers, being free to accept or decline, or goes to its gateway.
    Take(Message, Verdict, Dies),
    /// A participant writes or closes an intent.
    Intend(Hand),
    /// A participant has the gateway charge, which is free to accept or decline; or settle and refund.
    Call(Hand, Verdict),
    /// A request to charge, by a participant that died or stopped waiting, reaches the gateway after all.
    Land(&'static str, Verdict),
    /// A participant that was at the gateway commits and answers.
    Finish(Hand, Dies),
    /// RabbitMQ delivers again what it has delivered, or the relay publishes again what it has published.
    Repeat(Message),
    /// A message becomes a dead letter that nobody redrives.
    Lose(Message),
    /// RabbitMQ loses all of its data.
    LoseEverything,
    /// The saga's deadline passes.
    TimePasses,
    /// The time for the whole saga is over.
    Expire,
    /// Somebody cancels it.
    Cancel,
    /// An operator intervenes.
    Intervene(Verb),
}

/// When the process dies that handles a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dies {
    /// It does not.
    Never,
    /// Nothing is committed, and the message comes again.
    BeforeCommit,
    /// The work is committed, nobody hears of it, and the message comes again.
    BeforePublish,
    /// All is done, and the message comes again.
    BeforeAck,
}

/// What an operator does that nobody else can. To abort is to cancel, and time may pass at any time.
const VERBS: [Verb; 4] = [
    Verb::Retry,
    Verb::Skip,
    Verb::ForceComplete,
    Verb::ForceCompensated,
];

const DEATHS: [Dies; 4] = [
    Dies::Never,
    Dies::BeforeCommit,
    Dies::BeforePublish,
    Dies::BeforeAck,
];

impl Model for OneSaga {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![orchestrator::start(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let faulty = world.left.faults > 0;
        actions.extend(world.outbox.distinct().map(Action::Publish));
        for message in world.broker.distinct() {
            if message.is_command() {
                self.takes(world, message, actions);
            } else {
                let dies = if faulty { &DEATHS[..] } else { &DEATHS[..1] };
                actions.extend(dies.iter().map(|dies| Action::Count(message, *dies)));
            }
            if faulty {
                actions.push(Action::Repeat(message));
                actions.push(Action::Lose(message));
            }
        }
        for hand in world.hands.distinct() {
            self.goes_on(world, hand, actions);
        }
        for step in self.saga.steps.iter().map(|step| step.name) {
            if self.participant(world, step).under_way {
                let verdicts = self.verdicts(world, step);
                actions.extend(verdicts.iter().map(|v| Action::Land(step, *v)));
            }
        }
        if faulty {
            actions.push(Action::DieBeforePublish);
            actions.push(Action::LoseEverything);
        }
        // Time stands still for a command that has not left the outbox.
        let unsent = |command| world.outbox.contains(command);
        if world.armed && !world.awaits().is_some_and(unsent) {
            actions.push(Action::TimePasses);
        }
        if world.armed && world.expires {
            actions.push(Action::Expire);
        }
        if world.left.cancellations > 0 {
            actions.push(Action::Cancel);
        }
        if world.left.interventions > 0 {
            actions.extend(VERBS.map(Action::Intervene));
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        if action.is_fault() {
            world.left.faults -= 1;
        }
        match action {
            Action::Publish(message) => {
                world.outbox.remove(message);
                world.broker.add(message);
            }
            Action::DieBeforePublish if self.bug == Some(Bug::NoOutbox) => world.outbox.clear(),
            // The rows are still there for the next process.
            Action::DieBeforePublish => return None,
            Action::Count(reply, dies) => self.count(&mut world, reply, dies)?,
            Action::Take(command, verdict, dies) => {
                self.take(&mut world, command, verdict, dies)?
            }
            Action::Intend(hand) => self.intend(&mut world, hand),
            Action::Call(hand, verdict) => self.call(&mut world, hand, verdict),
            Action::Land(step, verdict) => self.land(&mut world, step, verdict),
            Action::Finish(hand, dies) => self.finish(&mut world, hand, Verdict::Accepted, dies),
            Action::Repeat(message) => world.broker.add(message),
            Action::Lose(message) => {
                world.broker.remove(message);
                world.lost = true;
            }
            Action::LoseEverything => world.lose_everything(),
            Action::TimePasses => world.decide(self, &Event::DeadlinePassed),
            Action::Expire => world.decide(self, &Event::Expired),
            Action::Cancel => {
                world.left.cancellations -= 1;
                world.decide(self, &cancelled());
            }
            Action::Intervene(verb) => {
                world.left.interventions -= 1;
                let by = Intervention::default();
                world.decide(self, &Event::Intervened { verb, by });
            }
        }
        if self.forgets_stale {
            self.forget_stale(&mut world);
        }
        if matches!(action, Action::Cancel | Action::Intervene(_)) && world.saga == before.saga {
            // It was refused, or nothing was to be done.
            return None;
        }
        assert!(
            self.bug.is_some() || measure(&self.saga, &world) < measure(&self.saga, before),
            "{action:?} uses nothing up, so it could go on for ever in {before:?}"
        );
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl Action {
    const fn is_fault(self) -> bool {
        match self {
            Self::Count(_, dies) | Self::Take(_, _, dies) | Self::Finish(_, dies) => {
                !matches!(dies, Dies::Never)
            }
            Self::DieBeforePublish | Self::Repeat(_) | Self::Lose(_) | Self::LoseEverything => true,
            Self::Publish(_)
            | Self::Intend(_)
            | Self::Call(..)
            | Self::Land(..)
            | Self::TimePasses
            | Self::Expire
            | Self::Cancel
            | Self::Intervene(_) => false,
        }
    }
}

impl OneSaga {
    fn forget_stale(&self, world: &mut World) {
        let stale = |message: &Message| self.is_stale(world, *message);
        let stale: Vec<_> = world.broker.iter().filter(stale).collect();
        for message in stale {
            world.broker.remove(message);
        }
    }

    /// Whether `message` changes nothing whenever it comes: it is a reply that was counted, or a command whose only
    /// consequence would be such a reply.
    fn is_stale(&self, world: &World, message: Message) -> bool {
        let reply = if message.is_command() {
            self.recorded(world, message)
        } else {
            Some(message)
        };
        // A participant may have to go to its gateway once more.
        let is_counted = |reply: Message| world.counted.contains(reply.key());
        let is_answer =
            |reply: Message| !(message.is_command() && matches!(reply, Message::TooLate(_)));
        reply.is_some_and(|reply| is_counted(reply) && is_answer(reply))
    }

    /// What may be said to the action of `step`.
    fn verdicts(&self, world: &World, step: &str) -> &'static [Verdict] {
        let is_decided = self.participant(world, step).verdict.is_some();
        let step = self.table().step(step);
        let may_refuse = step.is_some_and(|step| step.rejected.is_some());
        if may_refuse && !is_decided {
            &[Verdict::Accepted, Verdict::Declined]
        } else {
            &[Verdict::Accepted]
        }
    }

    /// What can happen to a command that a participant is working at.
    fn goes_on(&self, world: &World, hand: Hand, actions: &mut Vec<Action>) {
        let faulty = world.left.faults > 0;
        match hand.stage {
            Stage::Found => {
                actions.extend(self.can_intend(world, hand).then_some(Action::Intend(hand)))
            }
            Stage::Ready { asked } => {
                let all = self.verdicts(world, hand.command.step());
                let verdicts = if asked { all } else { &all[..1] };
                actions.extend(verdicts.iter().map(|v| Action::Call(hand, *v)));
            }
            Stage::Called => {
                let dies = if faulty { &DEATHS[..] } else { &DEATHS[..1] };
                actions.extend(dies.iter().map(|dies| Action::Finish(hand, *dies)));
                return;
            }
        }
        actions.extend(faulty.then_some(Action::Finish(hand, Dies::BeforeCommit)));
    }

    /// What can happen to a command that comes to its participant.
    fn takes(&self, world: &World, command: Message, actions: &mut Vec<Action>) {
        let at_once = self.place(command.step()) == Place::Database;
        let is_recorded = self.recorded(world, command).is_some();
        let verdicts = match is_recorded {
            false if at_once && matches!(command, Message::Act(_)) => {
                self.verdicts(world, command.step())
            }
            _ => &[Verdict::Accepted],
        };
        // Who goes to the gateway may die after that.
        let may_die = world.left.faults > 0 && (is_recorded || at_once);
        let dies = if may_die { &DEATHS[..] } else { &DEATHS[..1] };
        for verdict in verdicts {
            actions.extend(
                dies.iter()
                    .map(|dies| Action::Take(command, *verdict, *dies)),
            );
        }
    }
}

fn cancelled() -> Event {
    Event::CancelRequested {
        reason: Reason::CUSTOMER_REQUEST,
        note: None,
    }
}
