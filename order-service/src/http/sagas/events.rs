//! Log entries as they are written, as server-sent events.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use chrono::{DateTime, SecondsFormat, Utc};
use common::{
    contract::SagaId,
    http::{
        ApiError,
        extract::{PathId, Query, Text},
        problem::types,
    },
};
use futures_util::stream;
use saga::store;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc},
    time::{MissedTickBehavior, interval},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    one,
    view::{LogEntry, SagaSummary},
};
use crate::{
    http::api::Api,
    live::{Happening, News},
};

const LAST_EVENT_ID: &str = "last-event-id";
/// How often a stream about one saga looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What keeps a silent stream open.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// When a client may come back.
const RETRY: Duration = Duration::from_secs(1);
/// Events that wait for a client to read them.
const UNREAD_MAX: usize = 64;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(of_all))
        .routes(routes!(of_one))
}

/// How documents describe the header.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described only: `last_id` reads it")]
struct LastEventId {
    /// The `id` of the last event that was read: the stream goes on behind it.
    #[param(rename = "Last-Event-ID", value_type = String, required = false, max_length = 64)]
    id: Option<String>,
}

/// Which entries to send. All that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only those of sagas of this type.
    #[serde(rename = "type")]
    #[param(value_type = Text, required = false, example = "create_order")]
    kind: Option<Text>,
    /// Only those of sagas about this.
    #[param(value_type = Text, required = false, example = "order/01976a3d-0000-7000-8000-000000000001")]
    subject: Option<Text>,
    /// Only entries of this name.
    #[param(value_type = Text, required = false, example = "SAGA_PARKED")]
    event: Option<Text>,
}

/// A log entry, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SagaEvent {
    saga_id: SagaId,
    #[serde(rename = "type")]
    #[schema(example = "create_order")]
    kind: String,
    #[schema(example = "order/01976a3d-0000-7000-8000-000000000001")]
    subject: String,
    #[serde(flatten)]
    entry: LogEntry,
}

impl From<&Happening> for SagaEvent {
    fn from(one: &Happening) -> Self {
        Self {
            saga_id: one.saga,
            kind: one.kind.clone(),
            subject: one.subject.clone(),
            entry: one.entry.clone().into(),
        }
    }
}

impl Wanted {
    fn fits(&self, one: &Happening) -> bool {
        let fits = |wanted: &Option<Text>, there: &str| {
            wanted.as_ref().is_none_or(|Text(wanted)| wanted == there)
        };
        fits(&self.kind, &one.kind)
            && fits(&self.subject, &one.subject)
            && fits(&self.event, &one.entry.event)
    }
}

/// Follow all sagas: each log entry, soon after it is written, as a server-sent event.
///
/// `entry` is a log entry and whose it is, as JSON; `skipped` says that more has happened than was sent, because there was
/// too much of it or because the client reads too slowly. Whoever comes back with `Last-Event-ID` is told what it has
/// missed, for up to five minutes; an entry may come twice then, and is known by `sagaId` and `seq`. Of more than 2 000
/// open sagas, those are looked at whose deadlines come last.
#[utoipa::path(get, path = "/sagas/events", operation_id = "followSagas", tag = "sagas", params(Wanted, LastEventId),
    responses((status = 200, description = "The stream; the data of `entry`", body = SagaEvent, content_type = "text/event-stream")))]
async fn of_all(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_id(&headers, "the time in the id of an event", |id| {
        DateTime::parse_from_rfc3339(id).ok()
    })?;
    let stream = Stream::open(&api)?;
    let mut news = api.live.follow();
    // Followed first, so that what happens meanwhile comes twice rather than not at all.
    let missed = match last {
        Some(last) => api.live.since(last.to_utc()).await?,
        None => vec![],
    };
    Ok(stream.answer(async move |client| {
        for one in missed {
            client.tell(&wanted, one).await?;
        }
        loop {
            let one = match news.recv().await {
                Ok(one) => one,
                Err(RecvError::Lagged(_)) => News::Skipped,
                Err(RecvError::Closed) => return None,
            };
            client.tell(&wanted, one).await?;
        }
    }))
}

/// Follow a saga: its log from the beginning, and then each entry soon after it is written, as server-sent events.
///
/// `entry` is a log entry as in `log` of the saga; its `id` is its number, so whoever comes back with `Last-Event-ID`
/// misses nothing and gets nothing twice. `saga` follows: the saga as in `GET /sagas`. The stream stays open when the
/// saga has ended, for a reply that comes too late is an entry, too.
#[utoipa::path(get, path = "/sagas/{sagaId}/events", operation_id = "followSaga", tag = "sagas",
    params(("sagaId" = SagaId, Path), LastEventId),
    responses((status = 200, description = "The stream; the data of `entry`", body = LogEntry, content_type = "text/event-stream"),
              (status = 404, description = "No such saga")))]
async fn of_one(
    State(api): State<Api>,
    PathId(id): PathId<SagaId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_id(&headers, "the number of a log entry", |id| id.parse().ok())?;
    one::row(&api, id).await?;
    let stream = Stream::open(&api)?;
    let mut last: i32 = last.unwrap_or(0);
    Ok(stream.answer(async move |client| {
        let mut turns = interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            // Where the database does not tell, the next look does.
            let Ok(saga) = one::row(&api, id).await else {
                continue;
            };
            if saga.version <= last {
                continue;
            }
            let Ok(log) = store::load_after(api.engine.db(), id, last).await else {
                continue;
            };
            // The row was read first: what has been decided since then comes with the next look.
            for entry in log.into_iter().filter(|one| one.seq <= saga.version) {
                let event = Event::default().id(entry.seq.to_string());
                client
                    .send(event.event("entry"), LogEntry::from(entry))
                    .await?;
            }
            last = saga.version;
            let event = Event::default().event("saga");
            client.send(event, SagaSummary::from(saga)).await?;
        }
    }))
}

/// What `Last-Event-ID` says, where it is there.
fn last_id<T>(
    headers: &HeaderMap,
    rule: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let id = value
        .to_str()
        .ok()
        .filter(|id| !id.is_empty())
        .and_then(read);
    let wrong = || ApiError::bad_field("Last-Event-ID", format!("must be {rule}"));
    id.map(Some).ok_or_else(wrong)
}

/// A stream that a client may have.
struct Stream {
    place: OwnedSemaphorePermit,
    live: crate::live::Live,
}

impl Stream {
    fn open(api: &Api) -> Result<Self, ApiError> {
        let full = "too many streams of events are open in this process already";
        let place = api.live.enter();
        Ok(Self {
            place: place.ok_or_else(|| ApiError::Refused(&types::OVERLOADED, full.to_owned()))?,
            live: api.live.clone(),
        })
    }

    /// The stream that `tell` writes, until it ends, the client leaves or the service stops.
    fn answer<F>(self, tell: impl FnOnce(Client) -> F) -> Response
    where
        F: Future<Output = Option<Infallible>> + Send + 'static,
    {
        let (events, unread) = mpsc::channel(UNREAD_MAX);
        let left = events.clone();
        let telling = tell(Client(events));
        tokio::spawn(async move {
            tokio::select! {
                () = self.live.stop.cancelled() => {}
                () = left.closed() => {}
                _ = telling => {}
            }
            drop(self.place);
        });
        let unread = stream::unfold(unread, async |mut unread| {
            let event: Event = unread.recv().await?;
            Some((Ok::<_, Infallible>(event), unread))
        });
        let alive = KeepAlive::new().interval(ALIVE_EVERY);
        // A proxy would keep what is small until there is more of it.
        let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
        (unbuffered, Sse::new(unread).keep_alive(alive)).into_response()
    }
}

/// Who reads a stream. When it has left, nothing more is told.
struct Client(mpsc::Sender<Event>);

impl Client {
    async fn send(&self, event: Event, data: impl Serialize) -> Option<()> {
        let event = event.retry(RETRY).json_data(data).ok()?;
        self.0.send(event).await.ok()
    }

    async fn tell(&self, wanted: &Wanted, one: News) -> Option<()> {
        match one {
            News::Skipped => {
                let nothing = serde_json::Map::new();
                self.send(Event::default().event("skipped"), nothing).await
            }
            News::Entry(one) if wanted.fits(&one) => self.entry(&one).await,
            News::Entry(_) => Some(()),
        }
    }

    async fn entry(&self, one: &Arc<Happening>) -> Option<()> {
        let at: DateTime<Utc> = one.entry.at;
        let id = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let event = Event::default().id(id).event("entry");
        self.send(event, SagaEvent::from(&**one)).await
    }
}
