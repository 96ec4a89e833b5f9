//! What is kept for some days only is partitioned by day, and what grows is vacuumed by what changes.

use sea_orm_migration::prelude::*;

/// The smallest UUID v7 of a day; UTC.
const FIRST_ID: &str = "
    CREATE FUNCTION first_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN rpad(lpad(to_hex((extract(epoch FROM day) * 1000)::bigint), 12, '0'), 32, '0')::uuid";

/// A table that becomes partitioned.
struct Partitioned {
    table: &'static str,
    key: &'static str,
}

const IDEMPOTENCY: Partitioned = Partitioned {
    table: "idempotency",
    key: "saga_id, step, direction",
};
const SAGA_LOG: Partitioned = Partitioned {
    table: "saga_log",
    key: "saga_id, seq",
};

impl Partitioned {
    fn up(&self) -> String {
        self.fill(include_str!("sql/partition.sql"))
    }

    fn down(&self) -> String {
        self.fill(include_str!("sql/unpartition.sql"))
    }

    fn fill(&self, sql: &str) -> String {
        sql.replace("{table}", self.table)
            .replace("{key}", self.key)
    }
}

/// Partitions tables, and tells autovacuum about others.
pub(crate) struct Retention {
    partitioned: &'static [Partitioned],
    /// What must be undone before a table is partitioned, and what is made anew after that; the same for the way down.
    around_up: (&'static str, &'static str),
    around_down: (&'static str, &'static str),
    /// Tables that keep their rows.
    kept: &'static [&'static str],
}

pub(crate) const ORDER: Retention = Retention {
    partitioned: &[IDEMPOTENCY, SAGA_LOG],
    // A foreign key would lock `sagas` whenever a partition comes or goes, and both cost a query and a row lock for
    // each row, a quarter of what PostgreSQL did; the audit finds rows without the other. A trigger for each row, unlike one for each statement, is in every partition.
    around_up: (
        "DROP TRIGGER append_only ON saga_log;
         ALTER TABLE saga_log DROP CONSTRAINT saga_log_saga_id_fkey;
         ALTER TABLE sagas DROP CONSTRAINT sagas_order_id_fkey",
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON saga_log
             FOR EACH ROW EXECUTE FUNCTION saga_log_is_append_only()",
    ),
    around_down: (
        "",
        "ALTER TABLE sagas ADD FOREIGN KEY (order_id) REFERENCES orders (id);
         ALTER TABLE saga_log ADD FOREIGN KEY (saga_id) REFERENCES sagas (id);
         CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON saga_log
             FOR EACH STATEMENT EXECUTE FUNCTION saga_log_is_append_only()",
    ),
    kept: &["orders", "sagas"],
};
pub(crate) const PAYMENT: Retention = Retention {
    partitioned: &[IDEMPOTENCY],
    around_up: ("", ""),
    around_down: ("", ""),
    kept: &["payments"],
};
pub(crate) const INVENTORY: Retention = Retention {
    kept: &["reservations"],
    ..PAYMENT
};

impl MigrationName for Retention {
    fn name(&self) -> &'static str {
        "m20261121_000002_retention"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Retention {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let mut script = vec![FIRST_ID.to_owned(), self.around_up.0.to_owned()];
        script.extend(self.partitioned.iter().map(Partitioned::up));
        script.push(self.around_up.1.to_owned());
        // A fifth of a million rows, which is PostgreSQL's default, would be too much to leave lying around.
        script.extend(self.kept.iter().map(|table| {
            format!(
                "ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
                     autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 5000)"
            )
        }));
        connection.execute_unprepared(&script.join(";\n")).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let mut script = vec![self.around_down.0.to_owned()];
        script.extend(self.partitioned.iter().map(Partitioned::down));
        script.push(self.around_down.1.to_owned());
        script.extend(self.kept.iter().map(|table| {
            format!(
                "ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
                     autovacuum_analyze_scale_factor, autovacuum_analyze_threshold)"
            )
        }));
        script.push("DROP FUNCTION first_id".to_owned());
        connection.execute_unprepared(&script.join(";\n")).await?;
        Ok(())
    }
}
