//! Sagas are about subjects, and orders can be returned.

use sea_orm_migration::prelude::*;

/// The migration of order_db.
pub(crate) struct Subjects;

impl MigrationName for Subjects {
    fn name(&self) -> &'static str {
        "m20261122_000003_subjects"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Subjects {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let up = include_str!("sql/order_subjects.sql");
        connection.execute_unprepared(up).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let down = include_str!("sql/order_subjects_down.sql");
        connection.execute_unprepared(down).await?;
        Ok(())
    }
}
