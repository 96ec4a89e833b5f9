//! Flow control: a command goes out while its participant takes commands, and waits in the outbox while it does not.
//!
//! ```text
//! open ── its queue is full, or has had no consumer for a while ──► closed ── half empty ──► draining ──► open
//!   commands are handed over                    they stay in the outbox       the sweep sends them, in order
//! ```
//!
//! What is in a queue is beyond recall: its deadline passes there, and it is done however late. So only so much is let
//! in that it is done in time; and for what waits in the outbox, time stands still. Every replica looks at the queues by
//! itself, so that none has to know of the others. An operator can close the way to a participant, too.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{route::Held, table::Table};
use crate::{
    amqp::{Broker, Destination, Lane, Message, QueueState, consumer::PREFETCH},
    contract::topology,
    metrics::{COMMANDS_WAITING, HELD_BACK},
    watchdog::Turns,
};

/// How often the queues are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long nobody consumes a queue before its participant counts as absent: longer than it takes to start again.
const ABSENT_AFTER: Duration = Duration::from_secs(5);

/// For how long a participant that is behind may have taken commands ahead.
const AHEAD: Duration = Duration::from_secs(5);

/// Whether commands can go out. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: RwLock<HashMap<String, Participant>>,
    /// Whether commands to anybody have to wait: mostly, this is all that has to be looked at.
    holds: AtomicBool,
    /// There is room for what has waited.
    room: Notify,
}

/// What is known of a participant.
#[derive(Debug)]
struct Participant {
    state: State,
    /// Commands in one AMQP message of late: queues count these.
    batch: f64,
    /// How many more the sweep may send before its queue is looked at again. What is new comes by itself, as fast as
    /// orders do.
    room: i64,
    /// How many have gone out since it was looked at, when that was, and how many waited then.
    sent: u64,
    looked_at: Instant,
    waiting: f64,
    /// Commands that it takes in a second, of late.
    rate: f64,
    /// Since when nobody consumes what is in its queue.
    absent_since: Option<Instant>,
    /// How long the oldest command has waited in the outbox, while the state is not open.
    waited: Duration,
}

impl Default for Participant {
    fn default() -> Self {
        Self {
            state: State::Open,
            batch: 1.0,
            room: i64::MAX,
            sent: 0,
            looked_at: Instant::now(),
            waiting: 0.0,
            rate: 0.0,
            absent_since: None,
            waited: Duration::ZERO,
        }
    }
}

impl Participant {
    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Takes note of how many commands wait.
    fn count(&mut self, waiting: f64) {
        let seconds = self.looked_at.elapsed().as_secs_f64().max(0.001);
        let taken = (self.waiting + self.sent as f64 - waiting).max(0.0);
        self.rate += (taken / seconds - self.rate) / 4.0;
        (self.waiting, self.sent, self.looked_at) = (waiting, 0, Instant::now());
    }

    /// Takes note of how long the oldest command in the outbox has waited. Where none does, whoever was draining is open.
    fn waits(&mut self, participant: &str, waited: Option<Duration>) {
        self.waited = waited.unwrap_or_default();
        if waited.is_none() && self.state == State::Draining {
            self.state = State::Open;
            info!(participant, "commands go out again");
        }
    }

    /// How many commands may share an AMQP message while it is behind. It takes some ahead, counted in these: that is to be
    /// what it does in some seconds.
    fn batch_max(&self) -> usize {
        ((self.rate * AHEAD.as_secs_f64() / f64::from(PREFETCH)) as usize).max(1)
    }
}

/// Whether commands to a participant can go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The sweep sends what has waited, before anything new goes out.
    Draining,
    Closed(Why),
}

/// Why commands do not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
enum Why {
    #[strum(to_string = "nobody consumes them")]
    Absent,
    #[strum(to_string = "its queue is full")]
    Full,
    #[strum(to_string = "an operator has paused it")]
    Paused,
}

impl Flow {
    /// Whether what is for `destination` can be handed over.
    pub(super) fn is_open(&self, destination: &Destination) -> bool {
        if !self.0.holds.load(Ordering::Relaxed) {
            return true;
        }
        let known = self.read();
        let participant = destination.participant();
        let participant = participant.and_then(|participant| known.get(participant));
        participant.is_none_or(Participant::is_open)
    }

    /// Why commands to `participant` stay in the outbox, if they do.
    pub(super) fn held(&self, participant: &str) -> Option<Held> {
        match self.read().get(participant)?.state {
            State::Open => None,
            State::Draining => Some(Held::Behind),
            State::Closed(Why::Absent) => Some(Held::Absent),
            State::Closed(Why::Full) => Some(Held::Full),
            State::Closed(Why::Paused) => Some(Held::Paused),
        }
    }

    /// Ends when there is room for what has waited.
    pub(super) async fn has_room(&self) {
        self.0.room.notified().await;
    }

    /// How many messages the sweep may send to `destination` at once, and how many commands may share an AMQP message
    /// where their participant is behind.
    pub(super) fn room(&self, destination: &Destination) -> (i64, Option<usize>) {
        let known = self.read();
        let participant = destination.participant();
        match participant.and_then(|participant| known.get(participant)) {
            Some(one) if matches!(one.state, State::Closed(_)) => (0, None),
            Some(one) if one.state == State::Draining => (one.room.max(0), Some(one.batch_max())),
            Some(one) => (one.room.max(0), None),
            None => (i64::MAX, None),
        }
    }

    /// Takes note of what is published at once, in AMQP messages of up to `batch_max` commands.
    pub(super) fn published(&self, messages: &[Message], batch_max: usize) {
        let mut counts: Vec<(&str, u64)> = Vec::new();
        for participant in messages
            .iter()
            .filter_map(|one| one.destination().participant())
        {
            match counts.iter_mut().find(|(name, _)| *name == participant) {
                Some((_, count)) => *count += 1,
                None => counts.push((participant, 1)),
            }
        }
        if counts.is_empty() {
            return;
        }
        self.write(|known| {
            for (participant, count) in counts {
                let batch = count as f64 / count.div_ceil(batch_max as u64) as f64;
                let one = known.entry(participant.to_owned()).or_default();
                one.batch += (batch - one.batch) / 8.0;
                one.room = one.room.saturating_sub_unsigned(count);
                one.sent += count;
            }
        });
    }

    /// The sweep found nothing more to send to `destination`: if it was draining, it is open.
    pub(super) fn drained(&self, destination: &Destination) {
        let Some(participant) = destination.participant() else {
            return;
        };
        self.write(|known| {
            if let Some(one) = known.get_mut(participant) {
                one.waits(participant, None);
            }
        });
    }

    /// How long the oldest command to one of `participants` has waited, because they do not take it.
    pub(super) fn waited(&self, participants: &[&str]) -> Duration {
        let known = self.read();
        let waited = participants.iter().filter_map(|one| known.get(*one));
        waited.map(|one| one.waited).max().unwrap_or_default()
    }

    /// Looks at the queues until `shutdown`.
    pub(super) async fn watch(&self, broker: &Broker, table: &Table, shutdown: &CancellationToken) {
        let mut turns = Turns::new(LOOK_EVERY, shutdown.clone());
        let mut turn = 0_u32;
        while turns.next().await {
            self.report();
            if !broker.is_connected(Lane::Saga) {
                continue;
            }
            turn += 1;
            let max = broker.commands_waiting_max();
            for participant in self.in_question(max, turn) {
                let queue = topology::commands_queue(&participant);
                if let Some(seen) = broker.look(&queue).await {
                    self.saw(&participant, seen, max);
                }
            }
            let held = self.names(|one| !one.is_open());
            if !held.is_empty() {
                // Where the database does not tell, they have waited for as long as they had.
                let Ok(waited) = table.waited(&held).await else {
                    continue;
                };
                self.write(|known| {
                    for participant in held {
                        // Another replica may have sent what has waited, so no sweep of this one finds anything.
                        if let Some(one) = known.get_mut(&participant) {
                            one.waits(&participant, waited.get(&participant).copied());
                        }
                    }
                });
            }
        }
    }

    /// Takes note of the participants that operators have paused, and of those that they have not.
    pub(super) fn pause(&self, paused: &[String]) {
        let is_held = self.names(|one| one.state == State::Closed(Why::Paused));
        if paused.is_empty() && is_held.is_empty() {
            return;
        }
        self.write(|known| {
            for participant in paused {
                let one = known.entry(participant.clone()).or_default();
                if one.state != State::Closed(Why::Paused) {
                    one.state = State::Closed(Why::Paused);
                    warn!(participant, why = %Why::Paused, "commands stay in the outbox");
                }
            }
            for participant in is_held.iter().filter(|one| !paused.contains(one)) {
                if let Some(one) = known.get_mut(participant) {
                    one.state = State::Draining;
                    info!(participant, "an operator has resumed it");
                    self.0.room.notify_one();
                }
            }
        });
    }

    /// Whose queue is to be looked at: at each turn where it matters, else at every fourth.
    fn in_question(&self, max: u32, turn: u32) -> Vec<String> {
        let matters =
            |one: &Participant| !one.is_open() || one.room <= 0 || one.sent > u64::from(max) / 8;
        self.names(|one| matters(one) || turn.is_multiple_of(4))
    }

    fn saw(&self, participant: &str, seen: QueueState, max: u32) {
        self.write(|known| {
            let Some(one) = known.get_mut(participant) else {
                return;
            };
            let is_absent = seen.messages > 0 && seen.consumers == 0;
            let since = one.absent_since.unwrap_or_else(Instant::now);
            one.absent_since = is_absent.then_some(since);
            let waiting = f64::from(seen.messages) * one.batch;
            let max = f64::from(max);
            let had_room = one.room > 0;
            one.room = (max - waiting).ceil() as i64;
            one.count(waiting);
            let next = match one.state {
                State::Closed(Why::Paused) => one.state,
                _ if is_absent && since.elapsed() >= ABSENT_AFTER => State::Closed(Why::Absent),
                _ if waiting >= max => State::Closed(Why::Full),
                State::Closed(Why::Full) if waiting > max / 2.0 => one.state,
                State::Closed(Why::Absent) if is_absent => one.state,
                State::Closed(_) => State::Draining,
                State::Open | State::Draining => one.state,
            };
            COMMANDS_WAITING.set(&[participant], waiting);
            if let (State::Open, State::Closed(why)) = (one.state, next) {
                warn!(participant, %why, "commands stay in the outbox");
            }
            one.state = next;
            if one.room > 0 && (next == State::Draining || !had_room) {
                self.0.room.notify_one();
            }
        });
    }

    /// Tells metrics who is held back, and why.
    fn report(&self) {
        for (participant, one) in self.read().iter() {
            let is = |state| f64::from(u8::from(one.state == state));
            for (why, state) in [
                ("absent", State::Closed(Why::Absent)),
                ("full", State::Closed(Why::Full)),
                ("paused", State::Closed(Why::Paused)),
                ("behind", State::Draining),
            ] {
                HELD_BACK.set(&[participant, why], is(state));
            }
        }
    }

    /// The participants of which `is_meant` says so.
    fn names(&self, is_meant: impl Fn(&Participant) -> bool) -> Vec<String> {
        let known = self.read();
        let meant = known.iter().filter(|(_, one)| is_meant(one));
        meant.map(|(name, _)| name.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Participant>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, change: impl FnOnce(&mut HashMap<String, Participant>) -> T) -> T {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut known);
        let holds = known.values().any(|one| !one.is_open());
        self.0.holds.store(holds, Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::contract::{Envelope, OrderId, Reason, payment::RefundPayment};

    const MAX: u32 = 100;

    fn command() -> Message {
        let refund = RefundPayment {
            order_id: OrderId::generate(),
            reason: Reason::ALREADY_COMPENSATED,
        };
        Message::command("payment", Envelope::new("a test", "an order", &refund))
    }

    fn seen(messages: u32, consumers: u32) -> QueueState {
        QueueState {
            messages,
            consumers,
        }
    }

    fn payment() -> Destination {
        Destination::new(topology::COMMANDS, "payment")
    }

    fn is_open(flow: &Flow) -> bool {
        flow.is_open(&payment())
    }

    fn room(flow: &Flow) -> i64 {
        flow.room(&payment()).0
    }

    fn flow() -> (Flow, Message) {
        let (flow, command) = (Flow::default(), command());
        assert!(is_open(&flow));
        flow.published(std::slice::from_ref(&command), 64);
        (flow, command)
    }

    #[test]
    fn a_full_queue_is_sent_nothing_until_it_is_half_empty_and_then_the_oldest_first() {
        let (flow, _) = flow();
        flow.saw("payment", seen(99, 1), MAX);
        assert!(is_open(&flow));
        flow.saw("payment", seen(100, 1), MAX);
        assert!(!is_open(&flow));
        assert_eq!(flow.held("payment"), Some(Held::Full));
        assert_eq!(room(&flow), 0);
        flow.saw("payment", seen(51, 1), MAX);
        assert_eq!(room(&flow), 0);
        flow.saw("payment", seen(50, 1), MAX);
        assert!(room(&flow) > 0, "the sweep may send");
        assert!(!is_open(&flow), "what is new waits behind the old");
        assert_eq!(flow.held("payment"), Some(Held::Behind));
        flow.drained(&payment());
        assert!(is_open(&flow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_participant_that_does_not_consume_is_sent_nothing_after_a_while() {
        let (flow, _) = flow();
        flow.saw("payment", seen(0, 0), MAX);
        advance(ABSENT_AFTER).await;
        flow.saw("payment", seen(1, 0), MAX);
        assert!(is_open(&flow), "nothing has waited so far");
        advance(ABSENT_AFTER - LOOK_EVERY).await;
        flow.saw("payment", seen(1, 0), MAX);
        assert!(is_open(&flow), "it may be starting again");
        advance(LOOK_EVERY).await;
        flow.saw("payment", seen(1, 0), MAX);
        assert!(!is_open(&flow));
        assert_eq!(flow.held("payment"), Some(Held::Absent));
        flow.saw("payment", seen(1, 1), MAX);
        assert!(room(&flow) > 0);
        flow.drained(&payment());
        assert!(is_open(&flow));
    }

    #[test]
    fn who_is_paused_is_sent_nothing_until_somebody_resumes_it() {
        let flow = Flow::default();
        flow.pause(&["payment".to_owned()]);
        assert!(!is_open(&flow), "also where nothing was ever sent to it");
        assert_eq!(flow.held("payment"), Some(Held::Paused));
        flow.saw("payment", seen(0, 1), MAX);
        assert_eq!(room(&flow), 0);
        assert!(flow.is_open(&Destination::new(topology::COMMANDS, "inventory")));
        flow.pause(&[]);
        assert_eq!(flow.held("payment"), Some(Held::Behind));
        assert!(room(&flow) > 0, "the sweep may send");
        flow.drained(&payment());
        assert!(is_open(&flow));
    }

    #[test]
    fn the_sweep_sends_no_more_between_two_looks_than_there_is_room_for() {
        let (flow, command) = flow();
        flow.saw("payment", seen(90, 1), MAX);
        let some: Vec<_> = (0..10).map(|_| command.clone()).collect();
        flow.published(&some, 1);
        assert_eq!(room(&flow), 0);
        assert!(is_open(&flow), "what is new does not wait for that");
        flow.saw("payment", seen(0, 1), MAX);
        assert!(room(&flow) > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_gets_few_commands_in_a_message() {
        for (taken_at_once, batch_max) in [(1, 1), (20, 1), (400, 20)] {
            let (flow, command) = flow();
            let many: Vec<_> = (0..taken_at_once).map(|_| command.clone()).collect();
            flow.saw("payment", seen(MAX, 1), MAX);
            flow.saw("payment", seen(1, 1), MAX);
            for _ in 0..50 {
                flow.published(&many, 1);
                advance(LOOK_EVERY).await;
                flow.saw("payment", seen(1, 1), MAX);
            }
            let (room, batch) = flow.room(&payment());
            assert_eq!(room, i64::from(MAX) - 1);
            assert_eq!(batch, Some(batch_max));
        }
    }

    #[test]
    fn a_message_counts_as_so_many_commands_as_it_has_of_late() {
        let (flow, command) = flow();
        let many: Vec<_> = (0..256).map(|_| command.clone()).collect();
        for _ in 0..50 {
            flow.published(&many, 64);
        }
        flow.saw("payment", seen(1, 1), MAX);
        assert!(is_open(&flow));
        flow.saw("payment", seen(2, 1), MAX);
        assert!(!is_open(&flow));
    }
}
