//! The definitions that a program can run: handed in by the program.

use std::collections::BTreeSet;

use common::{
    contract::{Envelope, Reason},
    participant::idempotency::Direction,
};

use crate::{
    definition::{AnyDefinition, ReadRejection},
    table::{Table, Told},
    transition::Event,
};

/// Every definition that a program can run: also those of older versions, while sagas of theirs are open.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    definitions: Vec<&'static dyn AnyDefinition>,
    meanings: Vec<Meaning>,
}

/// What a reply type means to steps of one name, whatever the definition.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    step: &'static str,
    reply: &'static str,
    told: Told,
    reads_rejection: Option<ReadRejection>,
}

/// Definitions that cannot be together in one program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two have one name and version.
    #[error("there are two definitions {0} v{1}")]
    Twice(&'static str, i32),
    /// A reply type means different things to steps of one name.
    #[error("{reply} means different things to steps called {step}")]
    Ambiguous {
        /// The name of the steps.
        step: &'static str,
        /// The reply's type.
        reply: &'static str,
    },
    /// One excludes a saga that does not exist.
    #[error("{0} excludes {1}, which no definition is called")]
    Unknown(&'static str, &'static str),
}

/// A participant's reply, read as far as that is possible without its saga.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    told: Told,
    rejection: Option<(Reason, Option<String>)>,
}

impl Registry {
    /// A registry of these definitions.
    ///
    /// # Errors
    /// They cannot be together.
    pub fn new(definitions: &[&'static dyn AnyDefinition]) -> Result<Self, Conflict> {
        let mut registry = Self::default();
        for definition in definitions {
            registry.add(*definition)?;
        }
        for definition in definitions {
            for name in definition.excludes() {
                if !definitions.iter().any(|other| other.name() == *name) {
                    return Err(Conflict::Unknown(definition.name(), name));
                }
            }
        }
        Ok(registry)
    }

    /// A registry of one definition, whose rivals are elsewhere.
    #[cfg(feature = "testing")]
    pub(crate) fn alone(definition: &'static dyn AnyDefinition) -> Result<Self, Conflict> {
        let mut registry = Self::default();
        registry.add(definition)?;
        Ok(registry)
    }

    /// Who takes part in any of the sagas, by name.
    #[must_use]
    pub fn participants(&self) -> BTreeSet<&'static str> {
        let tables = self.definitions.iter().map(|one| *one as &dyn Table);
        tables
            .flat_map(|table| {
                table
                    .plans()
                    .map(|plan| plan.participant)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn add(&mut self, definition: &'static dyn AnyDefinition) -> Result<(), Conflict> {
        let (name, version) = (definition.name(), definition.version());
        if self.find(name, version).is_some() {
            return Err(Conflict::Twice(name, version));
        }
        let table: &dyn Table = definition;
        for (position, plan) in table.plans().enumerate() {
            let replies = [Some(plan.succeeded), plan.rejected, plan.undone()];
            for reply in replies.into_iter().flatten() {
                let Some(told) = plan.told(reply) else {
                    continue;
                };
                let meaning = Meaning {
                    step: plan.name,
                    reply,
                    told,
                    reads_rejection: definition.reads_rejection(position),
                };
                match self.meaning(plan.name, reply) {
                    Some(known) if known.told != told => {
                        let step = plan.name;
                        return Err(Conflict::Ambiguous { step, reply });
                    }
                    Some(_) => {}
                    None => self.meanings.push(meaning),
                }
            }
        }
        self.definitions.push(definition);
        Ok(())
    }

    /// The definition called `name` in `version`.
    #[must_use]
    pub fn find(&self, name: &str, version: i32) -> Option<&'static dyn AnyDefinition> {
        let mut definitions = self.definitions.iter().copied();
        definitions.find(|definition| definition.name() == name && definition.version() == version)
    }

    /// What the definitions are called, in the order of [`Self::versions`].
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.definitions()
            .map(|definition| definition.name())
            .collect()
    }

    /// The definitions' versions.
    pub(crate) fn versions(&self) -> Vec<i32> {
        self.definitions()
            .map(|definition| definition.version())
            .collect()
    }

    /// Every definition.
    pub fn definitions(&self) -> impl Iterator<Item = &'static dyn AnyDefinition> {
        self.definitions.iter().copied()
    }

    /// The names of the sagas that may not be open beside one of `definition` about the same subject.
    #[must_use]
    pub fn rivals(&self, definition: &dyn AnyDefinition) -> Vec<&'static str> {
        let by_them = self.definitions.iter().filter_map(|other| {
            other
                .excludes()
                .contains(&definition.name())
                .then_some(other.name())
        });
        let by_itself = definition.excludes().iter().copied();
        let rivals: BTreeSet<_> = by_itself.chain(by_them).collect();
        rivals.into_iter().collect()
    }

    /// Reads a reply about the step called `step`: `None` when no definition has such a reply.
    ///
    /// # Errors
    /// The data is not what the reply's type promises.
    pub(crate) fn read(&self, step: &str, reply: &Envelope) -> Option<serde_json::Result<Reading>> {
        let meaning = self.meaning(step, &reply.kind)?;
        let rejection = match meaning.reads_rejection {
            Some(read) if meaning.told == Told::Rejected => read(&reply.data).map(Some),
            _ => Ok(None),
        };
        Some(rejection.map(|rejection| Reading {
            told: meaning.told,
            rejection,
        }))
    }

    fn meaning(&self, step: &str, reply: &str) -> Option<&Meaning> {
        let mut meanings = self.meanings.iter();
        meanings.find(|meaning| meaning.step == step && meaning.reply == reply)
    }
}

impl Reading {
    /// What the reply is about: the step's action, or its compensation.
    pub(crate) const fn direction(&self) -> Direction {
        self.told.direction()
    }

    /// The reply in the words of a saga's definition, if it has such a step, and the step such a reply.
    pub(crate) fn event(&self, table: &dyn Table, step: &str, reply: &str) -> Option<Event> {
        let step = table.step(step)?;
        let event = match step.told(reply)? {
            Told::Succeeded => Event::Succeeded(step.name),
            Told::Undone => Event::Undone(step.name),
            Told::Rejected => {
                let (reason, detail) = self.rejection.clone()?;
                Event::Rejected {
                    step: step.name,
                    reason,
                    detail,
                }
            }
        };
        Some(event)
    }
}
