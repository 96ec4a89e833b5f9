// A small saga for examples and tests: check the passport, book a flight and a hotel, then issue the ticket, after
// which there is no way back, and credit the miles.

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
    ($($name:ident => $kind:literal $(to $participant:literal)?),+) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub traveller: String,
        }
        impl Message for $name {
            const TYPE: &'static str = $kind;
        }
        $(impl Command for $name {
            const PARTICIPANT: &'static str = $participant;
        })?
        impl From<&Trip> for $name {
            fn from(trip: &Trip) -> Self {
                Self { traveller: trip.traveller.clone() }
            }
        }
    )+};
}

messages! {
    CheckPassport => "passport.check.v1" to "border",
    PassportValid => "passport.valid.v1",
    BookFlight => "flight.book.v1" to "airline",
    FlightBooked => "flight.booked.v1",
    CancelFlight => "flight.cancel.v1" to "airline",
    FlightCancelled => "flight.cancelled.v1",
    BookRoom => "room.book.v1" to "hotel",
    RoomBooked => "room.booked.v1",
    CancelRoom => "room.cancel.v1" to "hotel",
    RoomCancelled => "room.cancelled.v1",
    IssueTicket => "ticket.issue.v1" to "desk",
    TicketIssued => "ticket.issued.v1",
    CreditMiles => "miles.credit.v1" to "airline",
    MilesCredited => "miles.credited.v1"
}

/// Declares refusals.
macro_rules! refusals {
    ($($name:ident => $kind:literal),+) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub reason: Reason,
        }
        impl Message for $name {
            const TYPE: &'static str = $kind;
        }
        impl Rejection for $name {
            fn reason(&self) -> Reason {
                self.reason
            }

            fn detail(&self) -> Option<&str> {
                None
            }
        }
    )+};
}

refusals! {
    PassportInvalid => "passport.invalid.v1",
    FlightRefused => "flight.refused.v1",
    RoomRefused => "room.refused.v1"
}

/// Every seat, or every room, is taken.
pub const BOOKED_UP: Reason = Reason::new("BOOKED_UP");

fn command<C: for<'t> From<&'t Trip>>(trip: &Trip) -> C {
    trip.into()
}

fn undo<C: for<'t> From<&'t Trip>>(trip: &Trip, _: Reason) -> C {
    trip.into()
}

/// A step with nothing to undo.
pub const fn check_passport() -> Step<Trip> {
    Step::new("passport", Action::of::<CheckPassport, PassportValid, PassportInvalid>(&command))
}

/// A step with a compensation.
pub const fn book_flight() -> Step<Trip> {
    Step::new("flight", Action::of::<BookFlight, FlightBooked, FlightRefused>(&command))
        .undone_by(Compensation::of::<CancelFlight, FlightCancelled>(&undo))
}

/// Another one.
pub const fn book_room() -> Step<Trip> {
    Step::new("room", Action::of::<BookRoom, RoomBooked, RoomRefused>(&command))
        .undone_by(Compensation::of::<CancelRoom, RoomCancelled>(&undo))
}

/// A forward-only step.
pub const fn issue_ticket() -> Step<Trip> {
    Step::forward_only("ticket", ForwardAction::of::<IssueTicket, TicketIssued>(&command))
}

/// Another one.
pub const fn credit_miles() -> Step<Trip> {
    Step::forward_only("miles", ForwardAction::of::<CreditMiles, MilesCredited>(&command))
}
