//! The decision, as a table of all states and events, and as properties of any definition.

pub(crate) mod properties;
mod table;

use std::time::Duration;

use super::*;
use crate::{table::Tries, testing::plans::Plans};

/// Why something is undone that was not asked about.
const BECAUSE: Reason = Reason::new("BECAUSE");
/// Why participants refuse.
const REFUSED: Reason = Reason::new("REFUSED");

/// A step of which nothing is left to undo, or that nothing undoes.
const fn step(name: &'static str, replies: (&'static str, &'static str), undo: Undo) -> StepPlan {
    StepPlan {
        name,
        participant: "anybody",
        succeeded: replies.0,
        rejected: match undo {
            Undo::Never => None,
            Undo::Nothing | Undo::By { .. } => Some(replies.1),
        },
        tries: Tries::evenly(Duration::from_secs(30), 3),
        undo,
    }
}

const fn plans(name: &'static str, steps: &'static [StepPlan]) -> Plans {
    Plans {
        name,
        version: 1,
        expires_after: Some(Duration::from_secs(3600)),
        steps,
    }
}

const FLIGHT: StepPlan = step(
    "flight",
    ("flight.booked", "flight.refused"),
    Undo::By {
        done: "flight.cancelled",
        tries: Tries::doubling(Duration::from_secs(30), Duration::from_secs(300), 10),
    },
);
const PASSPORT: StepPlan = step(
    "passport",
    ("passport.valid", "passport.invalid"),
    Undo::Nothing,
);
const TICKET: StepPlan = step("ticket", ("ticket.issued", ""), Undo::Never);

/// A saga with a step of each kind.
const TRIP: Plans = plans("trip", &[FLIGHT, PASSPORT, TICKET]);
/// A saga that can be undone at its end.
const RESERVATION: Plans = plans("reservation", &[FLIGHT, PASSPORT]);

fn rejected(step: &'static str) -> Event {
    Event::Rejected {
        step,
        reason: REFUSED,
        detail: None,
    }
}

fn cancel() -> Event {
    Event::CancelRequested {
        reason: Reason::CUSTOMER_REQUEST,
        note: None,
    }
}

fn intervened(verb: Verb) -> Event {
    let by = Intervention::default();
    Event::Intervened { verb, by }
}

fn retry() -> Event {
    intervened(Verb::Retry)
}
