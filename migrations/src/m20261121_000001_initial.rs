//! The first schema of each database: its own tables, and those of messaging.

use sea_orm_migration::prelude::*;

/// Plain SQL up, and the tables that it made dropped on the way down.
pub(crate) struct Initial {
    tables: &'static str,
    drop: &'static str,
}

pub(crate) const ORDER: Initial = Initial {
    tables: include_str!("sql/order.sql"),
    drop: "DROP TABLE saga_log, sagas, orders; DROP FUNCTION saga_log_is_append_only",
};
pub(crate) const PAYMENT: Initial = Initial {
    tables: include_str!("sql/payment.sql"),
    drop: "DROP TABLE payments",
};
pub(crate) const INVENTORY: Initial = Initial {
    tables: include_str!("sql/inventory.sql"),
    drop: "DROP TABLE reservations, inventory_items",
};

impl MigrationName for Initial {
    fn name(&self) -> &'static str {
        "m20261121_000001_initial"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Initial {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection
            .execute_unprepared(include_str!("sql/messaging.sql"))
            .await?;
        connection.execute_unprepared(self.tables).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(self.drop).await?;
        connection
            .execute_unprepared("DROP TABLE outbox, idempotency")
            .await?;
        Ok(())
    }
}
