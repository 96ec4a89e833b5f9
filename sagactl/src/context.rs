//! What every command has: the services, and the screen.

use crate::{screen::Screen, service::Service};

/// What every command has.
#[derive(Debug)]
pub(crate) struct Context {
    /// The order service, which runs the sagas.
    pub(crate) orders: Service,
    /// The program that checks the guarantees.
    pub(crate) audit: Service,
    /// Where answers are shown.
    pub(crate) screen: Screen,
}
