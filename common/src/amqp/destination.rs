//! Where a message goes.

use std::borrow::Cow;

use super::Lane;
use crate::contract::topology;

/// An exchange, and the key that is routed with there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    exchange: Cow<'static, str>,
    routing_key: String,
}

impl Destination {
    /// What is published to `exchange` with `routing_key`.
    #[must_use]
    pub fn new(exchange: impl Into<Cow<'static, str>>, routing_key: impl Into<String>) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
        }
    }

    /// The exchange's name.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The key.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        &self.routing_key
    }

    /// The lane that leads there.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if self.exchange == topology::EVENTS {
            Lane::Events
        } else {
            Lane::Saga
        }
    }

    /// The participant whose commands go there; `None` for anything else.
    #[must_use]
    pub fn participant(&self) -> Option<&str> {
        (self.exchange == topology::COMMANDS).then_some(self.routing_key.as_str())
    }
}
