//! Which sagas: the filters of `GET /sagas`.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, builder::PossibleValuesParser};
use uuid::Uuid;

/// Which sagas. All that is given must hold.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which sagas")]
pub(crate) struct Filter {
    /// In this status
    #[arg(long, ignore_case = true,
          value_parser = PossibleValuesParser::new(["RUNNING", "COMPENSATING", "PARKED", "COMPLETED", "COMPENSATED"]))]
    status: Option<String>,
    /// Of this type: the definition's name
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// At this step
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
    /// About this: a kind, a slash and an id
    #[arg(long, value_name = "KIND/ID")]
    subject: Option<String>,
    /// Of this order
    #[arg(long, value_name = "ID")]
    order: Option<Uuid>,
    /// Undone for this reason, such as OUT_OF_STOCK
    #[arg(long = "because", value_name = "REASON")]
    because: Option<String>,
    /// With this in the text of their last error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Started longer ago than this: 90s, 15m, 2h, 1d
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// That need somebody: parked, a minute late, or with a command that cannot leave
    #[arg(long)]
    stuck: bool,
    /// Created then or later, such as 2026-11-20T10:00:00Z
    #[arg(long, value_name = "TIME")]
    created_from: Option<DateTime<Utc>>,
    /// Created earlier
    #[arg(long, value_name = "TIME")]
    created_before: Option<DateTime<Utc>>,
    /// Changed then or later
    #[arg(long, value_name = "TIME")]
    updated_from: Option<DateTime<Utc>>,
    /// Changed last before that
    #[arg(long, value_name = "TIME")]
    updated_before: Option<DateTime<Utc>>,
}

impl Filter {
    /// The parameters of `GET /sagas`.
    pub(crate) fn parameters(&self) -> BTreeMap<&'static str, String> {
        let time = |time: Option<DateTime<Utc>>| {
            time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        };
        let all = [
            ("status", self.status.as_ref().map(|one| one.to_uppercase())),
            ("type", self.kind.clone()),
            ("step", self.step.clone()),
            ("subject", self.subject.clone()),
            ("orderId", self.order.map(|one| one.to_string())),
            ("reason", self.because.clone()),
            ("error", self.error.clone()),
            ("olderThan", self.older_than.clone()),
            ("stuck", self.stuck.then(|| "true".to_owned())),
            ("createdFrom", time(self.created_from)),
            ("createdBefore", time(self.created_before)),
            ("updatedFrom", time(self.updated_from)),
            ("updatedBefore", time(self.updated_before)),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}
