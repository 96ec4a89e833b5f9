//! What the handlers of dead letters share: where a letter is, and what is said where nothing can be done.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use common::http::{ApiError, problem::types};

use crate::{
    dead_letters::{Error, Queue},
    http::{api, idempotency_key},
};

/// The dead-letter queue that a path names, and the message, where it names one.
#[derive(Debug)]
pub(super) struct At {
    pub(super) queue: Queue,
    pub(super) message_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Ok(Path(params)) = params else {
            return Err(ApiError::bad_field("path", "must be UTF-8"));
        };
        let mut values = params.into_iter().map(|(_, value)| value);
        let (name, message_id) = (values.next().unwrap_or_default(), values.next());
        let Some(queue) = Queue::find(&name) else {
            let names: Vec<_> = Queue::all().into_iter().map(|queue| queue.name).collect();
            let detail = format!(
                "there is no dead-letter queue {name:?}: there are {}",
                names.join(", ")
            );
            return Err(ApiError::NotFound(detail));
        };
        Ok(Self {
            queue,
            message_id: message_id.unwrap_or_default(),
        })
    }
}

/// What is said of an error.
pub(super) fn refusal(error: Error) -> ApiError {
    let detail = error.to_string();
    let refused = |kind| ApiError::Refused(kind, detail);
    match error {
        Error::Busy(_) => refused(&types::OVERLOADED),
        Error::Broker(_) | Error::NotPublished(_) => refused(&types::DEPENDENCY_AWAY),
        Error::Database(error) => error.into(),
        Error::Saga(error) => api::refusal(error),
        Error::NoSuchLetter(detail) => ApiError::NotFound(detail),
        Error::Refused(_) => refused(&types::DEAD_LETTER_REFUSED),
        Error::KeyReused => idempotency_key::reused(),
    }
}
