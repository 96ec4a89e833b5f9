//! The model is the code: every run of a saga within bounds, with the production decision in the middle.
//!
//! ```text
//! transition (production) ◄─ orchestrator.rs ◄── replies ──┐
//!               └─ commands ─► outbox ─► broker ─► participant.rs ┘      world.rs: all of it, as a value
//!                                          │
//!             model.rs: anything may come next, twice, late, or never; deliveries.rs: anybody may die
//! ```
//!
//! `stateright` visits every state that can be reached and looks at the [`guarantees`] in each. The measure shows that
//! no run goes on for ever. A [`Bug`] shows that the check can fail. What it takes for granted: a transaction is atomic
//! and durable, and a key of an idempotency table can be inserted once. Batches are not in it, for sagas share nothing.

mod bug;
mod deliveries;
pub mod guarantees;
mod measure;
mod model;
mod orchestrator;
mod participant;
mod properties;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

pub use self::{bug::Bug, participant::AfterRefund};
use self::{model::OneSaga, world::Left};
use crate::{table::Table, testing::plans::Plans};

/// Attempts that are enough: the first one, and one more.
const ATTEMPTS: u32 = 2;
/// Steps before the point of no return of a saga whose runs can all be visited at once.
const SMALL: usize = 2;

/// Checks a definition: in no run with any fault, a cancellation and an operator's intervention, each at any moment, is a
/// guarantee broken. It prints how many states that were.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/trip.rs"));
/// use saga::testing;
///
/// const BUY_TICKET: Definition<Trip> = Definition::new("buy_ticket", 1, &[issue_ticket()]);
/// # fn main() {
/// testing::check(&BUY_TICKET);
/// # }
/// ```
///
/// # Panics
/// A guarantee is broken; the message says which, and what has to happen for it.
pub fn check(definition: &dyn Table) {
    Check::of(definition).run();
}

/// Puts every [`Bug`] that can show in a saga of this shape into its run, and sees to it that [`check`] finds it.
///
/// # Panics
/// A bug is not found.
pub fn find_mutants(definition: &dyn Table) {
    Check::of(definition).find_mutants();
}

/// A check of a definition, with bounds of its own.
#[derive(Clone, Debug)]
#[must_use = "nothing is checked before it is run"]
pub struct Check {
    definition: Plans,
    model: OneSaga,
}

impl Check {
    /// The check of a definition whose commands are sent at most twice, with one fault of any kind, one cancellation
    /// and one intervention, each at any moment.
    pub fn of(definition: &dyn Table) -> Self {
        let saga = Plans::with_attempts(definition, ATTEMPTS);
        Self {
            definition: Plans::of(definition, |plan| plan),
            model: OneSaga {
                saga,
                mistaken: saga,
                gateways: Vec::new(),
                forgets_stale: true,
                left: Left {
                    faults: 1,
                    cancellations: 1,
                    interventions: 1,
                },
                bug: None,
            },
        }
    }

    /// With so many crashes, repeated messages and lost messages, of all kinds together.
    pub const fn faults(mut self, faults: u8) -> Self {
        self.model.left.faults = faults;
        self
    }

    /// With so many cancellations.
    pub const fn cancellations(mut self, cancellations: u8) -> Self {
        self.model.left.cancellations = cancellations;
        self
    }

    /// With so many interventions of an operator, of any kind: retries, skipped steps, forced ends.
    pub const fn interventions(mut self, interventions: u8) -> Self {
        self.model.left.interventions = interventions;
        self
    }

    /// With as many attempts as the definition has: all that was ever sent may still be on its way.
    pub const fn all_attempts(mut self) -> Self {
        self.model.saga = self.definition;
        self.model.mistaken = self.definition;
        self
    }

    /// With a step whose effect is not in its participant's database but at a gateway, which does this with an action
    /// that was undone before it came. A request to the gateway may come in at any time, also when who made it is dead.
    ///
    /// # Panics
    /// There is no such step.
    pub fn gateway(mut self, step: &str, after: AfterRefund) -> Self {
        let Some(step) = self.model.table().step(step) else {
            panic!("{} has no step called {step}", self.definition.name);
        };
        self.model.gateways.push((step.name, after));
        self
    }

    /// Also with messages that came too late to change anything. They are forgotten at once otherwise, which saves
    /// states and hides nothing.
    pub const fn stale_messages_too(mut self) -> Self {
        self.model.forgets_stale = false;
        self
    }

    /// With a bug.
    pub fn with(mut self, bug: Bug) -> Self {
        self.model.mistaken = bug.mistakes(&self.model.saga);
        self.model.bug = Some(bug);
        self
    }

    /// Visits all states, or those up to the first broken guarantee, and asserts that there is none.
    ///
    /// A saga with more than two steps before its point of no return has too many runs for one visit: it is
    /// visited with the faults, and again with the interventions.
    ///
    /// # Panics
    /// A guarantee is broken, or what it is about cannot happen at all.
    pub fn run(self) {
        for part in self.parts() {
            let broken = guarantees::all().iter().map(|it| it.name).collect();
            let checker = part.explore(HasDiscoveries::AnyOf(broken));
            checker.assert_properties();
        }
    }

    fn parts(self) -> Vec<Self> {
        let Left {
            faults,
            interventions,
            ..
        } = self.model.left;
        let steps = self.model.saga.steps.iter();
        let steps = steps.filter(|step| !step.is_forward_only()).count();
        if steps > SMALL && faults > 0 && interventions > 0 {
            vec![self.clone().interventions(0), self.faults(0)]
        } else {
            vec![self]
        }
    }

    /// Visits states until one breaks `guarantee`, asserts that there is one, and prints how it is reached.
    ///
    /// # Panics
    /// There is none.
    pub fn breaks(self, guarantee: &'static str) {
        let checker = self.explore(HasDiscoveries::AnyOf([guarantee].into()));
        println!("  breaks: {guarantee}");
        for action in checker.assert_any_discovery(guarantee).into_actions() {
            println!("    {action:?}");
        }
    }

    /// Sees to it that every [`Bug`] is found that can show in a saga of this shape, and prints which cannot.
    ///
    /// # Panics
    /// A bug is not found.
    pub fn find_mutants(self) {
        for bug in Bug::ALL {
            let check = self.clone().with(bug).stale_messages_too();
            match bug.breaks() {
                Some(guarantee) if bug.can_show(&check.model) => check.breaks(guarantee),
                Some(_) => println!("{}: {bug:?} cannot show in it", self.definition.name),
                None => {}
            }
        }
    }

    fn explore(self, until: HasDiscoveries) -> impl Checker<OneSaga> {
        let described = self.describe();
        let began = Instant::now();
        let checker = self
            .model
            .checker()
            .finish_when(until)
            .threads(2)
            .spawn_bfs()
            .join();
        println!(
            "{described}: {} states, reached in {} ways, depth {}, {:.1} s",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            began.elapsed().as_secs_f64(),
        );
        checker
    }

    fn describe(&self) -> String {
        let Left {
            faults,
            cancellations,
            interventions,
        } = self.model.left;
        let bug = self.model.bug.map(|bug| format!(", with {bug:?}"));
        format!(
            "{} v{}, {faults} faults, {cancellations} cancellations, {interventions} interventions{}",
            self.definition.name,
            self.definition.version,
            bug.unwrap_or_default(),
        )
    }
}
