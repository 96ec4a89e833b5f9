//! Which sagas a list shows.

use common::{
    contract::OrderId,
    http::{ApiError, extract::Text},
};
use saga::Status;
use sea_orm::{ColumnTrait, Condition, sea_query::Expr};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{entity::saga as row, orders};

/// Which sagas to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only sagas in this status.
    #[param(value_type = Status, required = false)]
    status: Option<Status>,
    /// Only sagas that are at this step.
    #[param(value_type = Text, required = false)]
    step: Option<Text>,
    /// Only the sagas of this order.
    #[param(value_type = OrderId, required = false)]
    order_id: Option<OrderId>,
    /// Only sagas that were started longer ago than this: `90s`, `15m`, `2h`, `1d`.
    #[param(value_type = String, required = false, pattern = "^([0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,6}h|[0-9]{1,4}d)$", example = "15m")]
    older_than: Option<String>,
    /// Only sagas that need somebody: parked, a minute past their deadline, or with a command
    /// that could not leave for a minute.
    #[param(value_type = bool, required = false)]
    stuck: Option<String>,
}

impl Filter {
    /// What rows it lets through.
    ///
    /// # Errors
    /// One of its fields makes no sense.
    pub(super) fn condition(&self) -> Result<Condition, ApiError> {
        let seconds = self.older_than.as_deref().map(|age| {
            seconds(age).ok_or_else(|| {
                ApiError::bad_field("olderThan", "must be an age such as 90s, 15m, 2h or 1d")
            })
        });
        let stuck = match self.stuck.as_deref() {
            None | Some("false") => None,
            Some("true") => Some(
                Condition::any()
                    .add(row::Column::Status.eq(<&str>::from(Status::Parked)))
                    .add(Expr::cust("deadline_at < now() - interval '1 minute'"))
                    // Time stands still for these, so they are never late.
                    .add(Expr::cust(
                        "deadline_at IS NOT NULL AND command_id IN \
                         (SELECT id FROM outbox WHERE created_at < now() - interval '1 minute')",
                    )),
            ),
            Some(_) => return Err(ApiError::bad_field("stuck", "must be true or false")),
        };
        let older = |seconds: u32| {
            Expr::cust_with_values(
                "created_at < now() - make_interval(secs => $1)",
                [f64::from(seconds)],
            )
        };
        Ok(Condition::all()
            .add_option(
                self.status
                    .map(|status| row::Column::Status.eq(<&str>::from(status))),
            )
            .add_option(
                self.step
                    .as_ref()
                    .map(|Text(step)| row::Column::CurrentStep.eq(step)),
            )
            .add_option(
                self.order_id
                    .map(|id| row::Column::Subject.eq(orders::subject(id).as_str())),
            )
            .add_option(seconds.transpose()?.map(older))
            .add_option(stuck))
    }
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
