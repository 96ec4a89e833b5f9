//! Which sagas a batch is about, as it is written down: the parameters of `GET /sagas`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use common::http::{ApiError, Created, FieldError, extract::parse, id_after};
use sea_orm::{ColumnTrait, Condition};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::{Filter, Search};
use crate::entity::saga::Column;

/// Which sagas: the parameters of a list with their values, of which each is known and at least one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Criteria(BTreeMap<String, String>);

impl Criteria {
    /// The criteria in the object `filter` of a request.
    ///
    /// # Errors
    /// 422: there is none, or one that is not known, or makes no sense.
    pub(crate) fn read(given: BTreeMap<String, String>) -> Result<Self, ApiError> {
        let parameters = [Filter::into_params(|| None), Created::into_params(|| None)].concat();
        let known: BTreeSet<_> = parameters.into_iter().map(|one| one.name).collect();
        if let Some(unknown) = given.keys().find(|name| !known.contains(*name)) {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let rule = format!("is no filter; the filters are {}", known.join(", "));
            return Err(ApiError::invalid(format!("filter.{unknown}"), rule));
        }
        if given.is_empty() {
            return Err(ApiError::invalid(
                "filter",
                "must say which sagas, by at least one filter",
            ));
        }
        let criteria = Self(given);
        criteria.search(None)?;
        Ok(criteria)
    }

    /// The criteria as they were written down.
    pub(crate) fn stored(given: BTreeMap<String, String>) -> Self {
        Self(given)
    }

    /// The parameters with their values.
    pub(crate) fn parameters(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// What to look for, among the sagas that were there at `time`, or all.
    ///
    /// # Errors
    /// 422: a value makes no sense.
    pub(crate) fn search(&self, time: Option<DateTime<Utc>>) -> Result<Search, ApiError> {
        let mut search = self.parsed::<Filter>()?.search().map_err(of_body)?;
        let created = self.parsed::<Created>()?;
        let created = created.condition(Column::Id, Column::CreatedAt);
        let there = Condition::all()
            .add_option(time.map(|time| Column::Id.lt(id_after(time))))
            .add_option(time.map(|time| Column::CreatedAt.lte(time)));
        search.range = search.range.add(created.map_err(of_body)?).add(there);
        Ok(search)
    }

    fn parsed<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let values = serde_json::to_vec(&self.0).expect("texts are plain JSON");
        parse(&values).map_err(of_body)
    }
}

/// What a parameter was refused for, as a field of the body.
fn of_body(error: ApiError) -> ApiError {
    match error {
        ApiError::BadRequest(_, errors) | ApiError::Invalid(errors) => {
            let errors = errors.into_iter().map(|one| FieldError {
                field: format!("filter.{}", one.field),
                ..one
            });
            ApiError::Invalid(errors.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Criteria, ApiError> {
        let given = given.iter();
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Criteria::read(given.map(text).collect())
    }

    #[test]
    fn a_filter_that_is_not_understood_is_refused() {
        assert!(
            read(&[
                ("status", "PARKED"),
                ("olderThan", "15m"),
                ("stuck", "true")
            ])
            .is_ok()
        );
        assert!(read(&[("createdFrom", "2026-11-20T10:00:00Z")]).is_ok());
        for (wrong, field) in [
            (&[][..], "filter"),
            (&[("stauts", "PARKED")], "filter.stauts"),
            (&[("limit", "5")], "filter.limit"),
            (&[("status", "parked")], "filter.status"),
            (&[("orderId", "5")], "filter.orderId"),
            (&[("olderThan", "soon")], "filter.olderThan"),
            (&[("stuck", "perhaps")], "filter.stuck"),
            (&[("createdBefore", "yesterday")], "filter.createdBefore"),
        ] {
            match read(wrong) {
                Err(ApiError::Invalid(errors)) => assert_eq!(errors[0].field, field),
                other => panic!("{wrong:?}: {other:?}"),
            }
        }
    }
}
