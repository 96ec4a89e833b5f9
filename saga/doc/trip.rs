// A small saga for examples and tests: book a flight, then issue the ticket, after which there is no way back.

use common::contract::{Command, Message, Reason, Rejection};
use saga::{Action, Compensation, Definition, ForwardAction, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the saga knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trip {
    pub traveller: String,
}

/// Declares messages that carry nothing but who they are about.
macro_rules! messages {
    ($($name:ident => $kind:literal),+) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub traveller: String,
        }
        impl Message for $name {
            const TYPE: &'static str = $kind;
        }
        impl From<&Trip> for $name {
            fn from(trip: &Trip) -> Self {
                Self { traveller: trip.traveller.clone() }
            }
        }
    )+};
}

messages! {
    BookFlight => "flight.book.v1",
    FlightBooked => "flight.booked.v1",
    CancelFlight => "flight.cancel.v1",
    FlightCancelled => "flight.cancelled.v1",
    IssueTicket => "ticket.issue.v1",
    TicketIssued => "ticket.issued.v1"
}

/// There was no seat.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FlightRefused {
    pub reason: Reason,
}

impl Message for FlightRefused {
    const TYPE: &'static str = "flight.refused.v1";
}

impl Rejection for FlightRefused {
    fn reason(&self) -> Reason {
        self.reason
    }

    fn detail(&self) -> Option<&str> {
        None
    }
}

impl Command for BookFlight {
    const PARTICIPANT: &'static str = "airline";
}

impl Command for CancelFlight {
    const PARTICIPANT: &'static str = "airline";
}

impl Command for IssueTicket {
    const PARTICIPANT: &'static str = "desk";
}

fn book(trip: &Trip) -> BookFlight {
    trip.into()
}

fn cancel(trip: &Trip, _: Reason) -> CancelFlight {
    trip.into()
}

fn issue(trip: &Trip) -> IssueTicket {
    trip.into()
}

/// A step with a compensation.
pub const fn book_flight() -> Step<Trip> {
    Step::new("flight", Action::of::<BookFlight, FlightBooked, FlightRefused>(&book))
        .undone_by(Compensation::of::<CancelFlight, FlightCancelled>(&cancel))
}

/// A forward-only step.
pub const fn issue_ticket() -> Step<Trip> {
    Step::forward_only("ticket", ForwardAction::of::<IssueTicket, TicketIssued>(&issue))
}
