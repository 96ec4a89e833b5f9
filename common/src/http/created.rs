//! Lists of what was created at some time.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, Condition};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::ApiError;

/// How far the time in an id may be from when its row says that it was created: an id is made before its transaction, by a
/// clock that follows the database's.
const DRIFT: TimeDelta = TimeDelta::minutes(1);

/// When what a list shows was created.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct Created {
    /// Only what was created then or later.
    #[param(value_type = DateTime<Utc>, required = false)]
    created_from: Option<String>,
    /// Only what was created earlier.
    #[param(value_type = DateTime<Utc>, required = false)]
    created_before: Option<String>,
}

impl Created {
    /// What rows of a table it lets through. Their ids begin with the time, so that the key's index finds them.
    ///
    /// # Errors
    /// 400: one of them is no time, or it ends before it begins.
    pub fn condition(
        self,
        id: impl ColumnTrait,
        created_at: impl ColumnTrait,
    ) -> Result<Condition, ApiError> {
        let from = time("createdFrom", self.created_from.as_deref())?;
        let before = time("createdBefore", self.created_before.as_deref())?;
        if from
            .zip(before)
            .is_some_and(|(from, before)| from >= before)
        {
            let rule = "must be later than createdFrom";
            return Err(ApiError::bad_field("createdBefore", rule));
        }
        let first = from.and_then(|time| time.checked_sub_signed(DRIFT));
        Ok(Condition::all()
            .add_option(first.map(|time| id.gte(first_id(time))))
            .add_option(before.map(|time| id.lt(id_after(time))))
            .add_option(from.map(|time| created_at.gte(time)))
            .add_option(before.map(|time| created_at.lt(time))))
    }
}

/// The time in the parameter `field`, if it is given.
///
/// # Errors
/// 400: it is no time.
pub fn time(field: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    let rule = "must be a time of RFC 3339 such as 2026-11-20T10:00:00Z, with %2B for a plus sign";
    let wrong = |_| ApiError::bad_field(field, rule);
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Nothing that was created by this time has this id or a greater one.
#[must_use]
pub fn id_after(time: DateTime<Utc>) -> Uuid {
    first_id(time.checked_add_signed(DRIFT).unwrap_or(time))
}

/// No id that was made at this time or later is less.
fn first_id(time: DateTime<Utc>) -> Uuid {
    const LAST: u64 = (1 << 48) - 1;
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis.min(LAST)) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::clock;

    #[test]
    fn ids_are_not_less_than_the_first_of_their_time() {
        let before = clock::now();
        let id = clock::new_id();
        assert!(first_id(before) <= id);
        assert!(first_id(clock::now() + TimeDelta::milliseconds(2)) > id);
        assert_eq!(first_id(DateTime::<Utc>::MIN_UTC), Uuid::nil());
        assert!(first_id(DateTime::<Utc>::MAX_UTC) > id);
    }
}
