//! Which sagas a list shows, and where they are found.

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    contract::{OrderId, clock},
    http::{ApiError, extract::Text, id_after, time},
};
use saga::Status;
use sea_orm::{ColumnTrait, Condition, sea_query::Expr};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Place, Search};
use crate::{entity::saga as row, orders};

/// Which sagas to list. All that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only sagas in this status.
    #[param(value_type = Status, required = false)]
    status: Option<Status>,
    /// Only sagas of this type: the definition's name.
    #[serde(rename = "type")]
    #[param(value_type = Text, required = false, example = "create_order")]
    kind: Option<Text>,
    /// Only sagas that are at this step.
    #[param(value_type = Text, required = false)]
    step: Option<Text>,
    /// Only the sagas about this: a kind, a slash and an id.
    #[param(value_type = Text, required = false, example = "order/01976a3d-0000-7000-8000-000000000001")]
    subject: Option<Text>,
    /// Only the sagas of this order.
    #[param(value_type = OrderId, required = false)]
    order_id: Option<OrderId>,
    /// Only sagas that are or were undone for this reason.
    #[param(value_type = Text, required = false, example = "OUT_OF_STOCK")]
    reason: Option<Text>,
    /// Only sagas whose `lastError` contains this, in capitals or not.
    #[param(value_type = Text, required = false, example = "no reply")]
    error: Option<Text>,
    /// Only sagas that changed then or later.
    #[param(value_type = DateTime<Utc>, required = false)]
    updated_from: Option<String>,
    /// Only sagas that changed last before that.
    #[param(value_type = DateTime<Utc>, required = false)]
    updated_before: Option<String>,
    /// Only sagas that were started longer ago than this: `90s`, `15m`, `2h`, `1d`.
    #[param(value_type = String, required = false, pattern = "^([0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,6}h|[0-9]{1,4}d)$", example = "15m")]
    older_than: Option<String>,
    /// Only sagas that need somebody: parked, a minute past their deadline, or with a command
    /// that could not leave for a minute.
    #[param(value_type = bool, required = false)]
    stuck: Option<String>,
}

/// Sagas that changed at some time.
#[derive(Clone, Copy)]
struct Updated {
    from: Option<DateTime<Utc>>,
    before: Option<DateTime<Utc>>,
}

impl Updated {
    fn condition(self) -> Condition {
        let (from, before) = (self.from, self.before);
        Condition::all()
            .add_option(from.map(|time| row::Column::UpdatedAt.gte(time)))
            .add_option(before.map(|time| row::Column::UpdatedAt.lt(time)))
    }
}

impl Filter {
    /// What to look for, and where.
    ///
    /// # Errors
    /// 400: one of its fields makes no sense.
    pub(crate) fn search(&self) -> Result<Search, ApiError> {
        let updated = self.updated()?;
        let older_than = self.older_than()?;
        let is_stuck = self.is_stuck()?;
        let equal = |column: row::Column, text: &Option<Text>| {
            text.as_ref().map(|Text(text)| column.eq(text.as_str()))
        };
        let subject = self.order_id.map(orders::subject);
        let subject = subject.map(|one| row::Column::Subject.eq(one.as_str()));
        let subjects = Condition::all()
            .add_option(subject)
            .add_option(equal(row::Column::Subject, &self.subject));
        let status = self.status.map(<&str>::from);
        let error = self.error.as_ref().map(|Text(text)| {
            Expr::cust_with_values("strpos(lower(last_error), lower($1)) > 0", [text.as_str()])
        });
        let filter = subjects
            .clone()
            .add_option(status.map(|status| row::Column::Status.eq(status)))
            .add_option(equal(row::Column::Kind, &self.kind))
            .add_option(equal(row::Column::CurrentStep, &self.step))
            .add_option(equal(row::Column::Reason, &self.reason))
            .add_option(error)
            .add_option(is_stuck.then(stuck))
            .add(updated.condition());
        // Nothing changes before it is created, so ids, which begin with the time, end there too.
        let ends = [older_than, updated.before].into_iter().flatten().min();
        let range = Condition::all()
            .add_option(ends.map(|time| row::Column::Id.lt(id_after(time))))
            .add_option(older_than.map(|time| row::Column::CreatedAt.lt(time)));
        Ok(Search {
            range,
            filter,
            few: self.few(updated, is_stuck),
            walk: self.walk(subjects, is_stuck),
        })
    }

    /// Where all that fits is, if there is little of it.
    fn few(&self, updated: Updated, is_stuck: bool) -> Vec<Place> {
        let is_undone = self.status == Some(Status::Compensated);
        match self.status {
            _ if self.subject.is_some() || self.order_id.is_some() => vec![],
            Some(Status::Parked) => vec![],
            Some(Status::Running | Status::Compensating) => vec![Place::open()],
            // A saga that has ended is at no step.
            _ if is_stuck || self.step.is_some() => vec![Place::open(), Place::parked()],
            _ if updated.from.is_some() => {
                vec![Place::open(), Place::ended(updated.condition())]
            }
            _ if is_undone && self.reason.is_none() => vec![Place::with_reason(None)],
            _ => vec![],
        }
    }

    /// Along what to look else.
    fn walk(&self, subjects: Condition, is_stuck: bool) -> Place {
        if self.subject.is_some() || self.order_id.is_some() {
            return Place::about(subjects);
        }
        match (self.status, &self.reason, &self.error) {
            (Some(Status::Parked), ..) => Place::parked(),
            (_, Some(Text(reason)), _) => Place::with_reason(Some(reason)),
            (.., Some(_)) => Place::with_error(),
            _ if is_stuck => Place::everywhere_and_elsewhere(),
            _ => Place::everywhere(),
        }
    }

    fn updated(&self) -> Result<Updated, ApiError> {
        let from = time("updatedFrom", self.updated_from.as_deref())?;
        let before = time("updatedBefore", self.updated_before.as_deref())?;
        if from
            .zip(before)
            .is_some_and(|(from, before)| from >= before)
        {
            let rule = "must be later than updatedFrom";
            return Err(ApiError::bad_field("updatedBefore", rule));
        }
        Ok(Updated { from, before })
    }

    /// Since when at the latest they have been there.
    fn older_than(&self) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(age) = self.older_than.as_deref() else {
            return Ok(None);
        };
        let rule = "must be an age such as 90s, 15m, 2h or 1d";
        let seconds = seconds(age).ok_or_else(|| ApiError::bad_field("olderThan", rule))?;
        Ok(clock::now().checked_sub_signed(TimeDelta::seconds(seconds.into())))
    }

    fn is_stuck(&self) -> Result<bool, ApiError> {
        match self.stuck.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::bad_field("stuck", "must be true or false")),
        }
    }
}

fn stuck() -> Condition {
    Condition::any()
        .add(Expr::cust("status = 'PARKED'"))
        .add(Expr::cust("deadline_at < now() - interval '1 minute'"))
        // Time stands still for these, so they are never late. Their rows are looked up one by one: the outbox may be
        // long.
        .add(Expr::cust(
            "deadline_at IS NOT NULL AND
             (SELECT min(o.created_at) FROM outbox o WHERE o.id = command_id) < now() - interval '1 minute'",
        ))
}

fn seconds(age: &str) -> Option<u32> {
    let unit = match age.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    let count = &age[..age.len() - 1];
    let is_plain = count.bytes().all(|byte| byte.is_ascii_digit());
    let count: u32 = count.parse().ok().filter(|_| is_plain)?;
    count.checked_mul(unit)
}
