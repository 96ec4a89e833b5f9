//! Asking for letters to be sent again.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use common::{
    contract::{SagaId, clock},
    db,
    http::{
        ApiError,
        extract::{Body, Checks, Query, Text},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::shared::{At, refusal};
use crate::{
    dead_letters::{self, NewRedrive, Preview, Queue, Redrive, Refusal, Selection},
    http::{actor, api::Api, dry_run::DryRun, idempotency_key, redrives::RedriveView},
    idempotency::Idempotency,
};

/// Messages that a request names at most.
const IDS_MAX: usize = 1000;
/// Letters that a request is about at most.
const LETTERS_MAX: u32 = 10_000_000;
/// Letters a second at most.
const RATE_MAX: u32 = 10_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(redrive))
}

/// Which letters are to be sent again: those that all of `messageIds`, `group` and `sagaId` let through.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewRedrive)]
struct Wanted {
    /// Why; kept with the request and in the logs of the sagas.
    #[schema(value_type = Text, example = "the payment service is mended")]
    reason: String,
    /// Only these messages, at most 1000.
    #[schema(value_type = Option<Vec<Text>>, min_items = 1, max_items = 1000)]
    message_ids: Option<Vec<String>>,
    /// Only letters with this fingerprint.
    #[schema(value_type = Option<Text>)]
    group: Option<String>,
    /// Only letters of this saga.
    saga_id: Option<SagaId>,
    /// No more letters than this.
    #[schema(minimum = 1, maximum = 10_000_000)]
    max: Option<u32>,
    /// No more letters a second than this.
    #[schema(minimum = 1, maximum = 10_000)]
    rate_per_second: Option<u32>,
    /// Also letters whose saga has ended. Without it, they stay.
    #[serde(default)]
    force: bool,
}

/// What would be done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RedrivePreview)]
struct PreviewView {
    dry_run: bool,
    /// Letters in the queue.
    messages: u32,
    /// Letters that were looked at, from the oldest on, until there were enough.
    looked_at: u32,
    /// Letters that would be sent again.
    would_redrive: usize,
    /// The first 200 of them.
    message_ids: Vec<String>,
    /// Letters that would stay.
    would_refuse: usize,
    /// The first 200 of them, and why.
    refusals: Vec<Refusal>,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        Self {
            dry_run: true,
            messages: preview.in_queue,
            looked_at: preview.looked_at,
            would_redrive: preview.redriven,
            message_ids: preview.letters,
            would_refuse: preview.refused,
            refusals: preview.refusals,
        }
    }
}

/// Send letters to the queue that they come from again: one, a group, those of a saga, or all.
///
/// They go out one batch after another, in the background, whichever replica has the time. What dies again in the
/// meantime is not sent a second time by the same request. A letter whose saga has ended stays, unless `force` is true;
/// one that can never be read stays in any case. With an `Idempotency-Key`, the same request is carried out once.
#[utoipa::path(post, path = "/dead-letters/{queue}/redrive", operation_id = "redriveDeadLetters", tag = "dead letters",
    request_body = Wanted,
    params(("queue" = String, Path, description = "A dead-letter queue", example = "payment.commands.dlq"),
           DryRun, actor::Header, idempotency_key::Header),
    responses((status = 200, description = "What would be done, with `dryRun=true`", body = PreviewView),
              (status = 201, description = "Accepted, now or before with the same key", body = RedriveView,
               headers(("Location" = String, description = "Where its progress can be read"),
                       ("Idempotency-Replayed" = String, description = "`true` where it was made before, with the same key"))),
              (status = 404, description = "No such queue"),
              (status = 422, description = "Invalid fields: `/problems/invalid-fields`; or the key came with another request \
               before: `/problems/idempotency-key-reused`")))]
async fn redrive(
    State(api): State<Api>,
    At { queue, .. }: At,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Result<Response, ApiError> {
    let actor = actor::read(&headers)?;
    let is_dry_run = dry_run.is_asked_for()?;
    wanted.check()?;
    let idempotency = idempotency_key::read(&headers, &(&queue.name, &actor, &wanted))?;
    if is_dry_run {
        let preview = async move {
            let (selection, max) = (wanted.selection(), wanted.max.unwrap_or(LETTERS_MAX));
            let preview = api.desk.preview(&queue, &selection, wanted.force, max);
            preview.await.map_err(refusal)
        };
        let preview = db::in_own_task(preview).await?;
        return Ok((StatusCode::OK, Json(PreviewView::from(preview))).into_response());
    }
    let created = async move { create(&api, &queue, actor, wanted, idempotency).await };
    let (redrive, replayed) = db::in_own_task(created).await?;
    let location = format!("/redrives/{}", redrive.id);
    Ok(idempotency_key::created(
        location,
        RedriveView::from(redrive),
        replayed,
    ))
}

/// Stores the request, unless the same one came before.
async fn create(
    api: &Api,
    queue: &Queue,
    actor: String,
    wanted: Wanted,
    idempotency: Option<Idempotency>,
) -> Result<(Redrive, bool), ApiError> {
    let db = api.engine.db();
    let earlier = async || match &idempotency {
        Some(request) => match dead_letters::find_by_key(db, request).await? {
            Some((hash, redrive)) if hash == request.hash => Ok(Some(redrive)),
            Some(_) => Err(idempotency_key::reused()),
            None => Ok(None),
        },
        None => Ok(None),
    };
    if let Some(redrive) = earlier().await? {
        return Ok((redrive, true));
    }
    let letters = api.desk.count(queue).await.map_err(refusal)?;
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let new = NewRedrive {
        id: clock::new_id(),
        queue: queue.name.clone(),
        selection: wanted.selection(),
        force: wanted.force,
        letters: number(letters),
        letters_max: number(wanted.max.unwrap_or(letters).min(letters)),
        per_second: wanted.rate_per_second.map(number),
        actor,
        reason: wanted.reason,
    };
    match dead_letters::create(db, &new, idempotency.as_ref()).await {
        Ok(redrive) => {
            api.redrives.ask();
            Ok((redrive, false))
        }
        Err(error) if db::violates(&error, "redrives_idempotency_key") => {
            let redrive = earlier().await?;
            redrive
                .map(|redrive| (redrive, true))
                .ok_or_else(idempotency_key::reused)
        }
        Err(error) => Err(error.into()),
    }
}

impl Wanted {
    fn check(&self) -> Result<(), ApiError> {
        let mut checks = Checks::default();
        checks.text("reason", &self.reason);
        checks.optional_text("group", self.group.as_deref());
        if let Some(ids) = &self.message_ids {
            let rule = format!("must have 1 to {IDS_MAX} ids");
            checks.require((1..=IDS_MAX).contains(&ids.len()), "messageIds", rule);
            for (position, id) in ids.iter().enumerate().take(IDS_MAX) {
                checks.text(format!("messageIds[{position}]"), id);
            }
        }
        let fits = |number: Option<u32>, most| number.is_none_or(|n| (1..=most).contains(&n));
        let rule = format!("must be from 1 to {LETTERS_MAX}");
        checks.require(fits(self.max, LETTERS_MAX), "max", rule);
        let rule = format!("must be from 1 to {RATE_MAX}");
        checks.require(fits(self.rate_per_second, RATE_MAX), "ratePerSecond", rule);
        checks.finish()
    }

    fn selection(&self) -> Selection {
        Selection {
            message_ids: self.message_ids.clone(),
            group: self.group.clone(),
            saga_id: self.saga_id,
        }
    }
}
