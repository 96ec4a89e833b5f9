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

use std::{fmt, time::Duration};

use common::contract::{Command, Envelope, Message, Reason, Rejection};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::table::{StepPlan, Table, Tries, Undo, same};

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

/// A step: what is done, and what undoes it.
pub struct Step<D: 'static> {
    plan: StepPlan,
    action: &'static dyn Ask<D>,
    compensation: Option<&'static dyn AskBack<D>>,
    reads_rejection: Option<ReadRejection>,
}

/// The way forward: a command that may be refused.
pub struct Action<D: 'static> {
    command: &'static dyn Ask<D>,
    participant: &'static str,
    succeeded: &'static str,
    rejected: &'static str,
    reads_rejection: ReadRejection,
    tries: Tries,
}

/// The way forward where there is no way back: a command that is asked again until it is done.
pub struct ForwardAction<D: 'static> {
    command: &'static dyn Ask<D>,
    participant: &'static str,
    succeeded: &'static str,
    tries: Tries,
}

/// The way back: a command that cannot be refused.
pub struct Compensation<D: 'static> {
    command: &'static dyn AskBack<D>,
    participant: &'static str,
    done: &'static str,
    tries: Tries,
}

/// Why and with which words a participant refused, from the data of its reply.
pub type ReadRejection = fn(&RawValue) -> serde_json::Result<(Reason, Option<String>)>;

/// Makes a step's command. Every function from the data to a command does.
pub trait Ask<D>: Sync {
    /// The command as a message of `source` about `subject`.
    fn ask(&self, source: &str, subject: &str, data: &D) -> Envelope;
}

impl<D, C: Command, F: Fn(&D) -> C + Sync> Ask<D> for F {
    fn ask(&self, source: &str, subject: &str, data: &D) -> Envelope {
        Envelope::new(source, subject, &self(data))
    }
}

/// Makes the command of a compensation. Every function from the data and the reason to a command does.
pub trait AskBack<D>: Sync {
    /// The command as a message of `source` about `subject`.
    fn ask_back(&self, source: &str, subject: &str, data: &D, reason: Reason) -> Envelope;
}

impl<D, C: Command, F: Fn(&D, Reason) -> C + Sync> AskBack<D> for F {
    fn ask_back(&self, source: &str, subject: &str, data: &D, reason: Reason) -> Envelope {
        Envelope::new(source, subject, &self(data, reason))
    }
}

fn read_rejection<R: Rejection>(data: &RawValue) -> serde_json::Result<(Reason, Option<String>)> {
    let rejection: R = serde_json::from_str(data.get())?;
    Ok((rejection.reason(), rejection.detail().map(str::to_owned)))
}

impl<D> Action<D> {
    /// An action that asks with `C`, which is answered with `S` when it is done, and with `R` when it is refused and
    /// has left nothing behind. It has the usual deadlines: three attempts, 30 s each.
    #[must_use]
    pub const fn of<C: Command, S: Message, R: Rejection>(
        command: &'static (impl Fn(&D) -> C + Sync),
    ) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            succeeded: S::TYPE,
            rejected: R::TYPE,
            reads_rejection: read_rejection::<R>,
            tries: Tries::evenly(Duration::from_secs(30), 3),
        }
    }

    /// How long each reply may take, and how often the command is sent before the step counts as silent.
    #[must_use]
    pub const fn tried(mut self, timeout: Duration, attempts: u32) -> Self {
        self.tries = Tries::evenly(timeout, attempts);
        self
    }
}

impl<D> ForwardAction<D> {
    /// An action that asks with `C`, which is answered with `S` when it is done. It has the usual deadlines: ten
    /// attempts, 30 s to 5 min each, about half an hour in all; then the saga is parked.
    #[must_use]
    pub const fn of<C: Command, S: Message>(command: &'static (impl Fn(&D) -> C + Sync)) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            succeeded: S::TYPE,
            tries: Tries::patiently(),
        }
    }

    /// How long the first reply may take, to how much that grows by doubling, and how often the command is sent.
    #[must_use]
    pub const fn tried(mut self, first: Duration, longest: Duration, attempts: u32) -> Self {
        self.tries = Tries::doubling(first, longest, attempts);
        self
    }
}

impl<D> Compensation<D> {
    /// A compensation that asks with `C`, which is answered with `S` when nothing of the step is left. It has the
    /// usual deadlines: ten attempts, 30 s to 5 min each, about half an hour in all; then the saga is parked.
    #[must_use]
    pub const fn of<C: Command, S: Message>(
        command: &'static (impl Fn(&D, Reason) -> C + Sync),
    ) -> Self {
        Self {
            command,
            participant: C::PARTICIPANT,
            done: S::TYPE,
            tries: Tries::patiently(),
        }
    }

    /// How long the first reply may take, to how much that grows by doubling, and how often the command is sent.
    #[must_use]
    pub const fn tried(mut self, first: Duration, longest: Duration, attempts: u32) -> Self {
        self.tries = Tries::doubling(first, longest, attempts);
        self
    }
}

impl<D> Step<D> {
    /// A step that leaves nothing to be undone, as long as it is not [`Step::undone_by`] something.
    #[must_use]
    pub const fn new(name: &'static str, action: Action<D>) -> Self {
        Self {
            plan: StepPlan {
                name,
                participant: action.participant,
                succeeded: action.succeeded,
                rejected: Some(action.rejected),
                tries: action.tries,
                undo: Undo::Nothing,
            },
            action: action.command,
            compensation: None,
            reads_rejection: Some(action.reads_rejection),
        }
    }

    /// A step after which there is no way back: its command is sent again until it is done, or the saga is parked.
    #[must_use]
    pub const fn forward_only(name: &'static str, action: ForwardAction<D>) -> Self {
        Self {
            plan: StepPlan {
                name,
                participant: action.participant,
                succeeded: action.succeeded,
                rejected: None,
                tries: action.tries,
                undo: Undo::Never,
            },
            action: action.command,
            compensation: None,
            reads_rejection: None,
        }
    }

    /// This step, undone by `compensation`.
    ///
    /// # Panics
    /// The step is forward-only, or another participant is to undo it. In a constant, that does not compile.
    #[must_use]
    pub const fn undone_by(mut self, compensation: Compensation<D>) -> Self {
        assert!(
            !matches!(self.plan.undo, Undo::Never),
            "a forward-only step has no compensation"
        );
        assert!(
            same(self.plan.participant, compensation.participant),
            "a step is undone by the participant that did it"
        );
        self.plan.undo = Undo::By {
            done: compensation.done,
            tries: compensation.tries,
        };
        self.compensation = Some(compensation.command);
        self
    }
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
