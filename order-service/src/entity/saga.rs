//! The table `sagas`.

use common::contract::Reason;
use saga::{State, Table};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sagas")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) subject: String,
    #[sea_orm(column_name = "type")]
    pub(crate) kind: String,
    pub(crate) definition_version: i32,
    pub(crate) status: String,
    pub(crate) current_step: Option<String>,
    pub(crate) attempt: i32,
    pub(crate) reason: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) version: i32,
    pub(crate) overruled: bool,
    pub(crate) command_id: Option<Uuid>,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) deadline_at: Option<DateTimeUtc>,
    pub(crate) expires_at: Option<DateTimeUtc>,
    pub(crate) created_at: DateTimeUtc,
    pub(crate) updated_at: DateTimeUtc,
}

/// Relations are not used: reads are by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Where the saga is, for its definition; none where its columns make no sense together.
    pub(crate) fn state(&self, definition: &dyn Table) -> Option<State> {
        let reason = self.reason.as_deref().map(str::parse::<Reason>);
        let (status, attempt) = (self.status.parse().ok()?, u32::try_from(self.attempt).ok()?);
        let step = self.current_step.as_deref();
        State::from_columns(definition, status, step, attempt, reason.transpose().ok()?)
    }
}
