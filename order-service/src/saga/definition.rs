//! What a saga consists of: a table of named steps.

use std::time::Duration;

use common::{
    contract::{Envelope, Reason},
    participant::idempotency::Direction,
};

use crate::orders::Order;

/// A type of saga.
#[derive(Debug)]
pub struct Definition {
    /// Its name, in tables and in the API.
    pub name: &'static str,
    /// Its version. A saga keeps the version that it was started with.
    pub version: i32,
    /// Its steps, in the order in which they are executed. At least one.
    pub steps: &'static [Step],
}

/// A step: what is done, by whom, and what undoes it.
#[derive(Debug)]
pub struct Step {
    /// Its name, in the log and in messages. Names are persisted, positions never.
    pub name: &'static str,
    /// Who does it: the routing key of its commands.
    pub participant: &'static str,
    /// What is done.
    pub action: Action,
    /// What undoes it.
    pub compensation: Compensation,
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

impl Step {
    /// What a reply of this type tells, if it is one of the step's.
    #[must_use]
    pub fn told(&self, kind: &str) -> Option<Told> {
        if kind == self.action.succeeded {
            Some(Told::Succeeded)
        } else if kind == self.action.rejected {
            Some(Told::Rejected)
        } else {
            (kind == self.compensation.done).then_some(Told::Undone)
        }
    }
}

/// The way forward.
#[derive(Debug)]
pub struct Action {
    /// Makes the command.
    pub command: fn(&Order) -> Envelope,
    /// Type of the reply that says that it is done.
    pub succeeded: &'static str,
    /// Type of the reply that says that it was refused, and left nothing behind.
    pub rejected: &'static str,
    /// How long the reply may take.
    pub timeout: Duration,
    /// How often the command is sent before the step counts as silent.
    pub attempts: u32,
}

/// The way back.
#[derive(Debug)]
pub struct Compensation {
    /// Makes the command.
    pub command: fn(&Order, Reason) -> Envelope,
    /// Type of the reply that says that nothing of the step is left.
    pub done: &'static str,
    /// How long the first reply may take. It doubles with each attempt,
    pub timeout: Duration,
    /// up to this.
    pub longest_timeout: Duration,
    /// How often the command is sent before the saga is parked.
    pub attempts: u32,
}

impl Action {
    /// An action with the usual deadlines: three attempts, 30 s each.
    #[must_use]
    pub const fn new(
        command: fn(&Order) -> Envelope,
        succeeded: &'static str,
        rejected: &'static str,
    ) -> Self {
        Self {
            command,
            succeeded,
            rejected,
            timeout: Duration::from_secs(30),
            attempts: 3,
        }
    }
}

impl Compensation {
    /// A compensation with the usual deadlines: ten attempts, 30 s to 5 min each, about half an hour in all.
    #[must_use]
    pub const fn new(command: fn(&Order, Reason) -> Envelope, done: &'static str) -> Self {
        Self {
            command,
            done,
            timeout: Duration::from_secs(30),
            longest_timeout: Duration::from_secs(300),
            attempts: 10,
        }
    }

    /// How long the reply to `attempt`, counted from 1, may take.
    #[must_use]
    pub fn timeout_of(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        (self.timeout * 2_u32.pow(doublings)).min(self.longest_timeout)
    }
}

impl Definition {
    /// The step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&'static Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The first step.
    #[must_use]
    pub const fn first(&self) -> &'static Step {
        &self.steps[0]
    }

    /// The last step.
    #[must_use]
    pub const fn last(&self) -> &'static Step {
        &self.steps[self.steps.len() - 1]
    }

    /// The step that is executed after the one called `name`.
    #[must_use]
    pub fn after(&self, name: &str) -> Option<&'static Step> {
        self.neighbour(name, 1)
    }

    /// The step that is executed before the one called `name`.
    #[must_use]
    pub fn before(&self, name: &str) -> Option<&'static Step> {
        self.neighbour(name, -1)
    }

    fn neighbour(&self, name: &str, distance: isize) -> Option<&'static Step> {
        let position = self.steps.iter().position(|step| step.name == name)?;
        self.steps.get(position.checked_add_signed(distance)?)
    }
}
