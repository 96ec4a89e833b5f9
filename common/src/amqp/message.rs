//! A message and where it goes: plain data, which an outbox can store.

use std::{borrow::Cow, mem, sync::Arc, time::Duration};

use uuid::Uuid;

use super::Destination;
use crate::{
    contract::{Envelope, Unreadable, clock, topology},
    telemetry::{Span, messaging},
};

/// How long a message is postponed at least, ...
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// ... and at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A command, a reply or a public event, with its destination.
#[derive(Clone, Debug)]
pub struct Message {
    destination: Destination,
    envelope: Arc<Envelope>,
    /// The envelope as JSON, which is made once.
    json: Arc<str>,
    row_id: Uuid,
    pause: Duration,
    /// That it was made, until that is told.
    created: Span,
}

impl Message {
    /// A command to a participant.
    #[must_use]
    pub fn command(participant: &str, envelope: Envelope) -> Self {
        Self::new(Destination::new(topology::COMMANDS, participant), envelope)
    }

    /// A public event.
    #[must_use]
    pub fn event(envelope: Envelope) -> Self {
        let destination = Destination::new(topology::EVENTS, envelope.kind.clone());
        Self::new(destination, envelope)
    }

    /// A message to `queue` and nobody else, such as one that an operator has mended.
    #[must_use]
    pub fn to_queue(queue: &'static str, envelope: Envelope) -> Self {
        Self::new(Destination::new(topology::DEFAULT, queue), envelope)
    }

    /// A message that came from `queue` and goes there again after a pause: half as long as it has been on its way, within
    /// limits, so that what is in vain again and again is tried less and less often. It goes out as another message, which
    /// the one that came has caused.
    pub(super) fn postponed(queue: &'static str, envelope: Envelope) -> Self {
        let age = (clock::now() - envelope.time).to_std().unwrap_or_default();
        let envelope = Envelope {
            causationid: Some(envelope.id),
            ..envelope
        };
        Self {
            // Its row may meet the row of the time before, which is about to be deleted.
            row_id: clock::new_id(),
            pause: (age / 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            ..Self::to_queue(queue, envelope)
        }
    }

    /// A message as a row of the outbox has it.
    ///
    /// # Errors
    /// `json` is not a CloudEvent.
    pub(crate) fn stored(
        row_id: Uuid,
        destination: Destination,
        json: String,
    ) -> Result<Self, Unreadable> {
        let envelope = Envelope::parse(json.as_bytes())?;
        Ok(Self {
            destination,
            envelope: Arc::new(envelope),
            json: json.into(),
            row_id,
            pause: Duration::ZERO,
            created: Span::default(),
        })
    }

    fn new(destination: Destination, envelope: Envelope) -> Self {
        let (envelope, created) =
            created(envelope, destination.exchange(), destination.routing_key());
        let json = envelope.to_json();
        Self {
            destination,
            row_id: envelope.id,
            envelope: Arc::new(envelope),
            json: json.into(),
            pause: Duration::ZERO,
            created,
        }
    }

    /// Takes out the span of its creation, to be ended when it is committed that there is such a message.
    pub(crate) fn take_created(&mut self) -> Span {
        mem::take(&mut self.created)
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.envelope.id
    }

    /// What its row in an outbox is called; these ids keep the order of time.
    #[must_use]
    pub fn row_id(&self) -> Uuid {
        self.row_id
    }

    /// The message's JSON as its row in an outbox has it: with the row's id. An earlier release that publishes the row
    /// deletes the one that is called like the message.
    #[must_use]
    pub fn row_json(&self) -> Cow<'_, str> {
        if self.row_id == self.id() {
            return Cow::Borrowed(&self.json);
        }
        let renamed = Envelope {
            id: self.row_id,
            ..Envelope::clone(&self.envelope)
        };
        Cow::Owned(renamed.to_json())
    }

    /// How long it is to wait in an outbox.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// The message's JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Where it goes.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether being unroutable is an error: not for an event, to which nobody may listen.
    pub(super) fn mandatory(&self) -> bool {
        self.destination.exchange() != topology::EVENTS
    }

    /// Whether several may share one AMQP message: only what is private to orchestrators and participants.
    pub(super) fn batchable(&self) -> bool {
        let exchange = self.destination.exchange();
        matches!(exchange, topology::COMMANDS | topology::REPLIES)
    }
}

/// What a participant replies to a command. It is stored, so that a command that comes again has the same reply.
#[derive(Clone, Debug)]
pub struct Reply {
    envelope: Arc<Envelope>,
    /// The envelope as JSON, which is made once.
    json: Arc<str>,
    created: Span,
}

impl Reply {
    /// A new reply.
    #[must_use]
    pub fn new(envelope: Envelope) -> Self {
        // Who asked is not known here, and all others hear of it, too.
        let (envelope, created) = created(envelope, topology::REPLIES, "");
        Self {
            json: envelope.to_json().into(),
            envelope: Arc::new(envelope),
            created,
        }
    }

    /// A reply that was stored as JSON.
    ///
    /// # Errors
    /// `json` is not a CloudEvent.
    pub fn stored(json: &str) -> Result<Self, Unreadable> {
        Ok(Self {
            envelope: Arc::new(Envelope::parse(json.as_bytes())?),
            json: json.into(),
            created: Span::default(),
        })
    }

    /// The message.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.envelope.id
    }

    /// The message's JSON.
    #[must_use]
    pub fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// What goes out: the reply to `reply_to`, and a public event with the same id and content.
    #[must_use]
    pub fn messages(&self, reply_to: &str) -> [Message; 2] {
        let id = self.id();
        let to = |exchange: &'static str, routing_key: &str, row_id, created| Message {
            destination: Destination::new(exchange, routing_key),
            envelope: Arc::clone(&self.envelope),
            json: Arc::clone(&self.json),
            row_id,
            pause: Duration::ZERO,
            created,
        };
        // One message twice, and two rows.
        [
            to(
                topology::REPLIES,
                reply_to,
                Uuid::from_u128(id.as_u128() ^ 1),
                self.created.clone(),
            ),
            to(topology::EVENTS, &self.envelope.kind, id, Span::default()),
        ]
    }
}

/// The message as it names the place of its creation in its trace, and the span of that.
fn created(envelope: Envelope, exchange: &str, routing_key: &str) -> (Envelope, Span) {
    let span = messaging::create((exchange, routing_key), &envelope);
    let envelope = match span.trace() {
        Some(trace) => envelope.traced(Some(trace)),
        None => envelope,
    };
    (envelope, span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::inventory::ReleaseStock;

    #[test]
    fn every_row_is_called_like_the_message_in_it() {
        let about = Uuid::nil();
        let data = serde_json::json!({ "orderId": about, "reason": "CUSTOMER_REQUEST" });
        let data: ReleaseStock = serde_json::from_value(data).unwrap();
        let envelope = Envelope::new("a-test", "an order", &data);
        let id = envelope.id;
        let [reply, event] = Reply::new(envelope.clone()).messages("order");
        let postponed = Message::postponed("inventory.commands", envelope.clone());
        let command = Message::command("inventory", envelope);
        let mut rows = Vec::new();
        for message in [reply, event, postponed, command] {
            assert_eq!(
                message.id(),
                id,
                "on its way to the broker, it keeps its id"
            );
            let stored = Envelope::parse(message.row_json().as_bytes()).unwrap();
            assert_eq!(stored.id, message.row_id());
            rows.push(message.row_id());
        }
        let [reply, event, postponed, command] = rows[..] else {
            panic!("four messages have {} rows", rows.len());
        };
        assert_eq!([event, command], [id, id]);
        assert_ne!(reply, id, "a reply and its event may both wait");
        assert_ne!(
            postponed, id,
            "the row of the time before may still be there"
        );
    }
}
