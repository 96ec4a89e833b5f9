//! The service: its configuration, and its workers.

use std::net::{SocketAddr, SocketAddr as Address};

use common::{
    config::{self, BrokerConfig, DatabaseConfig, Vars},
    messaging::{consumer, participant::Commands, topology},
    service::{Service, wait_for_schema},
};
use tokio_util::sync::CancellationToken;
