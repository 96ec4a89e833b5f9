//! One transaction about sagas.

use common::{
    amqp::Message,
    contract::{Origin, SagaId},
    crash,
    db::{LazyTransaction, Writes},
    metrics::Tally,
    participant::idempotency,
    telemetry::Span,
};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{Engine, Error, Following, Program, trace};
use crate::{
    AnyDefinition, Data, Definition, Event, Table,
    decision::Decision,
    metrics,
    reply::Reply,
    saga::{Saga, Subject},
    store::{self, Locked},
    transition::{self, transition},
    verb::{Intervention, Verb},
};

/// A saga that is to be begun.
#[derive(Debug)]
pub struct Beginning<'a, D: 'static> {
    /// Its id.
    pub id: SagaId,
    /// What it consists of.
    pub definition: &'static Definition<D>,
    /// What it is about.
    pub subject: Subject,
    /// What its commands are made of.
    pub data: &'a D,
    /// Where it comes from.
    pub origin: Origin,
}

/// One transaction about sagas: it locks, decides, and at its end writes, commits, counts and hands over.
///
/// Locks are always taken in one order, so that nobody waits for each other: first the subject, then sagas by id,
/// then the program's own rows, by [`Follow`].
#[must_use = "nothing is done before it is committed"]
pub struct Work<'c> {
    engine: &'c Engine,
    transaction: LazyTransaction<'c>,
    begun: Vec<Decision>,
    decided: Vec<Decision>,
    messages: Vec<Message>,
    /// What is told of it when it is committed, beside its messages.
    spans: Vec<Span>,
}

/// What a [`Work`] would do, as its transaction sees it.
#[derive(Debug)]
#[must_use = "its transaction is to be ended"]
pub struct Rehearsal<'c> {
    /// What it would leave in the database.
    pub transaction: Transaction<'c, Postgres>,
    /// What it would send.
    pub messages: Vec<Message>,
}

impl Rehearsal<'_> {
    /// Takes everything back.
    ///
    /// # Errors
    /// The database failed: nothing of it lasts all the same.
    pub async fn end(self) -> Result<(), Error> {
        Ok(self.transaction.rollback().await?)
    }
}

impl Engine {
    /// Begins to work on sagas, in one transaction on `connection`. Nothing is done before [`Work::commit`].
    pub fn work<'c>(&'c self, connection: &'c mut PgConnection) -> Work<'c> {
        Work {
            engine: self,
            transaction: LazyTransaction::new(connection),
            begun: Vec::new(),
            decided: Vec::new(),
            messages: Vec::new(),
            spans: Vec::new(),
        }
    }
}

impl<'c> Work<'c> {
    /// The transaction, for statements that read and lock.
    ///
    /// # Errors
    /// It cannot be begun.
    pub async fn transaction(&mut self) -> sqlx::Result<&mut Transaction<'c, Postgres>> {
        self.transaction.transaction().await
    }

    /// What will be written, together with what is decided.
    pub fn writes(&mut self) -> &mut Writes {
        &mut self.transaction.writes
    }

    /// Has `message` sent when all of it is committed.
    pub fn tell(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// What will be counted when it is committed.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.transaction.tally
    }

    /// Takes the lock of `subject`: whoever else is about to begin or reopen a saga about it has to wait.
    ///
    /// # Errors
    /// The database failed.
    pub async fn lock_subject(&mut self, subject: &Subject) -> Result<(), Error> {
        let tx = self.transaction.transaction().await?;
        Ok(store::lock_subject(tx, subject).await?)
    }

    /// Begins a saga about a subject that nobody else knows yet. Nothing is locked for it.
    ///
    /// # Errors
    /// The data cannot be stored as JSON.
    pub fn begin<D: Data>(&mut self, beginning: Beginning<'_, D>) -> Result<(), Error> {
        let definition: &'static dyn AnyDefinition = beginning.definition;
        let table: &dyn Table = definition;
        let transition = transition::start(table);
        let data = serde_json::value::to_raw_value(beginning.data);
        let saga = Saga {
            id: beginning.id,
            definition,
            subject: beginning.subject,
            data: data.map_err(|error| Error::Follow(error.into()))?,
            state: transition.state,
            version: 0,
            origin: beginning.origin,
        };
        let decision = self.decision(saga, transition, None)?;
        self.begun.push(decision);
        Ok(())
    }

    /// Begins a saga about a subject that may have others, and whose lock is held.
    ///
    /// # Errors
    /// Another saga excludes it.
    pub async fn begin_beside<D: Data>(
        &mut self,
        beginning: Beginning<'_, D>,
    ) -> Result<(), Error> {
        self.exclude(beginning.definition, &beginning.subject)
            .await?;
        self.begin(beginning)
    }

    /// Has a saga undone, as a request from `origin` wants it. The lock of its subject is held.
    ///
    /// # Errors
    /// There is no way back any more, or another saga excludes that it is open.
    pub async fn cancel(
        &mut self,
        saga: SagaId,
        event: Event,
        origin: Origin,
    ) -> Result<(), Error> {
        let locked = self.lock_one(saga).await?;
        if !locked.state.is_open() {
            self.exclude(locked.definition, &locked.subject).await?;
        }
        self.apply(locked, &event, origin).await
    }

    /// Locks and loads one saga.
    ///
    /// # Errors
    /// There is none, or it cannot be understood.
    pub async fn lock_one(&mut self, saga: SagaId) -> Result<Saga, Error> {
        let tx = self.transaction.transaction().await?;
        let mut locked = store::lock(tx, &self.engine.0.registry, &[saga], &[]).await?;
        let locked = locked.remove(&saga).ok_or(Error::NoSuchSaga(saga))?;
        Ok(locked?.saga)
    }

    /// Applies `event` to a saga that is locked, as a request from `origin` wants it. What the saga says from now on comes
    /// from there.
    ///
    /// # Errors
    /// It makes no sense in the saga's state, or the database failed.
    pub async fn apply(&mut self, saga: Saga, event: &Event, origin: Origin) -> Result<(), Error> {
        let (id, before) = (saga.id, self.decided.len());
        let span = trace::span(&saga, event, origin.trace.as_ref());
        let span = span.linked(&saga.origin.trace);
        let saga = Saga { origin, ..saga };
        self.decide(trace::within(&span, saga), event, None)?;
        self.spans.push(span);
        if let Some(decision) = self.decided.get(before) {
            let origin = &decision.saga.origin;
            let overrules = decision
                .transition
                .log
                .iter()
                .any(|one| one.what.overrules());
            let tx = self.transaction.transaction().await?;
            store::set_origin(tx, id, origin).await?;
            if overrules {
                store::set_overruled(tx, id).await?;
            }
        }
        Ok(())
    }

    /// Does what an operator wants with a saga that is locked, as a request from `origin`. Where it is to be undone, the
    /// lock of its subject is held.
    ///
    /// # Errors
    /// It makes no sense in the saga's state, or another saga excludes that it is open.
    pub async fn intervene(
        &mut self,
        saga: Saga,
        verb: Verb,
        by: Intervention,
        origin: Origin,
    ) -> Result<(), Error> {
        if verb == Verb::Abort && !saga.state.is_open() {
            self.exclude(saga.definition, &saga.subject).await?;
        }
        self.apply(saga, &Event::Intervened { verb, by }, origin)
            .await
    }

    /// Applies `event` to each of these sagas.
    ///
    /// # Errors
    /// One of them cannot be understood.
    pub(crate) async fn apply_all(&mut self, events: &[(SagaId, Event)]) -> Result<(), Error> {
        let ids: Vec<_> = events.iter().map(|(saga, _)| *saga).collect();
        let tx = self.transaction.transaction().await?;
        let mut sagas = store::lock(tx, &self.engine.0.registry, &ids, &[]).await?;
        for (id, event) in events {
            let saga = sagas.remove(id).ok_or(Error::NoSuchSaga(*id))??.saga;
            let span = trace::span(&saga, event, saga.origin.trace.as_ref());
            self.decide(trace::within(&span, saga), event, None)?;
            self.spans.push(span);
        }
        Ok(())
    }

    /// Has the logs of sagas tell what was done about them from outside, each saga by one event. A saga that is not there,
    /// or that this program cannot understand, is left out.
    ///
    /// # Errors
    /// The database failed, or an event is more than a note.
    pub async fn note(&mut self, events: Vec<(SagaId, Event)>) -> Result<(), Error> {
        let ids: Vec<_> = events.iter().map(|(saga, _)| *saga).collect();
        let tx = self.transaction.transaction().await?;
        let mut sagas = store::lock(tx, &self.engine.0.registry, &ids, &[]).await?;
        for (id, event) in events {
            if let Some(Ok(Locked { saga, .. })) = sagas.remove(&id) {
                let table: &dyn Table = saga.definition;
                let noted = transition(table, saga.state, &event)?;
                let decision = self.decision(saga, noted, None)?;
                self.decided.push(decision);
            }
        }
        Ok(())
    }

    /// Takes replies, of each saga at most one. What was taken before has no consequences again. Replies that mean
    /// nothing are left out, and returned: of no saga, or without a meaning to their saga.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) async fn take<'r>(
        &mut self,
        replies: &[&'r Reply],
    ) -> Result<Vec<(&'r Reply, Error)>, Error> {
        let ids: Vec<_> = replies.iter().map(|reply| reply.saga).collect();
        let records: Vec<_> = replies.iter().map(|reply| reply.record()).collect();
        let tx = self.transaction.transaction().await?;
        let mut sagas = store::lock(tx, &self.engine.0.registry, &ids, &records).await?;
        let (mut strays, mut unrecorded) = (Vec::new(), Vec::new());
        for &reply in replies {
            let taken = match sagas.remove(&reply.saga) {
                None => Err(Error::NoSuchSaga(reply.saga)),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(Locked { is_new: false, .. })) => Ok(()),
                Some(Ok(Locked { saga, .. })) => self.take_one(saga, reply),
            };
            if let Err(error) = taken {
                if !matches!(error, Error::NoSuchSaga(_)) {
                    unrecorded.push(reply.record());
                }
                strays.push((reply, error));
            }
        }
        // Nobody took them, so one that comes later and means something is new.
        idempotency::delete(self.writes(), &unrecorded);
        Ok(strays)
    }

    fn take_one(&mut self, saga: Saga, reply: &Reply) -> Result<(), Error> {
        let (event, before) = (reply.event(&saga)?, self.decided.len());
        let saga = trace::after(reply.trace.as_ref(), saga);
        self.decide(saga, &event, Some(reply.id))?;
        if let Some(decision) = self.decided.get(before) {
            metrics::count_reply(&mut self.transaction.tally, decision, reply.asked);
        }
        Ok(())
    }

    async fn exclude(
        &mut self,
        definition: &dyn AnyDefinition,
        subject: &Subject,
    ) -> Result<(), Error> {
        let rivals = self.engine.0.registry.rivals(definition);
        let tx = self.transaction.transaction().await?;
        match store::find_open(&mut *tx, subject, &rivals).await? {
            Some((id, name)) => Err(Error::Excluded { name, id }),
            None => Ok(()),
        }
    }

    fn decide(
        &mut self,
        saga: Saga,
        event: &Event,
        causation_id: Option<Uuid>,
    ) -> Result<(), Error> {
        let table: &dyn Table = saga.definition;
        let transition = transition(table, saga.state, event)?;
        if !transition.log.is_empty() {
            let decision = self.decision(saga, transition, causation_id)?;
            self.decided.push(decision);
        }
        Ok(())
    }

    fn decision(
        &mut self,
        saga: Saga,
        transition: transition::Transition,
        causation_id: Option<Uuid>,
    ) -> Result<Decision, Error> {
        let Program {
            source, reply_to, ..
        } = self.engine.0.program;
        let id = saga.id;
        let (decision, command) = Decision::new(saga, transition, causation_id, (source, reply_to))
            .map_err(|error| store::Error::Corrupt(id, format!("its data: {error}")))?;
        self.messages.extend(command);
        Ok(decision)
    }

    /// Writes everything, commits, and hands the messages over to be sent.
    ///
    /// # Errors
    /// Nothing is done.
    pub async fn commit(self) -> Result<(), Error> {
        self.commit_then(|| ()).await
    }

    /// Writes everything, commits, calls `done`, and then hands the messages over to be sent, which waits while the
    /// broker is slow.
    ///
    /// # Errors
    /// Nothing is done, and `done` is not called.
    pub async fn commit_then(mut self, done: impl FnOnce()) -> Result<(), Error> {
        let parts = &self.engine.0;
        self.follow().await?;
        let enqueued = parts
            .outbox
            .enqueue(&mut self.transaction.writes, self.messages);
        if !self.begun.is_empty() || !self.decided.is_empty() {
            crash::point("engine.decided");
        }
        self.transaction.commit().await?;
        self.spans.into_iter().for_each(Span::end);
        done();
        let decisions = self.begun.iter().chain(&self.decided);
        decisions.for_each(Decision::report);
        parts.outbox.hand_over(enqueued).await;
        Ok(())
    }

    /// Writes everything and sends nothing: what would be is seen in the transaction, which is never committed.
    ///
    /// # Errors
    /// As when it is committed.
    pub async fn rehearse(mut self) -> Result<Rehearsal<'c>, Error> {
        self.follow().await?;
        Ok(Rehearsal {
            transaction: self.transaction.write().await?,
            messages: self.messages,
        })
    }

    /// Adds what was decided, and what the program makes of it, to what is written and sent.
    async fn follow(&mut self) -> Result<(), Error> {
        let parts = &self.engine.0;
        let mut following = Following {
            transaction: &mut self.transaction,
            begun: &self.begun,
            decided: &self.decided,
            messages: &mut self.messages,
        };
        parts.follower.follow(&mut following).await?;
        for decision in self.begun.iter().chain(&self.decided) {
            self.messages.extend(decision.parked(parts.program.source));
            metrics::count(&mut self.transaction.tally, decision);
        }
        let scale = parts.program.deadline_scale;
        let writes = &mut self.transaction.writes;
        store::insert(writes, &self.begun, scale);
        store::update(writes, &self.decided, scale);
        Ok(())
    }
}
