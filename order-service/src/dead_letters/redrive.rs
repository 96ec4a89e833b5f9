//! Sends letters again, as rows of the table `redrives` ask for it. Any replica goes on with what another one began.
//!
//! ```text
//! claim a row ─► a turn: letters ─► publish ─► confirm ─► progress and saga log, one transaction ─► ack ─► … ─► put back
//!      ▲                                                                                                       │
//!      └───────────────── pause, so that others have their turn, and no more go out than were asked for ◄──────┘
//! ```
//!
//! Each letter is sent again once by one request: what dies again says by which request it was redriven, and when it
//! died. So a request ends, also where all of its letters come back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    amqp::NotPublished,
    backoff::Backoff,
    contract::{SagaId, clock},
    crash,
    watchdog::idle,
};
use saga::{DeadLetter, Event};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    desk::{Desk, Queue, Reach, Turn},
    error::Error,
    lease::{self, Left, Refused},
    letter::Letter,
    selection::refuse,
    table::{Redrive, Status},
};

/// How far a turn reaches. It is shorter than a lease.
const TURN: Reach = Reach {
    letters: 100_000,
    bytes: 512 * 1024 * 1024,
    time: Duration::from_secs(15),
};
/// After so long, others have their turn, once anything was sent.
const TURN_SENT: Duration = Duration::from_secs(2);
/// Letters that are sent, noted and acked together.
const BATCH: usize = 64;
/// How often somebody looks for requests.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long others have to begin their turn.
const PAUSE: Duration = Duration::from_millis(50);

/// Carries out redrives. Clones are the same worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    desk: Desk,
    /// What it is called in leases.
    id: Uuid,
    asked: Arc<Notify>,
}

/// How a turn ended.
enum Ended {
    /// Nothing is left to be done.
    Done,
    /// Somebody cancelled it.
    Cancelled,
    /// There is more to be done: so many letters were sent in this turn.
    More(usize),
    /// Somebody else carries it out.
    Lost,
}

impl Worker {
    /// A worker at `desk`.
    pub(crate) fn new(desk: Desk) -> Self {
        Self {
            desk,
            id: clock::new_id(),
            asked: Arc::default(),
        }
    }

    /// Says that there is a new request, so that nobody has to wait for the next look.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Carries out requests until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            match lease::claim(self.desk.engine().db(), self.id).await {
                Ok(Some(redrive)) => {
                    backoff.reset();
                    self.carry_out(redrive, &stop).await;
                }
                Ok(None) => {
                    backoff.reset();
                    idle(async {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = self.asked.notified() => {}
                            () = sleep(LOOK_EVERY) => {}
                        }
                    })
                    .await;
                }
                // The gate and the consumers say so.
                Err(_) => backoff.wait(&stop).await,
            }
        }
    }

    async fn carry_out(&self, mut redrive: Redrive, stop: &CancellationToken) {
        let (db, key) = (self.desk.engine().db(), (redrive.id, self.id));
        let mut refused = Refused::default();
        // Whoever had it before may have died before he acked these.
        let mut unsure = std::mem::take(&mut redrive.last_batch);
        let left = loop {
            let turn = self.turn(&mut redrive, &mut refused, &mut unsure, stop);
            match turn.await {
                Ok(Ended::Done) => break Left::Finished(Status::Done, &refused),
                Ok(Ended::Cancelled) => break Left::Finished(Status::Cancelled, &refused),
                Ok(Ended::Lost) => return,
                Ok(Ended::More(sent)) => idle(pause(&redrive, sent, stop)).await,
                Err(Error::Busy(_)) => idle(pause(&redrive, 0, stop)).await,
                Err(error) => {
                    let error = error.to_string();
                    if redrive.last_error.as_ref() != Some(&error) {
                        warn!(redrive.id = %redrive.id, queue = redrive.queue, error, "a redrive waits");
                    }
                    let left = Left::Unfinished(Some(&error));
                    let _ = lease::leave(db, key, left).await;
                    return;
                }
            }
            if stop.is_cancelled() {
                break Left::Unfinished(None);
            }
        };
        info!(redrive.id = %redrive.id, queue = redrive.queue, redriven = redrive.redriven, "a redrive ends here: {left:?}");
        // Where this fails, the lease ends by itself, and somebody finds that nothing is left to be done.
        let _ = lease::leave(db, key, left).await;
    }

    /// One turn at the queue.
    async fn turn(
        &self,
        redrive: &mut Redrive,
        refused: &mut Refused,
        unsure: &mut Vec<String>,
        stop: &CancellationToken,
    ) -> Result<Ended, Error> {
        *refused = Refused::default();
        let Some(queue) = Queue::find(&redrive.queue) else {
            return Ok(Ended::Done);
        };
        let db = self.desk.engine().db();
        match lease::renew(db, (redrive.id, self.id)).await? {
            Some(now) => *redrive = now,
            None => return Ok(Ended::Lost),
        }
        if redrive.cancel_requested {
            return Ok(Ended::Cancelled);
        }
        let mut turn = self.desk.turn(&queue, TURN).await?;
        let ended = self
            .send_all(&mut turn, &queue, redrive, refused, unsure, stop)
            .await;
        turn.end().await;
        ended
    }

    /// Sends letters until the turn is over, or the request is carried out.
    async fn send_all(
        &self,
        turn: &mut Turn<'_>,
        queue: &Queue,
        redrive: &mut Redrive,
        refused: &mut Refused,
        unsure: &mut Vec<String>,
        stop: &CancellationToken,
    ) -> Result<Ended, Error> {
        let per_turn = redrive.per_second.map_or(usize::MAX, positive);
        let mut sent = 0;
        loop {
            let letters = turn.next().await?;
            if letters.is_empty() {
                if sent > 0 && turn.left() > 0 {
                    return Ok(Ended::More(sent));
                }
                refused.behind = turn.left();
                return Ok(Ended::Done);
            }
            let meant = letters
                .into_iter()
                .filter(|letter| is_meant(letter, redrive));
            let (sent_before, meant): (Vec<_>, Vec<_>) =
                meant.partition(|letter| was_sent(letter, unsure));
            turn.ack(sent_before).await?;
            let db = self.desk.engine().db();
            let (mut fine, stay) = refuse(db, meant, redrive.force).await?;
            refused.add(stay);
            while !fine.is_empty() {
                let room = positive(redrive.letters_max - redrive.redriven).min(per_turn - sent);
                let batch: Vec<_> = fine.drain(..fine.len().min(BATCH).min(room)).collect();
                if batch.is_empty() {
                    break;
                }
                sent += batch.len();
                match self.send(turn, queue, redrive, batch).await? {
                    Some(now) => *redrive = now,
                    None => return Ok(Ended::Lost),
                }
                if redrive.cancel_requested {
                    return Ok(Ended::Cancelled);
                }
            }
            if redrive.redriven >= redrive.letters_max && unsure.is_empty() {
                return Ok(Ended::Done);
            }
            let is_long = sent > 0 && turn.elapsed() >= TURN_SENT;
            if sent >= per_turn || is_long || stop.is_cancelled() {
                return Ok(Ended::More(sent));
            }
        }
    }

    /// Sends a batch, notes that it is sent, and acks it. None when somebody else carries out the request.
    async fn send(
        &self,
        turn: &mut Turn<'_>,
        queue: &Queue,
        redrive: &Redrive,
        batch: Vec<Letter>,
    ) -> Result<Option<Redrive>, Error> {
        let by = redrive.id.to_string();
        let outgoing: Vec<_> = batch
            .iter()
            .map(|letter| letter.taken.again(queue.working, letter.redriven + 1, &by))
            .collect();
        let results = self.desk.broker().publish(&outgoing).await.wait().await;
        // Which one of several could not be routed is not for sure, so none of them counts as sent.
        let unroutable = results.contains(&Err(NotPublished::Unroutable));
        let first_error = results.iter().find_map(|result| result.err());
        let sent: Vec<_> = batch
            .into_iter()
            .zip(results)
            .filter_map(|(letter, result)| result.is_ok().then_some(letter))
            .collect();
        match first_error {
            Some(_) if unroutable => return Err(Error::NotPublished(NotPublished::Unroutable)),
            Some(error) if sent.is_empty() => return Err(Error::NotPublished(error)),
            _ => {}
        }
        crash::point("redrive.confirmed");
        let Some(now) = self.note(queue, redrive, &sent).await? else {
            return Ok(None);
        };
        crash::point("redrive.noted");
        turn.ack(sent).await?;
        // The others are put back, and tried again after a pause.
        first_error.map_or(Ok(Some(now)), |error| Err(Error::NotPublished(error)))
    }

    /// Notes in the logs of the sagas, and in the request's row, that `sent` went out again.
    async fn note(
        &self,
        queue: &Queue,
        redrive: &Redrive,
        sent: &[Letter],
    ) -> Result<Option<Redrive>, Error> {
        let engine = self.desk.engine();
        let mut connection = engine.db().acquire().await?;
        let mut work = engine.work(&mut connection);
        let mut notes: BTreeMap<SagaId, Vec<DeadLetter>> = BTreeMap::new();
        for letter in sent {
            for saga in &letter.sagas {
                notes.entry(*saga).or_default().push(DeadLetter {
                    queue: queue.name.clone(),
                    message_id: letter.id.clone(),
                    edited_as: None,
                    note: redrive.reason.clone(),
                    actor: redrive.actor.clone(),
                });
            }
        }
        let notes = notes.into_iter();
        let events = notes.map(|(saga, letters)| (saga, Event::DeadLettersRedriven(letters)));
        work.note(events.collect()).await?;
        let number = i32::try_from(sent.len()).unwrap_or(i32::MAX);
        let batch = sent.iter().filter_map(Letter::mark).collect();
        let tx = work.transaction().await?;
        let now = lease::progress(&mut **tx, (redrive.id, self.id), number, batch).await?;
        if now.is_some() {
            work.commit().await?;
        }
        Ok(now)
    }
}

/// Whether `redrive` means `letter`, which has not died again since.
fn is_meant(letter: &Letter, redrive: &Redrive) -> bool {
    let is_back = letter.redrive == Some(redrive.id);
    let has_died_since = letter.reason.at.is_some_and(|at| at > redrive.created_at);
    !is_back && !has_died_since && redrive.selection.has(letter)
}

/// Whether somebody sent `letter`, noted that, and died before he acked it: then it is taken out of `unsure`.
fn was_sent(letter: &Letter, unsure: &mut Vec<String>) -> bool {
    let mark = letter.mark();
    let position = mark.and_then(|mark| unsure.iter().position(|one| *one == mark));
    position
        .map(|position| unsure.swap_remove(position))
        .is_some()
}

/// Lets others have their turn, and so much time pass as so many letters are to take.
async fn pause(redrive: &Redrive, sent: usize, stop: &CancellationToken) {
    let rate = redrive.per_second.map(f64::from);
    let seconds = rate.map_or(0.0, |rate| sent as f64 / rate);
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(PAUSE.max(Duration::from_secs_f64(seconds))) => {}
    }
}

fn positive(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
