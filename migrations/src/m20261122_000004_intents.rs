//! Charges that are written down before the gateway is asked for them.

use sea_orm_migration::prelude::*;

/// The migration of payment_db.
pub(crate) struct Intents;

impl MigrationName for Intents {
    fn name(&self) -> &'static str {
        "m20261122_000004_intents"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Intents {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let up = include_str!("sql/payment_intents.sql");
        connection.execute_unprepared(up).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared("DROP TABLE intents").await?;
        Ok(())
    }
}
