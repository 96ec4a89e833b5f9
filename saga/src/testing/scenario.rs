//! Stories about sagas, as tests that read as prose.

use std::{collections::HashSet, fmt, time::Duration};

use common::{
    contract::{Command, Envelope, Message, Reason},
    participant::idempotency::Direction,
};
use serde_json::Value;

use super::{
    sample::Sample,
    story::{Sent, Story},
};
use crate::{
    decision::Decision,
    definition::{Data, Definition},
    registry::Registry,
    state::{Entry, State},
    table::Table,
    transition::{Event, IllegalEvent},
    verb::{Intervention, Verb},
};

/// A story about one saga: what happens to it, and what has to follow.
///
/// Everything goes the way that it goes in production, from the reply's JSON to the command's, but for the database
/// and the broker; time passes only where the story says so. Each command that is sent has to be expected before
/// something else happens, and before the story ends.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
/// use std::time::Duration;
///
/// use saga::testing::Scenario;
///
/// const BOOK_TRIP: Definition<Trip> = Definition::new("book_trip", 1, &[book_flight(), book_room()]);
///
/// # fn main() {
/// let traveller = || "Ada".to_owned();
/// Scenario::of(&BOOK_TRIP, &Trip { traveller: traveller() })
///     .expect_command(&BookFlight { traveller: traveller() })
///     .reply(&FlightBooked { traveller: traveller() })
///     .expect_command(&BookRoom { traveller: traveller() })
///     .pass(Duration::from_secs(30))
///     .expect_command_again::<BookRoom>()
///     .reply(&RoomRefused { reason: BOOKED_UP })
///     .expect_command(&CancelFlight { traveller: traveller() })
///     .reply(&FlightCancelled { traveller: traveller() })
///     .expect_compensated(BOOKED_UP);
/// # }
/// ```
///
/// Every method panics where the story goes on in another way, and says what was expected, what came, and what is in
/// the log so far.
pub struct Scenario {
    registry: Registry,
    story: Story,
    /// The replies that were taken: each counts once.
    taken: HashSet<(&'static str, Direction)>,
    /// How many of the commands were expected.
    expected: usize,
    refused: Option<IllegalEvent>,
}

impl Scenario {
    /// A saga of this definition has begun, with `data`.
    #[track_caller]
    pub fn of<D: Data>(definition: &'static Definition<D>, data: &D) -> Self {
        let registry = Registry::alone(definition);
        let data = serde_json::value::to_raw_value(data);
        Self {
            registry: registry.unwrap_or_else(|error| panic!("{error}")),
            story: Story::begin(
                definition,
                data.unwrap_or_else(|error| panic!("the data cannot be stored as JSON: {error}")),
            ),
            taken: HashSet::new(),
            expected: 0,
            refused: None,
        }
    }

    /// Has replies read by a program that has all of these definitions.
    #[must_use]
    pub fn in_program(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// A participant answers the last of its commands that can be answered so.
    #[track_caller]
    pub fn reply<M: Message>(mut self, data: &M) -> Self {
        self.settle();
        let answers = |sent: &&Sent| {
            let told = sent.step.told(M::TYPE);
            told.is_some_and(|told| told.direction() == sent.direction)
        };
        let Some(sent) = self.story.sent.iter().rfind(answers) else {
            self.fail("a command that is answered with", &M::TYPE, &"none");
        };
        let (step, direction) = (sent.step.name, sent.direction);
        let reply = Envelope::new(sent.step.participant, &sent.envelope.subject, data);
        let reading = match self.registry.read(step, &reply) {
            Some(Ok(reading)) => reading,
            Some(Err(error)) => self.fail("a reply that can be read", &M::TYPE, &error),
            None => self.fail("a reply that the program knows", &M::TYPE, &"it does not"),
        };
        let Some(event) = reading.event(self.story.saga.definition, step, M::TYPE) else {
            self.fail(
                "a reply with a meaning to the saga",
                &M::TYPE,
                &"it has none",
            );
        };
        if self.taken.insert((step, direction)) {
            self.happen(&event);
        }
        self
    }

    /// Time passes: every deadline on the way passes too.
    #[track_caller]
    #[must_use]
    pub fn pass(mut self, duration: Duration) -> Self {
        self.settle();
        self.story.pass_until(self.story.clock + duration);
        self
    }

    /// The time for the whole saga is over. What would have been sent again until then is left out.
    #[track_caller]
    #[must_use]
    pub fn expire(mut self) -> Self {
        self.settle();
        let Some(at) = self.story.expires_at else {
            self.fail(
                "a saga whose time",
                &"can be over",
                &"it can take as long as it wants",
            );
        };
        self.story.clock = self.story.clock.max(at);
        self.happen(&Event::Expired);
        self
    }

    /// Somebody wants the saga undone.
    #[track_caller]
    #[must_use]
    pub fn cancel(mut self, reason: Reason) -> Self {
        self.settle();
        self.happen(&Event::CancelRequested { reason, note: None });
        self
    }

    /// An operator wants a parked saga to go on.
    #[track_caller]
    #[must_use]
    pub fn retry(self) -> Self {
        self.intervene(Verb::Retry)
    }

    /// An operator does this about the saga.
    #[track_caller]
    #[must_use]
    pub fn intervene(mut self, verb: Verb) -> Self {
        self.settle();
        let by = Intervention::default();
        self.happen(&Event::Intervened { verb, by });
        self
    }

    /// This command was sent, to its participant and with this data.
    #[track_caller]
    pub fn expect_command<C: Command>(mut self, data: &C) -> Self {
        let data = serde_json::to_value(data);
        let data = data.unwrap_or_else(|error| panic!("{} is not JSON: {error}", C::TYPE));
        self.expect_sent::<C>(&data);
        self
    }

    /// The command was sent again, as it was sent the last time.
    #[track_caller]
    pub fn expect_command_again<C: Command>(mut self) -> Self {
        let is_such = |sent: &&Sent| sent.envelope.kind == C::TYPE;
        let Some(sent) = self.story.sent[..self.expected].iter().rfind(is_such) else {
            self.fail(
                "one more command",
                &C::TYPE,
                &"it was never expected before",
            );
        };
        let data = sent.data();
        self.expect_sent::<C>(&data);
        self
    }

    /// Nothing follows from what happened: no command is sent.
    #[track_caller]
    pub fn expect_nothing(self) -> Self {
        self.settle();
        self
    }

    /// What was asked for made no sense, and changed nothing.
    #[track_caller]
    pub fn expect_refused(mut self, why: IllegalEvent) -> Self {
        match self.refused.take() {
            Some(refused) if refused == why => self,
            Some(refused) => self.fail("the refusal", &why, &refused),
            None => self.fail("the refusal", &why, &"none"),
        }
    }

    /// Every step succeeded.
    #[track_caller]
    pub fn expect_completed(self) -> Self {
        self.expect_state(State::Completed)
    }

    /// Nothing is left of any step.
    #[track_caller]
    pub fn expect_compensated(self, reason: Reason) -> Self {
        self.expect_state(State::Compensated { reason })
    }

    /// An operator has to look at the step: for the `reason` for which it is to be undone, or none on the way forward.
    #[track_caller]
    pub fn expect_parked(self, step: &str, reason: Option<Reason>) -> Self {
        match self.step(step) {
            Some(step) => self.expect_state(State::Parked { step, reason }),
            None => self.fail("the step", &step, &"the definition has none"),
        }
    }

    /// What was decided and noticed so far.
    #[must_use]
    pub fn log(&self) -> &[Entry] {
        &self.story.log
    }

    /// What was decided so far, for the function by which a program follows its sagas.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.story.decisions
    }

    /// Where the saga is.
    #[must_use]
    pub fn state(&self) -> State {
        self.story.saga.state
    }

    /// The log so far, as a sample of what this version writes.
    #[must_use]
    pub fn sample(&self) -> Sample {
        Sample::of(self.story.saga.definition, self.log(), self.state())
    }

    fn step(&self, name: &str) -> Option<&'static str> {
        let table: &dyn Table = self.story.saga.definition;
        table.step(name).map(|step| step.name)
    }

    fn happen(&mut self, event: &Event) {
        self.refused = self.story.decide(event).err();
    }

    #[track_caller]
    fn expect_sent<C: Command>(&mut self, data: &Value) {
        let expected = format!("the command {} to {}: {data}", C::TYPE, C::PARTICIPANT);
        if let Some(refused) = &self.refused {
            self.fail("that it goes on with", &expected, refused);
        }
        match self.story.sent.get(self.expected) {
            Some(sent)
                if sent.envelope.kind == C::TYPE
                    && sent.step.participant == C::PARTICIPANT
                    && sent.data() == *data =>
            {
                self.expected += 1;
            }
            Some(sent) => self.fail("that it goes on with", &expected, sent),
            None => self.fail("that it goes on with", &expected, &"no command"),
        }
    }

    #[track_caller]
    fn expect_state(self, state: State) -> Self {
        self.settle();
        if self.state() != state {
            self.fail(
                "the state",
                &format!("{state:?}"),
                &format!("{:?}", self.state()),
            );
        }
        self
    }

    /// Sees to it that nothing happened that was not expected.
    #[track_caller]
    fn settle(&self) {
        if let Some(refused) = &self.refused {
            self.fail("that it goes on with", &"no refusal", refused);
        }
        if let Some(sent) = self.story.sent.get(self.expected) {
            self.fail("that it goes on with", &"no command", sent);
        }
    }

    #[track_caller]
    fn fail(&self, what: &str, expected: &dyn fmt::Display, came: &dyn fmt::Display) -> ! {
        panic!(
            "expected {what} {expected}\ncame     {came}\n{}",
            self.story
        )
    }
}

impl Drop for Scenario {
    /// A story that ends has no loose ends.
    #[track_caller]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.settle();
        }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.story, f)
    }
}
