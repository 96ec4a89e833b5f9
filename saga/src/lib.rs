//! Sagas: what happens to something that crosses services, decided in one place and written down before it happens.
//!
//! ```text
//!          a definition             the table of steps: what is done, in which order, and what undoes it
//!                │
//! event ──► transition              decides what follows: pure, no clock, no I/O
//!                │
//!                ▼
//!            saga log (store)       what was decided, append-only; the state is its fold
//!                │
//!                ▼
//!   commands, deadline, and what the program makes of it (Follow)
//!                                   all read off the new log entries, committed with them (engine)
//! ```
//!
//! Forward, each step's command is sent when the one before it succeeded. When a step is rejected, stays silent, or
//! somebody cancels, what was done is undone in reverse order. A forward-only step is the point of no return: behind
//! it, commands are sent until they are done. What can be neither done nor undone is parked for an operator.
//! [`deadlines`] make sure that silence is noticed: each saga that is neither ended nor parked has one.
//!
//! Nothing here knows what the sagas are about. A program hands in its definitions as a [`Registry`], and a [`Follow`]
//! that says what progress means to its own tables.

pub mod deadlines;
mod decision;
pub mod definition;
mod engine;
pub mod gauges;
pub mod metrics;
pub mod outlook;
mod registry;
mod replies;
mod reply;
mod retrace;
mod saga;
pub mod state;
pub mod store;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transition;
mod verb;

pub use common::contract::Origin;
pub use decision::Decision;
pub use definition::{Action, AnyDefinition, Compensation, Data, Definition, ForwardAction, Step};
pub use engine::{Beginning, Engine, Error, Follow, Following, Program, Rehearsal, Work};
pub use registry::{Conflict, Registry};
pub use replies::Replies;
pub use reply::{Meaningless, Reply};
pub use retrace::{Parting, retrace};
pub use saga::{Context, NoSubject, Saga, Subject};
pub use state::{DeadLetter, Entry, State, Status, What};
pub use table::{StepPlan, Table, Told, Tries, Undo};
pub use transition::{Command, Deadline, Event, IllegalEvent, Transition, transition, verbs};
pub use verb::{Intervention, Verb};
