//! A table of steps as a value, so that it can be changed for a test.

use std::time::Duration;

use crate::table::{StepPlan, Table, Undo};

/// A table like that of a definition, with steps of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plans {
    pub(crate) name: &'static str,
    pub(crate) version: i32,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) steps: &'static [StepPlan],
}

impl Plans {
    /// The table, each step changed. It is never freed, for steps are constants elsewhere.
    pub(crate) fn of(table: &dyn Table, change: impl Fn(StepPlan) -> StepPlan) -> Self {
        let steps: Vec<_> = table.plans().map(|plan| change(*plan)).collect();
        Self {
            name: table.name(),
            version: table.version(),
            expires_after: table.expires_after(),
            steps: steps.leak(),
        }
    }

    /// The table, where no command is sent more than `attempts` times.
    pub(crate) fn with_attempts(table: &dyn Table, attempts: u32) -> Self {
        Self::of(table, |mut plan| {
            plan.tries.attempts = plan.tries.attempts.min(attempts);
            if let Undo::By { tries, .. } = &mut plan.undo {
                tries.attempts = tries.attempts.min(attempts);
            }
            plan
        })
    }

    /// Whether one of its steps is such.
    pub(crate) fn any(&self, is: impl FnMut(&StepPlan) -> bool) -> bool {
        self.steps.iter().any(is)
    }

    /// Whether one of its steps has a compensation.
    pub(crate) fn has_way_back(&self) -> bool {
        self.any(|step| step.undone().is_some())
    }

    /// Whether one of its steps is forward-only.
    pub(crate) fn has_point_of_no_return(&self) -> bool {
        self.any(StepPlan::is_forward_only)
    }
}

impl Table for Plans {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn expires_after(&self) -> Option<Duration> {
        self.expires_after
    }

    fn excludes(&self) -> &'static [&'static str] {
        &[]
    }

    fn length(&self) -> usize {
        self.steps.len()
    }

    fn plan(&self, position: usize) -> Option<&'static StepPlan> {
        self.steps.get(position)
    }
}
