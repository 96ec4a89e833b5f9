//! What happened in a [`Scenario`](super::Scenario) so far, by a clock of its own.

use std::{fmt, time::Duration};

use common::{
    contract::{Envelope, SagaId},
    participant::idempotency::Direction,
};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use crate::{
    Origin,
    decision::Decision,
    definition::AnyDefinition,
    saga::{Saga, Subject},
    state::{Entry, State},
    table::{StepPlan, Table},
    transition::{self, Deadline, Event, IllegalEvent, Transition, transition},
};

/// What stands in the messages for the program that runs the saga.
const PROGRAM: (&str, &str) = ("scenario", "scenario");

/// A saga with its history, instead of the database's.
pub(super) struct Story {
    pub(super) saga: Saga,
    pub(super) clock: Duration,
    pub(super) expires_at: Option<Duration>,
    pub(super) log: Vec<Entry>,
    /// When each entry was written.
    at: Vec<Duration>,
    pub(super) decisions: Vec<Decision>,
    pub(super) sent: Vec<Sent>,
    deadline_at: Option<Duration>,
}

/// A command that was sent.
pub(super) struct Sent {
    pub(super) step: &'static StepPlan,
    pub(super) direction: Direction,
    pub(super) envelope: Envelope,
}

impl Sent {
    /// Its data.
    pub(super) fn data(&self) -> Value {
        serde_json::from_str(self.envelope.data.get()).expect("an envelope's data is JSON")
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, data) = (&self.envelope.kind, &self.envelope.data);
        write!(f, "the command {kind} to {}: {data}", self.step.participant)
    }
}

impl Story {
    /// The saga with its first command.
    pub(super) fn begin(definition: &'static dyn AnyDefinition, data: Box<RawValue>) -> Self {
        let table: &dyn Table = definition;
        let mut story = Self {
            saga: Saga {
                id: SagaId(Uuid::nil()),
                definition,
                subject: Subject::new("scenario", 1),
                data,
                state: State::begin(table),
                version: 0,
                origin: Origin {
                    correlation_id: "scenario".to_owned(),
                    trace: None,
                },
            },
            clock: Duration::ZERO,
            expires_at: table.expires_after(),
            log: Vec::new(),
            at: Vec::new(),
            decisions: Vec::new(),
            sent: Vec::new(),
            deadline_at: None,
        };
        story.write(transition::start(table));
        story
    }

    /// Decides what follows from `event`, and writes it.
    pub(super) fn decide(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let decided = transition(self.saga.definition, self.saga.state, event)?;
        if !decided.log.is_empty() {
            self.write(decided);
        }
        Ok(())
    }

    /// Lets time pass until `end`, with every deadline on the way.
    pub(super) fn pass_until(&mut self, end: Duration) {
        while let Some(at) = self.deadline_at.filter(|at| *at <= end) {
            self.clock = at;
            let event = if self.expires_at.is_some_and(|expires| expires <= at) {
                Event::Expired
            } else {
                Event::DeadlinePassed
            };
            if let Err(error) = self.decide(&event) {
                panic!("a deadline always makes sense, but {error}");
            }
            assert_ne!(
                self.deadline_at,
                Some(at),
                "a deadline that passed is another one"
            );
        }
        self.clock = end;
    }

    /// Does what one transaction of the engine does.
    fn write(&mut self, transition: Transition) {
        self.expires_at = self.expires_at.filter(|_| transition.may_expire());
        self.deadline_at = match transition.deadline {
            Deadline::In(duration) | Deadline::InExactly(duration) => {
                let at = self.clock + duration;
                Some(self.expires_at.map_or(at, |expires| at.min(expires)))
            }
            Deadline::Unchanged => self.deadline_at,
            Deadline::Never => None,
        };
        let decided = Decision::with_command(self.saga.clone(), transition, None, PROGRAM);
        let (decision, command) = decided.unwrap_or_else(|error| {
            panic!("the command cannot be made of the saga's data: {error}\n{self}")
        });
        let direction = match decision.transition.command {
            Some(transition::Command::Compensation(..)) => Direction::Compensation,
            _ => Direction::Action,
        };
        self.sent.extend(command.map(|(step, envelope)| Sent {
            step,
            direction,
            envelope,
        }));
        let entries = &decision.transition.log;
        self.log.extend(entries.iter().cloned());
        self.at.resize(self.log.len(), self.clock);
        self.saga.state = decision.transition.state;
        self.saga.version = decision.version();
        self.decisions.push(decision);
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let definition = self.saga.definition;
        write!(
            f,
            "the log of {} v{}:",
            definition.name(),
            definition.version()
        )?;
        for (at, entry) in self.at.iter().zip(&self.log) {
            let (event, details) = entry.to_columns();
            let step = entry.step.unwrap_or_default();
            write!(
                f,
                "\n{:>8} s  {step:<12} {event} {details}",
                at.as_secs_f64()
            )?;
        }
        write!(
            f,
            "\nnow {} s, {:?}",
            self.clock.as_secs_f64(),
            self.saga.state
        )
    }
}
