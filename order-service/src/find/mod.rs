//! How a page of sagas is found: whatever is asked for, only so many rows are read.
//!
//! ```text
//! few sagas can fit (open, parked, ended lately) ──► all of these are read, and sorted
//! else ──► a walk along an index that is in the order of ids: the key, or one of those that went wrong
//! ```
//!
//! A walk ends when the page is full, or after some thousand rows; then the page says where it ended, and the next one
//! goes on there. An index for each filter would make each saga slower; this makes only rare questions longer.

mod criteria;
mod filter;

use std::cmp::Reverse;

use common::http::{ApiError, Page};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, FromQueryResult, Iterable, Order,
    sea_query::{Alias, Expr, Query, SelectStatement},
};
use uuid::Uuid;

pub(crate) use self::{criteria::Criteria, filter::Filter};
use crate::entity::saga::{Column, Entity, Model};

/// Sagas that are few: as many are read and sorted for one page.
const FEW: u64 = 2_000;
/// Sagas that a walk along the key looks at: its neighbours share a block.
const WALK_MAX: u64 = 20_000;
/// Sagas that a walk along another index looks at, where each may be in a block of its own, or that looks elsewhere, too.
const SPARSE_WALK_MAX: u64 = 2_000;

/// Rows that one index has, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    rows: Condition,
    order: (Column, Order),
    max: u64,
}

impl Place {
    fn few(rows: Condition, by: Column) -> Self {
        Self {
            rows,
            order: (by, Order::Asc),
            max: FEW + 1,
        }
    }

    fn along(rows: Condition, max: u64) -> Self {
        Self {
            rows,
            order: (Column::Id, Order::Desc),
            max,
        }
    }

    /// All sagas.
    pub(crate) fn everywhere() -> Self {
        Self::along(Condition::all(), WALK_MAX)
    }

    /// All sagas, where a row of another table is looked up for each.
    pub(super) fn everywhere_and_elsewhere() -> Self {
        Self::along(Condition::all(), SPARSE_WALK_MAX)
    }

    /// Those about one subject.
    pub(crate) fn about(subject: Condition) -> Self {
        Self::along(subject, SPARSE_WALK_MAX)
    }

    /// Those that wait for something. They are in the order of their deadlines, so none is found by a walk.
    pub(crate) fn open() -> Self {
        // A partial index is used where its own words are.
        let open = Expr::cust("deadline_at IS NOT NULL");
        Self::few(Condition::all().add(open), Column::DeadlineAt)
    }

    /// Those that are parked.
    pub(crate) fn parked() -> Self {
        let parked = Expr::cust("status = 'PARKED'");
        Self::along(Condition::all().add(parked), SPARSE_WALK_MAX)
    }

    /// Those that are undone, for one reason, or for any: these are in the order of ids only within a reason.
    pub(crate) fn with_reason(reason: Option<&str>) -> Self {
        match reason {
            Some(reason) => {
                let rows = Condition::all().add(Column::Reason.eq(reason));
                Self::along(rows, SPARSE_WALK_MAX)
            }
            None => {
                let undone = Expr::cust("reason IS NOT NULL");
                Self::few(Condition::all().add(undone), Column::Reason)
            }
        }
    }

    /// Those of which something went wrong.
    pub(crate) fn with_error() -> Self {
        let wrong = Expr::cust("last_error IS NOT NULL");
        Self::along(Condition::all().add(wrong), SPARSE_WALK_MAX)
    }

    /// Those that wait for nothing and changed last at a time that `updated` says.
    pub(crate) fn ended(updated: Condition) -> Self {
        let ended = Expr::cust("deadline_at IS NULL");
        Self::few(updated.add(ended), Column::UpdatedAt)
    }

    /// At most so many of its rows.
    fn rows(&self, max: u64) -> SelectStatement {
        let (by, order) = self.order.clone();
        Query::select()
            .columns(Column::iter())
            .from(Entity)
            .cond_where(self.rows.clone())
            .order_by(by, order)
            .limit(max)
            .to_owned()
    }

    /// Those of its rows that fit, the newest first. The limit inside keeps PostgreSQL from looking any further.
    fn fitting(&self, filter: &Condition, max: u64, limit: u64) -> SelectStatement {
        Query::select()
            .columns(Column::iter())
            .from_subquery(self.rows(max), Entity)
            .cond_where(filter.clone())
            .order_by(Column::Id, Order::Desc)
            .limit(limit)
            .to_owned()
    }
}

/// What to look for, and where.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Between which ids, and when created: a walk goes there only.
    pub(crate) range: Condition,
    /// What must hold.
    pub(crate) filter: Condition,
    /// Where all that fits is, if these have few rows; no two of them share one.
    pub(crate) few: Vec<Place>,
    /// Along what to look else.
    pub(crate) walk: Place,
}

impl Search {
    /// The page of `limit` sagas after the one with the id `after`, the newest first.
    pub(crate) async fn page(
        mut self,
        db: &DatabaseConnection,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Page<Model>, ApiError> {
        let after = after.map(|id| Column::Id.lt(id));
        self.range = self.range.add_option(after);
        if let Some(mut found) = self.among_few(db, limit).await? {
            found.sort_unstable_by_key(|one| Reverse(one.id));
            // One that changed meanwhile may have been in two places.
            found.dedup_by_key(|one| one.id);
            return Ok(Page::new(found, limit, key));
        }
        self.walk.rows = self.walk.rows.add(self.range.clone());
        let walk = self.walk.fitting(&self.filter, self.walk.max, limit + 1);
        let found = all(db, &walk).await?;
        if found.len() as u64 > limit {
            return Ok(Page::new(found, limit, key));
        }
        Ok(match self.end_of_walk(db).await? {
            Some(seen) => Page::unfinished(found, seen.to_string()),
            None => Page::new(found, limit, key),
        })
    }

    /// What fits, if there are few places where it can be.
    async fn among_few(
        &self,
        db: &DatabaseConnection,
        limit: u64,
    ) -> Result<Option<Vec<Model>>, ApiError> {
        if self.few.is_empty() {
            return Ok(None);
        }
        for place in &self.few {
            if is_beyond(db, &place.rows(FEW + 1), FEW).await?.is_some() {
                return Ok(None);
            }
        }
        let filter = self.filter.clone().add(self.range.clone());
        let mut found = Vec::new();
        for place in &self.few {
            let fitting = place.fitting(&filter, FEW + 1, limit + 1);
            found.append(&mut all(db, &fitting).await?);
        }
        Ok(Some(found))
    }

    /// The last saga that a walk looks at, if it does not come to the end.
    async fn end_of_walk(&self, db: &DatabaseConnection) -> Result<Option<Uuid>, ApiError> {
        is_beyond(db, &self.walk.rows(self.walk.max), self.walk.max - 1).await
    }
}

/// The id of the row behind `count` others, if there is one.
async fn is_beyond(
    db: &DatabaseConnection,
    rows: &SelectStatement,
    count: u64,
) -> Result<Option<Uuid>, ApiError> {
    let beyond = Query::select()
        .column(Column::Id)
        .from_subquery(rows.clone(), Alias::new("some"))
        .offset(count)
        .limit(1)
        .to_owned();
    let found = db.query_one(&beyond).await?;
    Ok(found.map(|row| row.try_get("", "id")).transpose()?)
}

async fn all(db: &DatabaseConnection, query: &SelectStatement) -> Result<Vec<Model>, ApiError> {
    let statement = db.get_database_backend().build(query);
    Ok(Model::find_by_statement(statement).all(db).await?)
}

fn key(row: &Model) -> String {
    row.id.to_string()
}

#[cfg(test)]
mod tests;
