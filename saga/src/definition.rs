//! What a saga consists of: a table of named steps, as a value that cannot be wrong.
//!
//! ```text
//! Definition ── Step ── Action ──── command(data) ─► replies that it may have
//!                 └──── Compensation ─ command(data, reason) ─► reply
//! ```
//!
//! A definition that makes no sense does not compile, because it is a constant and [`Definition::new`] refuses it:
//!
//! ```compile_fail,E0080
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
//! const NO_STEP: Definition<Trip> = Definition::new("book_trip", 1, &[]);
//! # fn main() { let _ = &NO_STEP; }
//! ```
//! ```compile_fail,E0080
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
//! const TWO_OF_ONE_NAME: Definition<Trip> = Definition::new("book_trip", 1, &[book_flight(), book_flight()]);
//! # fn main() { let _ = &TWO_OF_ONE_NAME; }
//! ```
//! ```compile_fail,E0080
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
//! // Nothing brings a step back that is behind the point of no return.
//! const NO_WAY_BACK: Definition<Trip> = Definition::new("book_trip", 1, &[issue_ticket(), book_flight()]);
//! # fn main() { let _ = &NO_WAY_BACK; }
//! ```
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
//! const BOOK_TRIP: Definition<Trip> = Definition::new("book_trip", 1, &[book_flight(), issue_ticket()]);
//! # fn main() { let _ = &BOOK_TRIP; }
//! ```

mod ask;
mod step;

use std::{fmt, time::Duration};

use common::contract::{Envelope, Reason};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use self::{
    ask::{Ask, AskBack, ReadRejection},
    step::{Action, Compensation, ForwardAction, Step},
};
use crate::table::{StepPlan, Table, Undo, same};

/// What a saga needs to know to make its commands: stored as JSON when it starts, and not changed after that.
pub trait Data: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<D: Serialize + DeserializeOwned + Send + Sync + 'static> Data for D {}

/// A type of saga, whose data is `D`.
pub struct Definition<D: 'static> {
    name: &'static str,
    version: i32,
    steps: &'static [Step<D>],
    expires_after: Option<Duration>,
    excludes: &'static [&'static str],
}

impl<D> Definition<D> {
    /// The saga `name` in `version`, a table of steps in the order in which they are executed. A saga that is under
    /// way keeps the version that it was started with: a change of the table is a new version beside the old one.
    ///
    /// # Panics
    /// There is no step; two have one name; a step behind a forward-only one is not forward-only too; a step is never
    /// tried; the name is empty or the version not positive. In a constant, that does not compile.
    #[must_use]
    pub const fn new(name: &'static str, version: i32, steps: &'static [Step<D>]) -> Self {
        assert!(!name.is_empty(), "a saga has a name");
        assert!(version > 0, "versions are counted from 1");
        assert!(!steps.is_empty(), "a saga has at least one step");
        let mut position = 0;
        while position < steps.len() {
            let plan = &steps[position].plan;
            plan.check();
            let mut other = 0;
            while other < position {
                let earlier = &steps[other].plan;
                assert!(!same(earlier.name, plan.name), "two steps have one name");
                assert!(
                    !matches!(earlier.undo, Undo::Never) || matches!(plan.undo, Undo::Never),
                    "behind a forward-only step, every step is forward-only"
                );
                other += 1;
            }
            position += 1;
        }
        Self {
            name,
            version,
            steps,
            expires_after: None,
            excludes: &[],
        }
    }

    /// This saga with a deadline for all of it: when it is not through by then, it is undone, or parked once it is
    /// behind the point of no return.
    #[must_use]
    pub const fn expires_after(mut self, duration: Duration) -> Self {
        assert!(!duration.is_zero(), "a saga needs some time");
        self.expires_after = Some(duration);
        self
    }

    /// This saga with those that exclude it, and that it excludes: of one subject, only one of them may be open at
    /// a time. A saga that has ended excludes nothing, but cannot be undone while one that it excludes is open.
    #[must_use]
    pub const fn excludes(mut self, names: &'static [&'static str]) -> Self {
        self.excludes = names;
        self
    }

    /// Who does its steps, each once for each step.
    pub fn participants(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().map(|step| step.plan.participant)
    }
}

impl<D> Table for Definition<D> {
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
        self.excludes
    }

    fn length(&self) -> usize {
        self.steps.len()
    }

    fn plan(&self, position: usize) -> Option<&'static StepPlan> {
        self.steps.get(position).map(|step| &step.plan)
    }
}

/// A definition, whatever its data is: what the engine is handed.
pub trait AnyDefinition: Table + Send + Sync + fmt::Debug {
    /// The command of the step at `position`: its action, or its compensation for a reason. It comes from the source
    /// and is about the subject in `about`.
    ///
    /// # Errors
    /// The data is not what the definition's sagas have.
    fn command(
        &self,
        position: usize,
        reason: Option<Reason>,
        about: (&str, &str),
        data: &RawValue,
    ) -> serde_json::Result<Envelope>;

    /// How a rejection of the step at `position` is read, if it can be rejected.
    fn reads_rejection(&self, position: usize) -> Option<ReadRejection>;
}

impl<D: Data> AnyDefinition for Definition<D> {
    fn command(
        &self,
        position: usize,
        reason: Option<Reason>,
        (source, subject): (&str, &str),
        data: &RawValue,
    ) -> serde_json::Result<Envelope> {
        let data: D = serde_json::from_str(data.get())?;
        let step = &self.steps[position];
        Ok(match (reason, step.compensation) {
            (Some(reason), Some(back)) => back.ask_back(source, subject, &data, reason),
            _ => step.action.ask(source, subject, &data),
        })
    }

    fn reads_rejection(&self, position: usize) -> Option<ReadRejection> {
        self.steps.get(position)?.reads_rejection
    }
}

impl<D> fmt::Debug for Definition<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plans = self.steps.iter().map(|step| &step.plan);
        f.debug_struct("Definition")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("steps", &plans.collect::<Vec<_>>())
            .field("expires_after", &self.expires_after)
            .field("excludes", &self.excludes)
            .finish()
    }
}
