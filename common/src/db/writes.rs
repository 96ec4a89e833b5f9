//! Several writes in one statement.

use sqlx::{
    Arguments, AssertSqlSafe, Encode, PgExecutor, Postgres, Type,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
};

/// Writes to several tables that cost one round trip: `WITH a AS (INSERT …), b AS (UPDATE …) INSERT …`.
///
/// Each sees the tables as they were before all of them, so no two may touch the same row.
#[derive(Debug, Default)]
pub struct Writes {
    statements: Vec<String>,
    arguments: PgArguments,
    error: Option<BoxDynError>,
}

impl Writes {
    /// Adds a statement. Its parameters `$1`, `$2` … are what is bound next.
    pub fn add(&mut self, sql: &str) -> &mut Self {
        let bound = self.arguments.len();
        let mut parts = sql.split('$');
        let mut statement = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            let (number, rest) = part.split_at(digits.unwrap_or(part.len()));
            let number: usize = number.parse().expect("a $ begins a parameter");
            statement.push_str(&format!("${}{rest}", number + bound));
        }
        self.statements.push(statement);
        self
    }

    /// Binds the next parameter of the statement that was added last.
    pub fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// The name under which a later statement can read what the one that was added last returns.
    #[must_use]
    pub fn last_name(&self) -> String {
        name(self.statements.len().saturating_sub(1))
    }

    /// The statement as PostgreSQL gets it. It depends on what was added only, not on what was bound, so it is prepared
    /// once.
    #[must_use]
    pub fn sql(&self) -> String {
        let Some((last, others)) = self.statements.split_last() else {
            return String::new();
        };
        let mut sql = String::new();
        for (number, statement) in others.iter().enumerate() {
            sql.push_str(if number == 0 { "WITH " } else { ", " });
            sql.push_str(&format!("{} AS ({statement})", name(number)));
        }
        if !sql.is_empty() {
            sql.push(' ');
        }
        sql + last
    }

    /// Executes all of them, if there are any, and gives the rows that the last one returns.
    ///
    /// # Errors
    /// The database failed, and nothing is written.
    pub async fn execute(self, db: impl PgExecutor<'_>) -> sqlx::Result<Vec<PgRow>> {
        let sql = self.sql();
        if let Some(error) = self.error {
            return Err(sqlx::Error::Encode(error));
        }
        if sql.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query_with(AssertSqlSafe(sql), self.arguments)
            .fetch_all(db)
            .await
    }
}

fn name(number: usize) -> String {
    format!("write_{number}")
}

#[cfg(test)]
mod tests {
    use super::Writes;

    #[test]
    fn several_statements_become_one_and_keep_their_parameters() {
        let mut writes = Writes::default();
        assert_eq!(writes.sql(), "");
        writes
            .add("UPDATE a SET b = $2 WHERE c = $1")
            .bind(1_i64)
            .bind("b");
        assert_eq!(writes.sql(), "UPDATE a SET b = $2 WHERE c = $1");
        writes.add("INSERT INTO d VALUES ($1)").bind(2_i64);
        writes.add("INSERT INTO e VALUES ($1), ($1)").bind(3_i64);
        let sql = "WITH write_0 AS (UPDATE a SET b = $2 WHERE c = $1), write_1 AS (INSERT INTO d VALUES ($3)) \
                   INSERT INTO e VALUES ($4), ($4)";
        assert_eq!(writes.sql(), sql);
    }
}
