//! Ports that nobody uses.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

use anyhow::{Result, bail};

/// Below Linux's ephemeral range (from 32768). A port out of that range can be lost while its server is down: a client that
/// tries to reconnect may be given the very port as its own source port, and then talks to itself.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// `count` different ports of 127.0.0.1 that are free now. Nothing reserves them: start the server soon.
///
/// # Errors
/// When there are not that many.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let size = u64::from(LAST - FIRST + 1);
    let start = RandomState::new().hash_one(std::process::id()) % size;
    let candidates =
        (0..size).map(|i| FIRST + u16::try_from((start + i) % size).expect("less than the range"));
    // Held until all are found, so that they differ.
    let held: Vec<(u16, TcpListener)> = candidates
        .filter_map(|port| Some((port, bind(port)?)))
        .take(count)
        .collect();
    if held.len() < count {
        bail!(
            "{count} free ports are needed on 127.0.0.1 between {FIRST} and {LAST}, and {} are left",
            held.len()
        );
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

/// Whether a server on 127.0.0.1 could listen on `port` now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    bind(port).is_some()
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_free() {
        let ports = free_ports(4).unwrap();
        let distinct: std::collections::HashSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(ports.iter().all(|&port| is_free(port)));
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }
}
