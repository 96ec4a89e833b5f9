//! One letter, edited or deleted: the original is kept, and its saga's log tells of it, before the letter is acked.

use std::collections::BTreeSet;

use common::{
    amqp::Message,
    contract::{Envelope, SagaId, clock},
    crash, db,
};
use saga::{DeadLetter, Event};
use uuid::Uuid;

use super::{
    desk::{Desk, Queue, Turn},
    error::Error,
    kept::{self, Kept},
    letter::Letter,
    look::{SEARCH, find},
    selection::{ended, why_ended},
};
use crate::idempotency::Idempotency;

/// What is to become of one letter.
#[derive(Clone, Debug)]
pub(crate) struct Mending {
    /// Where it is.
    pub(crate) queue: Queue,
    /// The message's id.
    pub(crate) message_id: String,
    /// The message that goes out instead. None deletes the letter.
    pub(crate) edited: Option<Envelope>,
    /// Also where its saga has ended.
    pub(crate) force: bool,
    /// Who wants it.
    pub(crate) actor: String,
    /// Why.
    pub(crate) reason: String,
    /// The client's key.
    pub(crate) idempotency: Option<Idempotency>,
}

impl Desk {
    /// Edits or deletes a letter, unless the same request did before: then the second value is true.
    ///
    /// # Errors
    /// Nothing was done.
    pub(crate) async fn mend(&self, mending: &Mending) -> Result<(Kept, bool), Error> {
        let mut turn = self.turn(&mending.queue, SEARCH).await?;
        let mended = self.mend_in(&mut turn, mending).await;
        turn.end().await;
        mended
    }

    async fn mend_in(&self, turn: &mut Turn<'_>, mending: &Mending) -> Result<(Kept, bool), Error> {
        let db = self.engine().db();
        if let Some(request) = &mending.idempotency
            && let Some((earlier, kept)) = kept::find_by_key(db, request).await?
        {
            return if earlier == request.hash {
                Ok((kept, true))
            } else {
                Err(Error::KeyReused)
            };
        }
        let letter = find(turn, &mending.queue, &mending.message_id).await?;
        self.check(&letter, mending).await?;
        let kept = self.keep(&letter, mending).await?;
        crash::point("dead_letter.kept");
        turn.ack(vec![letter]).await?;
        Ok((kept, false))
    }

    /// Refuses to send out what makes no sense any more.
    async fn check(&self, letter: &Letter, mending: &Mending) -> Result<(), Error> {
        let Some(edited) = &mending.edited else {
            return Ok(());
        };
        if letter.messages > 1 {
            return Err(Error::Refused(format!(
                "the letter holds {} messages, and one would replace them all: redrive it as it is, so that each can \
                 die alone, and edit that one",
                letter.messages
            )));
        }
        if mending.force {
            return Ok(());
        }
        let sagas = letter.sagas.iter().chain(&edited.sagaid);
        let ended = ended(self.engine().db(), sagas).await?;
        let why = edited.sagaid.and_then(|saga| {
            let status = ended.get(&saga)?;
            Some(format!(
                "the saga {saga} has ended ({status}): ask again with \"force\": true if the message is to go out all the same"
            ))
        });
        match why.or_else(|| why_ended(letter, &ended)) {
            Some(why) => Err(Error::Refused(why)),
            None => Ok(()),
        }
    }

    /// Keeps the original, tells the logs of its sagas, and has the edited message sent, in one transaction.
    async fn keep(&self, letter: &Letter, mending: &Mending) -> Result<Kept, Error> {
        let edited = mending
            .edited
            .clone()
            .map(|envelope| renamed(envelope, &letter.id));
        let mut connection = self.engine().db().acquire().await?;
        let mut work = self.engine().work(&mut connection);
        let note = DeadLetter {
            queue: mending.queue.name.clone(),
            message_id: letter.id.clone(),
            edited_as: edited.as_ref().map(|envelope| envelope.id.to_string()),
            note: mending.reason.clone(),
            actor: mending.actor.clone(),
        };
        let event = match &edited {
            Some(_) => Event::DeadLettersRedriven(vec![note]),
            None => Event::DeadLetterDeleted(note),
        };
        let of_edited = edited.iter().filter_map(|envelope| envelope.sagaid);
        let sagas: BTreeSet<SagaId> = letter.sagas.iter().copied().chain(of_edited).collect();
        let events = sagas.into_iter().map(|saga| (saga, event.clone()));
        work.note(events.collect()).await?;
        let json = edited
            .as_ref()
            .map(|envelope| (envelope.id, envelope.to_json()));
        let kept = kept::insert(
            work.writes(),
            letter,
            &mending.queue.name,
            json.as_ref().map(|(id, json)| (*id, json.as_str())),
            (&mending.actor, &mending.reason),
            mending.idempotency.as_ref(),
        );
        if let Some(envelope) = edited {
            work.tell(Message::to_queue(mending.queue.working, envelope));
        }
        match work.commit().await {
            // The key came at the same time with a letter of another queue.
            Err(error) if error.database().is_some_and(is_key_taken) => Err(Error::KeyReused),
            committed => Ok(committed.map(|()| kept)?),
        }
    }
}

fn is_key_taken(error: &sqlx::Error) -> bool {
    db::violates(error, "kept_letters_idempotency_key")
}

/// `envelope` as another message, which the letter called `original` has caused.
fn renamed(envelope: Envelope, original: &str) -> Envelope {
    Envelope {
        id: clock::new_id(),
        causationid: original.parse::<Uuid>().ok(),
        ..envelope
    }
}
