//! A saga: one run of a definition, about one subject.

use std::{fmt, str::FromStr};

use common::contract::{Envelope, Origin, SagaId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{AnyDefinition, State};

/// What sagas are about, in the words of the program that runs them: `order/01976a3d-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    text: String,
    /// Where the id begins.
    id: usize,
}

/// A text that names no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no subject: it must be a kind, a slash and an id")]
pub struct NoSubject(String);

impl Subject {
    /// The thing of this kind with this id.
    #[must_use]
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self {
            text: format!("{kind}/{id}"),
            id: kind.len() + 1,
        }
    }

    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.text[..self.id - 1]
    }

    /// The thing's id, which is the CloudEvents `subject` of the saga's messages.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[self.id..]
    }

    /// The whole text, as it is in tables.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        match text.split_once('/') {
            Some((kind, id)) if !kind.is_empty() && !id.is_empty() => Ok(Self::new(kind, id)),
            _ => Err(NoSubject(text.to_owned())),
        }
    }
}

/// A saga as it is in the database.
#[derive(Clone, Debug)]
pub struct Saga {
    /// Its id.
    pub id: SagaId,
    /// What it consists of.
    pub definition: &'static dyn AnyDefinition,
    /// What it is about.
    pub subject: Subject,
    /// What its commands are made of.
    pub data: Box<RawValue>,
    /// Where it is.
    pub state: State,
    /// Number of its log entries.
    pub version: i32,
    /// Where it comes from: all of its messages repeat it.
    pub origin: Origin,
}

impl Saga {
    /// Its data, as its definition's type.
    ///
    /// # Errors
    /// It is not of this type.
    pub fn data<D: DeserializeOwned>(&self) -> serde_json::Result<D> {
        serde_json::from_str(self.data.get())
    }

    /// What all messages about it have in common; `causation_id` is the message that they follow from.
    #[must_use]
    pub fn context(&self, causation_id: Option<Uuid>) -> Context {
        Context {
            saga_id: self.id,
            origin: self.origin.clone(),
            causation_id,
        }
    }
}

/// What all messages that follow from one decision have in common.
#[derive(Clone, Debug)]
pub struct Context {
    /// The saga.
    pub saga_id: SagaId,
    /// Where it comes from: all of its messages repeat it.
    pub origin: Origin,
    /// The message that caused the decision.
    pub causation_id: Option<Uuid>,
}

impl Context {
    /// The envelope with what it has in common with the others.
    #[must_use]
    pub fn apply(&self, envelope: Envelope) -> Envelope {
        Envelope {
            sagaid: Some(self.saga_id),
            causationid: self.causation_id,
            ..self.origin.apply(envelope)
        }
    }
}
