//! Rows of the outbox that wait have a table of their own, by destination.

use sea_orm_migration::prelude::*;

/// The migration of all databases.
pub(crate) struct OutboxWaiting;

impl MigrationName for OutboxWaiting {
    fn name(&self) -> &'static str {
        "m20261122_000005_outbox_waiting"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for OutboxWaiting {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let up = include_str!("sql/outbox_waiting.sql");
        connection.execute_unprepared(up).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let down = include_str!("sql/outbox_waiting_down.sql");
        connection.execute_unprepared(down).await?;
        Ok(())
    }
}
