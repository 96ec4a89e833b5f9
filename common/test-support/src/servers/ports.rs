//! Ports that nobody uses.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

use anyhow::{Result, bail};

/// Below Linux's ephemeral range (from 32768). A port out of that range can be lost while its server is down: a client that
/// tries to reconnect may be given the very port as its own source port, and then talks to itself.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// Where the next search begins. Processes begin anywhere, and none gives a port twice before it has given all of them.
static NEXT: LazyLock<Mutex<u64>> =
    LazyLock::new(|| Mutex::new(RandomState::new().hash_one(std::process::id()) / 2));

/// `count` different ports of 127.0.0.1 that are free now. Nothing reserves them: start the server soon.
///
/// # Errors
/// When there are not that many.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let size = u64::from(LAST - FIRST + 1);
    let mut next = NEXT.lock().expect("nobody panics with it");
    // Held until all are found, so that nobody takes one of them meanwhile.
    let held: Vec<(u16, TcpListener)> = (0..size)
        .map(|_| {
            *next += 1;
            FIRST + u16::try_from(*next % size).expect("less than the range")
        })
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
