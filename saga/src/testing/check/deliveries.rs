//! What is done with a delivery, and what is left undone by a process that dies.

use super::{
    bug::Bug,
    model::{Dies, OneSaga},
    participant::{AfterRefund, Hand, Intent, Outcome, Participant, Place, Stage, Verdict},
    world::{Message, World},
};
use crate::table::{StepPlan, Table};

impl OneSaga {
    /// Where `step` has its effect.
    pub(crate) fn place(&self, step: &str) -> Place {
        let mut gateways = self.gateways.iter();
        let gateway = gateways.find(|(name, _)| *name == step);
        gateway.map_or(Place::Database, |(_, after)| Place::Gateway(*after))
    }

    /// Whether the participant of `step` writes intents.
    pub(crate) fn has_intents(&self, step: &str) -> bool {
        let forgets = self.place(step) == Place::Gateway(AfterRefund::Charges);
        forgets && self.bug != Some(Bug::NoIntent)
    }

    /// The saga's table.
    pub(crate) fn table(&self) -> &dyn Table {
        &self.saga
    }

    /// Whether `step` is forward-only.
    pub(crate) fn is_forward_only(&self, step: &str) -> bool {
        let step = self.table().step(step);
        step.is_some_and(StepPlan::is_forward_only)
    }

    fn position(&self, step: &str) -> usize {
        let position = self.table().position(step);
        position.expect("messages name steps of the definition")
    }

    /// The participant that does `step`.
    pub(crate) fn participant<'a>(&self, world: &'a World, step: &str) -> &'a Participant {
        &world.participants[self.position(step)]
    }

    fn participant_mut<'a>(&self, world: &'a mut World, step: &str) -> &'a mut Participant {
        &mut world.participants[self.position(step)]
    }

    /// What a participant finds in its table about a command.
    pub(crate) fn recorded(&self, world: &World, command: Message) -> Option<Message> {
        let recorded = self.participant(world, command.step()).recorded(command);
        let is_outcome = matches!(recorded, Some(Message::Succeeded(_) | Message::Rejected(_)));
        let is_forgotten = match self.bug {
            Some(Bug::NoOutcome) => true,
            Some(Bug::ForwardOnlyRepeated) => self.is_forward_only(command.step()),
            _ => false,
        };
        recorded.filter(|_| !(is_outcome && is_forgotten))
    }

    /// The orchestrator handles a reply. `None`: nothing is changed by that.
    pub(crate) fn count(&self, world: &mut World, reply: Message, dies: Dies) -> Option<()> {
        match (dies, self.bug) {
            (Dies::BeforeCommit, Some(Bug::AckBeforeCommit)) => world.broker.remove(reply),
            (Dies::BeforeCommit, Some(Bug::CountedBeforeDecided)) => {
                if world.counted.contains(reply.key()) {
                    return None;
                }
                world.counted.add(reply.key());
            }
            // Nothing happened, or all that is to be published is in the outbox.
            (Dies::BeforeCommit | Dies::BeforePublish, _) => return None,
            _ => {
                world.count(self, reply);
                if dies == Dies::Never {
                    world.broker.remove(reply);
                }
            }
        }
        Some(())
    }

    /// A participant handles a command. `None`: nothing is changed by that.
    pub(crate) fn take(
        &self,
        world: &mut World,
        command: Message,
        verdict: Verdict,
        dies: Dies,
    ) -> Option<()> {
        if dies == Dies::BeforeCommit && self.bug != Some(Bug::AckBeforeCommit) {
            return None;
        }
        world.broker.remove(command);
        let step = command.step();
        let hand = self.participant(world, step).take(command);
        match (self.recorded(world, command), self.place(step), command) {
            (Some(reply), ..) => self.answer(world, hand, reply, dies),
            // A transaction that another one was faster than starts over: that is as good as one step.
            (None, Place::Database, _) => self.finish(world, hand, verdict, dies),
            (None, ..) if self.has_intents(step) => world.hands.add(hand),
            (None, Place::Gateway(_), Message::Act(_)) => world.hands.add(Hand {
                stage: Stage::Ready { asked: true },
                ..hand
            }),
            (None, Place::Gateway(after), _) => self.refund(world, hand, after),
        }
        Some(())
    }

    /// Whether a participant that found nothing recorded can go on. A payment waits while its refund is under way.
    pub(crate) fn can_intend(&self, world: &World, hand: Hand) -> bool {
        let participant = self.participant(world, hand.command.step());
        let waits = matches!(hand.command, Message::Act(_)) && participant.intent.closed;
        hand.stage == Stage::Found && !(waits && participant.action.is_none())
    }

    /// A participant writes the intent of a charge, unless its outcome is recorded meanwhile, or closes that of a charge
    /// that is to be refunded.
    pub(crate) fn intend(&self, world: &mut World, hand: Hand) {
        world.hands.remove(hand);
        let (step, bug) = (hand.command.step(), self.bug);
        let is_charge = matches!(hand.command, Message::Act(_));
        if is_charge
            && bug != Some(Bug::IntentUnchecked)
            && let Some(reply) = self.recorded(world, hand.command)
        {
            self.answer(world, hand, reply, Dies::Never);
            return;
        }
        let participant = self.participant_mut(world, step);
        let asked = if is_charge {
            participant.open();
            true
        } else {
            participant.close()
        };
        participant.intent.closed &= bug != Some(Bug::NotClosed);
        world.hands.add(Hand {
            stage: Stage::Ready { asked },
            ..hand
        });
    }

    /// A participant has its gateway charge, or settle and refund.
    pub(crate) fn call(&self, world: &mut World, hand: Hand, verdict: Verdict) {
        world.hands.remove(hand);
        let participant = self.participant_mut(world, hand.command.step());
        if hand.stage == (Stage::Ready { asked: true }) {
            participant.charge(verdict);
            if let Message::Compensate(_) = hand.command {
                participant.refund(AfterRefund::Charges);
            }
        }
        world.hands.add(Hand {
            stage: Stage::Called,
            ..hand
        });
    }

    /// A request that nobody waits for reaches the gateway.
    pub(crate) fn land(&self, world: &mut World, step: &str, verdict: Verdict) {
        self.participant_mut(world, step).charge(verdict);
    }

    fn refund(&self, world: &mut World, hand: Hand, after: AfterRefund) {
        self.participant_mut(world, hand.command.step())
            .refund(after);
        world.hands.add(Hand {
            stage: Stage::Called,
            ..hand
        });
    }

    /// The transaction that records what was done: it fails where another one has recorded it meanwhile.
    pub(crate) fn finish(&self, world: &mut World, hand: Hand, verdict: Verdict, dies: Dies) {
        world.hands.remove(hand);
        if dies == Dies::BeforeCommit {
            let step = hand.command.step();
            let forgets = self.place(step) == Place::Gateway(AfterRefund::Charges);
            // Where it is refused after the compensation, it changes nothing that another request does not.
            if forgets && hand.stage == (Stage::Ready { asked: true }) {
                self.participant_mut(world, step).give_up();
            }
            world.comes_again(hand, self.bug);
            return;
        }
        if let Some(reply) = self.recorded(world, hand.command) {
            // Somebody else was faster: starting over finds the reply.
            self.answer(world, hand, reply, dies);
            return;
        }
        let step = hand.command.step();
        let place = self.place(step);
        let has_raced = matches!(hand.command, Message::Compensate(_))
            && !hand.saw_action
            && self.participant(world, step).action.is_some();
        if let (true, Place::Gateway(after)) = (has_raced, place) {
            // The tombstone's key is taken by the action itself: starting over sees it.
            let hand = Hand {
                saw_action: true,
                stage: Stage::Found,
                ..hand
            };
            if self.has_intents(step) {
                world.hands.add(hand);
            } else {
                self.refund(world, hand, after);
            }
            return;
        }
        let bug = self.bug;
        let participant = self.participant_mut(world, step);
        participant.intent = Intent::default();
        let reply = if let Message::Act(_) = hand.command {
            let verdict = participant.verdict.unwrap_or(verdict);
            if place == Place::Database {
                participant.apply(verdict);
            }
            participant.act(step, verdict)
        } else {
            if place == Place::Database {
                participant.undo();
            }
            participant.compensation = true;
            if participant.action.is_none() && bug != Some(Bug::NoTombstone) {
                participant.action = Some(Outcome::Tombstone);
            }
            Message::Undone(step)
        };
        world.reply(hand, reply, dies, bug);
    }

    /// Says again what is recorded. What a gateway was made to do for a step that is undone, is undone again, where no
    /// intent has told the compensation of it.
    fn answer(&self, world: &mut World, hand: Hand, reply: Message, dies: Dies) {
        if let (Message::TooLate(step), Place::Gateway(after)) =
            (reply, self.place(hand.command.step()))
            && !self.has_intents(step)
        {
            self.participant_mut(world, step).refund(after);
        }
        world.reply(hand, reply, dies, self.bug);
    }
}

impl World {
    /// Publishes a reply and acks its command, unless the process dies before.
    fn reply(&mut self, hand: Hand, reply: Message, dies: Dies, bug: Option<Bug>) {
        if matches!(dies, Dies::Never | Dies::BeforeAck) {
            self.broker.add(reply);
        }
        if dies != Dies::Never {
            self.comes_again(hand, bug);
        }
    }

    /// The command in hand was not acked, so RabbitMQ delivers it again.
    fn comes_again(&mut self, hand: Hand, bug: Option<Bug>) {
        if hand.queued && bug != Some(Bug::AckBeforeCommit) {
            self.broker.add(hand.command);
        }
    }

    /// What is being worked at goes on, but is not delivered again.
    pub(crate) fn lose_everything(&mut self) {
        self.lost = true;
        self.broker.clear();
        let hands: Vec<_> = self.hands.iter().collect();
        self.hands.clear();
        for hand in hands {
            self.hands.add(Hand {
                queued: false,
                ..hand
            });
        }
    }
}
