//! The table of steps without the data: all that a decision needs to know of a definition.

use std::time::Duration;

use common::participant::idempotency::Direction;

/// What a decision needs to know of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepPlan {
    /// Its name, in the log and in messages. Names are persisted, positions never.
    pub name: &'static str,
    /// Who does it: the routing key of its commands.
    pub participant: &'static str,
    /// Type of the reply that says that it is done.
    pub succeeded: &'static str,
    /// Type of the reply that says that it was refused, and left nothing behind; none where it cannot be.
    pub rejected: Option<&'static str>,
    /// How its command is sent.
    pub tries: Tries,
    /// What undoes it.
    pub undo: Undo,
}

/// What undoes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to undo.
    Nothing,
    /// A compensation.
    By {
        /// Type of the reply that says that nothing of the step is left.
        done: &'static str,
        /// How its command is sent.
        tries: Tries,
    },
    /// Nothing can: the step is forward-only.
    Never,
}

/// How often a command is sent, and how long each reply may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    first: Duration,
    longest: Duration,
    /// How often the command is sent before nobody believes in a reply any more.
    pub attempts: u32,
}

/// What a reply tells about its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The action is done.
    Succeeded,
    /// The action was refused.
    Rejected,
    /// Nothing of the step is left.
    Undone,
}

impl Tries {
    /// The same time for each reply.
    #[must_use]
    pub const fn evenly(timeout: Duration, attempts: u32) -> Self {
        Self::doubling(timeout, timeout, attempts)
    }

    /// Twice the time for each reply, up to `longest`.
    #[must_use]
    pub const fn doubling(first: Duration, longest: Duration, attempts: u32) -> Self {
        Self {
            first,
            longest,
            attempts,
        }
    }

    /// Ten times, 30 s to 5 min each: about half an hour in all.
    pub(crate) const fn patiently() -> Self {
        Self::doubling(Duration::from_secs(30), Duration::from_secs(300), 10)
    }

    /// How long the reply to `attempt`, counted from 1, may take.
    #[must_use]
    pub fn timeout_of(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let doubled = self.first.saturating_mul(2_u32.pow(doublings));
        doubled.min(self.longest)
    }

    const fn check(&self) {
        assert!(self.attempts > 0, "a command is sent at least once");
        assert!(!self.first.is_zero(), "a reply takes some time");
        assert!(
            self.first.as_nanos() <= self.longest.as_nanos(),
            "later replies get no less time than the first"
        );
    }
}

impl StepPlan {
    /// Refuses what makes no sense.
    pub(crate) const fn check(&self) {
        assert!(!self.name.is_empty(), "a step has a name");
        self.tries.check();
        if let Some(rejected) = self.rejected {
            assert!(
                !same(self.succeeded, rejected),
                "two replies are of one type"
            );
        }
        if let Undo::By { tries, done } = &self.undo {
            tries.check();
            assert!(!same(self.succeeded, done), "two replies are of one type");
            if let Some(rejected) = self.rejected {
                assert!(!same(rejected, done), "two replies are of one type");
            }
        }
    }

    /// Whether there is no way back after it.
    #[must_use]
    pub const fn is_forward_only(&self) -> bool {
        matches!(self.undo, Undo::Never)
    }

    /// Type of the reply that says that nothing of the step is left, if it has a compensation.
    #[must_use]
    pub const fn undone(&self) -> Option<&'static str> {
        match self.undo {
            Undo::By { done, .. } => Some(done),
            Undo::Nothing | Undo::Never => None,
        }
    }

    /// What a reply of this type tells, if it is one of the step's.
    #[must_use]
    pub fn told(&self, kind: &str) -> Option<Told> {
        if kind == self.succeeded {
            return Some(Told::Succeeded);
        }
        if self.rejected == Some(kind) {
            return Some(Told::Rejected);
        }
        (self.undone() == Some(kind)).then_some(Told::Undone)
    }
}

impl Told {
    /// What it tells about.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Succeeded | Self::Rejected => Direction::Action,
            Self::Undone => Direction::Compensation,
        }
    }
}

/// Whether two names are the same; `==` is not for constants yet.
pub(crate) const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A table of steps.
pub trait Table {
    /// The saga's name, in tables and in the API.
    fn name(&self) -> &'static str;
    /// Its version.
    fn version(&self) -> i32;
    /// How long all of it may take.
    fn expires_after(&self) -> Option<Duration>;
    /// The sagas that exclude it, and that it excludes.
    fn excludes(&self) -> &'static [&'static str];
    /// How many steps it has.
    fn length(&self) -> usize;
    /// The step at `position`, from 0.
    fn plan(&self, position: usize) -> Option<&'static StepPlan>;
}

impl dyn Table + '_ {
    /// Its steps, in the order in which they are executed.
    pub fn plans(&self) -> impl DoubleEndedIterator<Item = &'static StepPlan> {
        (0..self.length()).filter_map(|at| self.plan(at))
    }

    /// The position of the step called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.plans().position(|plan| plan.name == name)
    }

    /// The step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&'static StepPlan> {
        self.plans().find(|plan| plan.name == name)
    }

    /// The first step.
    ///
    /// # Panics
    /// There is none, which no [`Definition`](crate::Definition) has.
    #[must_use]
    pub fn first(&self) -> &'static StepPlan {
        self.plan(0).expect("a definition has at least one step")
    }

    /// The last step.
    ///
    /// # Panics
    /// There is none, which no [`Definition`](crate::Definition) has.
    #[must_use]
    pub fn last(&self) -> &'static StepPlan {
        let last = self.plans().next_back();
        last.expect("a definition has at least one step")
    }

    /// The step that is executed after the one called `name`.
    #[must_use]
    pub fn after(&self, name: &str) -> Option<&'static StepPlan> {
        self.plan(self.position(name)? + 1)
    }

    /// The nearest step with a compensation, backwards from the one called `name`.
    #[must_use]
    pub fn undoing_from(&self, name: &str) -> Option<&'static StepPlan> {
        let upto = self.position(name)?;
        let mut back = (0..=upto).rev().filter_map(|at| self.plan(at));
        back.find(|plan| matches!(plan.undo, Undo::By { .. }))
    }

    /// The nearest step with a compensation before the one called `name`.
    #[must_use]
    pub fn undoing_before(&self, name: &str) -> Option<&'static StepPlan> {
        let before = self.position(name)?.checked_sub(1)?;
        self.undoing_from(self.plan(before)?.name)
    }

    /// Whether a saga that has sent the step's command, or is through, cannot be undone any more.
    #[must_use]
    pub fn is_past_return(&self, step: Option<&str>) -> bool {
        let at = step.and_then(|name| self.step(name)).unwrap_or(self.last());
        at.is_forward_only()
    }
}
