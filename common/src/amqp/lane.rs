//! Lanes: what sagas wait for and what nobody here waits for have a connection each.
//!
//! A queue that is stuck holds up the line to its destination. But a client may do to RabbitMQ what makes it read a whole
//! connection more slowly, and anybody may bind a queue to public events.

use std::fmt;

/// One of the two ways out, each with a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Commands, replies, responses and dead letters: sagas wait for them, and the queues are ours.
    Saga,
    /// Public events: nobody here waits for them, and anybody may bind a queue.
    Events,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Saga => "saga",
            Self::Events => "events",
        })
    }
}

/// One value for each lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes<T> {
    pub(crate) saga: T,
    pub(crate) events: T,
}

impl<T> Lanes<T> {
    /// What `make` makes for each lane.
    pub(crate) fn new(mut make: impl FnMut(Lane) -> T) -> Self {
        Self {
            saga: make(Lane::Saga),
            events: make(Lane::Events),
        }
    }

    /// The lane's value.
    pub(crate) fn get(&self, lane: Lane) -> &T {
        match lane {
            Lane::Saga => &self.saga,
            Lane::Events => &self.events,
        }
    }
}

impl<T> Lanes<Vec<T>> {
    /// Sorts `items` into their lanes, in order.
    pub(crate) fn sort(items: Vec<T>, lane: impl Fn(&T) -> Lane) -> Self {
        let (saga, events) = items.into_iter().partition(|item| lane(item) == Lane::Saga);
        Self { saga, events }
    }
}
