//! One saga, as requests find it.

use common::{contract::SagaId, http::ApiError};
use saga::store::{self, Written};
use sea_orm::EntityTrait;

use super::view::SagaDetails;
use crate::{entity::saga as row, http::api::Api};

/// Reads a saga with its steps and its log.
pub(super) async fn details(api: &Api, id: SagaId) -> Result<SagaDetails, ApiError> {
    let (row, log) = read(api, id).await?;
    Ok(SagaDetails::new(api.engine.registry(), row, log))
}

/// Reads a saga's row.
pub(super) async fn row(api: &Api, id: SagaId) -> Result<row::Model, ApiError> {
    let row = row::Entity::find_by_id(id.0).one(&api.reads).await?;
    row.ok_or_else(|| ApiError::NotFound(format!("there is no saga {id}")))
}

/// Reads a saga's row and its log, as of one moment.
pub(super) async fn read(api: &Api, id: SagaId) -> Result<(row::Model, Vec<Written>), ApiError> {
    let row = row(api, id).await?;
    let mut log = store::load(api.engine.db(), id).await?;
    // The row was read first: what has been decided since then is left out.
    log.retain(|entry| entry.seq <= row.version);
    Ok((row, log))
}
