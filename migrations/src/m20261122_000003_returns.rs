//! The books of returns: what was given back of a payment, and what came back to the shelf.

use sea_orm_migration::prelude::*;

/// Plain SQL up and down.
pub(crate) struct Returns {
    up: &'static str,
    down: &'static str,
}

pub(crate) const PAYMENT: Returns = Returns {
    up: include_str!("sql/payment_returns.sql"),
    down: "DROP TABLE refunds; ALTER TABLE payments DROP COLUMN refunded_minor",
};
pub(crate) const INVENTORY: Returns = Returns {
    up: include_str!("sql/inventory_returns.sql"),
    down: "DROP TABLE restocks",
};

impl MigrationName for Returns {
    fn name(&self) -> &'static str {
        "m20261122_000003_returns"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Returns {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(self.up).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(self.down).await?;
        Ok(())
    }
}
