//! A command, as a participant reads it.

use super::idempotency::{Direction, Key};
use crate::{
    amqp::consumer::Incoming,
    contract::{Envelope, Message, Trace, Unreadable},
};

/// A command with what the envelope says about it.
#[derive(Clone, Debug)]
pub struct Command<B> {
    /// Under this key, it is done at most once.
    pub key: Key,
    /// What is asked for.
    pub body: B,
    /// What it is about, and its reply too.
    subject: String,
    /// Where the reply goes.
    pub(super) reply_to: String,
    pub(super) id: uuid::Uuid,
    correlation: Option<String>,
    trace: Option<Trace>,
}

impl<B> Command<B> {
    /// Reads the envelope's part of a command.
    ///
    /// # Errors
    /// An attribute that a command needs is missing.
    pub fn new(message: &Incoming, direction: Direction, body: B) -> Result<Self, Unreadable> {
        let envelope = &message.envelope;
        let missing = |name| move || Unreadable::Attribute(name);
        Ok(Self {
            key: Key {
                saga: envelope.sagaid.ok_or_else(missing("sagaid"))?,
                step: envelope.sagastep.clone().ok_or_else(missing("sagastep"))?,
                direction,
            },
            body,
            subject: envelope.subject.clone(),
            reply_to: envelope.replyto.clone().ok_or_else(missing("replyto"))?,
            id: envelope.id,
            correlation: envelope.correlationid.clone(),
            trace: message.trace.clone(),
        })
    }

    /// The reply to this command: a message that says `data`.
    #[must_use]
    pub fn reply<M: Message>(&self, source: &str, data: &M) -> Envelope {
        Envelope {
            sagaid: Some(self.key.saga),
            sagastep: Some(self.key.step.clone()),
            ..self.caused(Envelope::new(source, &self.subject, data))
        }
    }

    /// The envelope of a message that follows from this command, and says so.
    #[must_use]
    pub fn caused(&self, envelope: Envelope) -> Envelope {
        Envelope {
            correlationid: self.correlation.clone(),
            causationid: Some(self.id),
            ..envelope.traced(self.trace.as_ref())
        }
    }
}
