//! Dead letters: which there are, and why.

mod mend;
mod redrive;
mod shared;
mod view;

use std::str::FromStr;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use common::{
    contract::SagaId,
    db,
    http::{
        ApiError, Page, Part,
        extract::{Query, Text},
    },
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    shared::{At, refusal},
    view::{BODY_IN_FULL, BODY_IN_LIST, LetterView, QueueView},
};
use super::api::Api;
use crate::dead_letters::{Letter, Queue};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(queues))
        .routes(routes!(list))
        .routes(routes!(get_one))
        .merge(redrive::routes())
        .merge(mend::routes())
}

/// List the dead-letter queues of all services, with their letters grouped by what went wrong.
///
/// The groups are made of the oldest 1000 letters of each queue; `complete` says whether these are all.
#[utoipa::path(get, path = "/dead-letters", operation_id = "listDeadLetterQueues", tag = "dead letters",
    responses((status = 200, description = "The queues, all of them", body = Page<QueueView>)))]
async fn queues(State(api): State<Api>) -> Result<Json<Page<QueueView>>, ApiError> {
    let mut looking = JoinSet::new();
    for (position, queue) in Queue::all().into_iter().enumerate() {
        let desk = api.desk.clone();
        let look = async move {
            let window = desk.look(&queue).await.map_err(refusal)?;
            Ok::<_, ApiError>((position, QueueView::new(queue, &window)))
        };
        looking.spawn(db::in_own_task(look));
    }
    let mut views = Vec::new();
    while let Some(looked) = looking.join_next().await {
        views.push(looked.map_err(|error| ApiError::Internal(error.into()))??);
    }
    views.sort_by_key(|(position, _)| *position);
    Ok(Json(Page {
        items: views.into_iter().map(|(_, view)| view).collect(),
        next_cursor: None,
    }))
}

/// Which letters to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only letters of this saga.
    #[param(value_type = SagaId, required = false)]
    saga_id: Option<SagaId>,
    /// Only letters with this fingerprint.
    #[param(value_type = Text, required = false)]
    group: Option<Text>,
    /// Only messages of this type.
    #[serde(rename = "type")]
    #[param(value_type = Text, required = false)]
    kind: Option<Text>,
}

impl Filter {
    fn has(&self, letter: &Letter) -> bool {
        let group = self.group.as_ref().map(|Text(group)| group);
        let kind = self.kind.as_ref().map(|Text(kind)| kind);
        self.saga_id.is_none_or(|saga| letter.sagas.contains(&saga))
            && group.is_none_or(|group| *group == letter.fingerprint)
            && kind.is_none_or(|kind| letter.kind.as_ref() == Some(kind))
    }
}

/// A page of letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LetterPage {
    /// The letters, the oldest first.
    items: Vec<LetterView>,
    /// Ask again with this `cursor` for the next part; null at the end of what is looked at.
    next_cursor: Option<String>,
    /// Letters in the queue.
    messages: u32,
    /// The oldest letters, of which the list is made: 1000, or fewer large ones.
    looked_at: usize,
    /// Whether these are all.
    complete: bool,
}

/// List the letters of a queue, the oldest first, of the oldest 1000.
#[utoipa::path(get, path = "/dead-letters/{queue}", operation_id = "listDeadLetters", tag = "dead letters",
    params(("queue" = String, Path, description = "A dead-letter queue", example = "payment.commands.dlq"), Filter, Part),
    responses((status = 200, description = "A page of letters", body = LetterPage),
              (status = 404, description = "No such queue")))]
async fn list(
    State(api): State<Api>,
    At { queue, .. }: At,
    Query(filter): Query<Filter>,
    Query(part): Query<Part>,
) -> Result<Json<LetterPage>, ApiError> {
    let (limit, after) = (part.limit()?, part.after::<Place>()?);
    let look = async move { api.desk.look(&queue).await.map_err(refusal) };
    let window = db::in_own_task(look).await?;
    let mut letters: Vec<_> = window.letters.iter().collect();
    letters.sort_by(|one, other| (one.reason.at, &one.id).cmp(&(other.reason.at, &other.id)));
    let placed = letters.iter().map(|letter| Place::of(letter));
    let numbered = placed
        .zip(&letters)
        .scan(None::<Place>, |before, (mut place, letter)| {
            if let Some(before) = before.as_ref().filter(|before| before.is_same(&place)) {
                place.copy = before.copy + 1;
            }
            *before = Some(place.clone());
            Some((place, *letter))
        });
    let shown = numbered.filter(|(place, letter)| {
        filter.has(letter) && after.as_ref().is_none_or(|after| place > after)
    });
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = Page::new(shown.take(most + 1).collect(), limit, |(place, _)| {
        place.to_string()
    });
    Ok(Json(LetterPage {
        next_cursor: page.next_cursor,
        items: page
            .items
            .into_iter()
            .map(|(_, letter)| LetterView::new(letter, BODY_IN_LIST))
            .collect(),
        messages: window.in_queue,
        looked_at: window.letters.len(),
        complete: window.is_complete(),
    }))
}

/// Where a letter is in a list: by the time of its death.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Option<DateTime<Utc>>,
    id: String,
    /// Of letters with the same time and id, the how manieth.
    copy: usize,
}

impl Place {
    fn of(letter: &Letter) -> Self {
        Self {
            at: letter.reason.at,
            id: letter.id.clone(),
            copy: 0,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.at, &self.id) == (&other.at, &other.id)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at.map(|at| at.to_rfc3339()).unwrap_or_default();
        write!(f, "{at} {} {}", self.copy, self.id)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [at, copy, id] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            return Err(());
        };
        let time = match at {
            "" => None,
            at => Some(at.parse().map_err(|_| ())?),
        };
        Ok(Self {
            at: time,
            id: id.to_owned(),
            copy: copy.parse().map_err(|_| ())?,
        })
    }
}

/// Read one letter in full. Of several with the same id, it is the first in the queue.
#[utoipa::path(get, path = "/dead-letters/{queue}/{messageId}", operation_id = "getDeadLetter", tag = "dead letters",
    params(("queue" = String, Path, description = "A dead-letter queue", example = "payment.commands.dlq"),
           ("messageId" = String, Path, description = "As the list shows it")),
    responses((status = 200, description = "The letter", body = LetterView),
              (status = 404, description = "No such queue, or no such letter in it")))]
async fn get_one(State(api): State<Api>, at: At) -> Result<Json<LetterView>, ApiError> {
    let find = async move {
        api.desk
            .find(&at.queue, &at.message_id)
            .await
            .map_err(refusal)
    };
    let letter = db::in_own_task(find).await?;
    Ok(Json(LetterView::new(&letter, BODY_IN_FULL)))
}
