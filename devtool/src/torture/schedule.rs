//! What goes wrong, when, and with whom: a pure function of the seed, the duration, and how many nodes RabbitMQ has.

use std::time::Duration;

use common::contract::topology;
use common::fleet::SERVICES;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use super::fault::{Fault, Kind, Link, NodeFault, Target};
use super::system::REPLICAS;

/// Pause between two faults, in milliseconds. Faults last for longer than that, so several are there at once.
const PAUSE_MS: std::ops::Range<u64> = 800..3200;
/// Where in the run RabbitMQ loses its data, in percent.
const WIPE_PERCENT: std::ops::Range<u32> = 40..60;
/// When the payment gateway is mended, in percent of the run: a saga is parked when its refund was refused for two minutes.
const MENDED_PERCENT: u32 = 75;
/// How long a server says nothing, in milliseconds: what waits for it is given up after 20 s at the latest.
const SILENCE_MS: std::ops::Range<u64> = 10_000..20_000;
/// How long a queue takes nothing, or the whole broker does, in milliseconds.
const TAKES_NOTHING_MS: std::ops::Range<u64> = 2_000..15_000;
/// How long something is down, stalled or late, in milliseconds. Step deadlines are 1.5 s.
const LASTS_MS: std::ops::Range<u64> = 500..5000;
/// How long nodes of a cluster are down or hang, in milliseconds. A hanging one is noticed after 8 s.
const NODE_LASTS_MS: std::ops::Range<u64> = 2_000..20_000;

/// A fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

/// Queues whose messages are shuffled, and that lose their leaders.
const OURS: [&str; 3] = [
    topology::PAYMENT_COMMANDS.name,
    topology::INVENTORY_COMMANDS.name,
    topology::ORDER_REPLIES.name,
];

/// The kinds, as often as they come before all begin again.
const DECK: [(Kind, usize); 14] = [
    (Kind::Kill, 4),
    (Kind::Restart, 2),
    (Kind::RestartBroker, 1),
    (Kind::CrashPostgres, 1),
    (Kind::Cut, 2),
    (Kind::Stall, 2),
    (Kind::Delay, 1),
    (Kind::Partition, 1),
    (Kind::Shuffle, 5),
    (Kind::Garbage, 2),
    (Kind::FullQueue, 1),
    (Kind::Silence, 1),
    (Kind::Alarm, 1),
    (Kind::NoLeader, 1),
];

/// What there is besides, once in [`DECKS_OF_CLUSTER`], where RabbitMQ is a cluster.
const NODE_DECK: [Kind; 4] = [
    Kind::KillNode,
    Kind::PauseNode,
    Kind::RestartNodes,
    Kind::LoseMajority,
];
/// How often all else comes in a cluster for each thing that is done to RabbitMQ: these come one after the other, and nodes
/// take long to start.
const DECKS_OF_CLUSTER: usize = 3;

/// The faults of a run, in order. RabbitMQ loses its data once, and the gateway is mended once.
#[must_use]
pub(super) fn schedule(seed: u64, duration: Duration, nodes: usize) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let wipe_at = duration * random.random_range(WIPE_PERCENT) / 100;
    let mut once = |at, kind: Kind| Planned {
        at,
        fault: kind.draw(nodes, &mut random),
    };
    let mut planned = vec![
        once(wipe_at, Kind::WipeBroker),
        once(duration * MENDED_PERCENT / 100, Kind::MendGateway),
    ];
    let mut deck = Vec::new();
    let mut at = pause(&mut random);
    while at < duration {
        let kind = deck.pop().unwrap_or_else(|| {
            deck.extend(fresh_deck(nodes));
            deck.shuffle(&mut random);
            deck.pop().expect("just filled")
        });
        let fault = kind.draw(nodes, &mut random);
        planned.push(Planned { at, fault });
        at += pause(&mut random);
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

fn fresh_deck(nodes: usize) -> Vec<Kind> {
    let is_cluster = nodes > 1;
    let mut deck = Vec::new();
    for (kind, n) in DECK {
        let decks = if is_cluster && !kind.is_of_the_broker() {
            DECKS_OF_CLUSTER
        } else {
            1
        };
        deck.extend(vec![kind; n * decks]);
    }
    if is_cluster {
        deck.extend(NODE_DECK);
    }
    deck
}

fn pause(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(PAUSE_MS))
}

impl Kind {
    /// Whether it is done to RabbitMQ as a whole or to a queue, while nothing else is.
    fn is_of_the_broker(self) -> bool {
        matches!(self, Self::RestartBroker | Self::Alarm | Self::NoLeader)
    }

    fn draw(self, nodes: usize, random: &mut StdRng) -> Fault {
        let whom = Target {
            service: random.random_range(0..SERVICES.len()),
            replica: random.random_range(0..REPLICAS),
        };
        let link = *[Link::Rabbitmq, Link::Postgres]
            .choose(random)
            .expect("two");
        let lasts = Duration::from_millis(random.random_range(LASTS_MS));
        match self {
            Self::Kill => Fault::Kill { whom, down: lasts },
            Self::Restart => Fault::Restart { whom },
            Self::RestartBroker => Fault::RestartBroker {
                hard: random.random(),
                down: lasts,
            },
            Self::WipeBroker => Fault::WipeBroker { down: lasts },
            Self::CrashPostgres => Fault::CrashPostgres { down: lasts },
            Self::Cut => Fault::Cut { whom, link },
            Self::Stall => Fault::Stall {
                whom,
                link,
                // Most of them longer than a step's deadline.
                lasts: lasts + Duration::from_secs(1),
            },
            Self::Delay => Fault::Delay {
                whom,
                link,
                latency: Duration::from_millis(random.random_range(5..150)),
                lasts,
            },
            Self::Partition => Fault::Partition { whom, link, lasts },
            Self::Shuffle => Fault::Shuffle {
                queue: OURS.choose(random).expect("some"),
                most: random.random_range(10..200),
                hold: if random.random_ratio(1, 3) {
                    lasts
                } else {
                    Duration::ZERO
                },
            },
            Self::Garbage => Fault::Garbage {
                count: random.random_range(50..500),
            },
            Self::FullQueue => Fault::FullQueue { lasts },
            Self::Silence => Fault::Silence {
                whom,
                link,
                lasts: Duration::from_millis(random.random_range(SILENCE_MS)),
                lost: random.random(),
            },
            Self::Alarm => Fault::Alarm {
                lasts: Duration::from_millis(random.random_range(TAKES_NOTHING_MS)),
            },
            Self::NoLeader => Fault::NoLeader {
                queue: OURS.choose(random).copied().filter(|_| random.random()),
                lasts: Duration::from_millis(random.random_range(TAKES_NOTHING_MS)),
            },
            Self::MendGateway => Fault::MendGateway,
            Self::KillNode => Fault::Nodes(NodeFault::Kill {
                node: random.random_range(0..nodes),
                down: node_lasts(random),
            }),
            Self::PauseNode => Fault::Nodes(NodeFault::Pause {
                node: random.random_range(0..nodes),
                lasts: node_lasts(random),
            }),
            Self::RestartNodes => Fault::Nodes(NodeFault::Restart),
            Self::LoseMajority => Fault::Nodes(NodeFault::LoseMajority {
                survivor: random.random_range(0..nodes),
                down: node_lasts(random),
            }),
        }
    }
}

fn node_lasts(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(NODE_LASTS_MS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::torture::system::NODES;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_a_function_of_seed_duration_and_nodes() {
        for nodes in [1, NODES] {
            assert_eq!(schedule(1, MINUTE, nodes), schedule(1, MINUTE, nodes));
            assert_ne!(schedule(1, MINUTE, nodes), schedule(2, MINUTE, nodes));
        }
        assert_ne!(schedule(1, MINUTE, 1), schedule(1, MINUTE, NODES));
    }

    #[test]
    fn a_minute_has_every_kind_in_order_and_what_comes_once_only_once() {
        for seed in 0..50 {
            let planned = schedule(seed, MINUTE, 1);
            assert!(planned.is_sorted_by_key(|planned| planned.at));
            assert!(planned.iter().all(|planned| planned.at < MINUTE));
            let kinds: BTreeSet<Kind> = planned.iter().map(|p| p.fault.kind()).collect();
            assert_eq!(kinds.len(), DECK.len() + 2, "seed {seed}: {kinds:?}");
            for kind in [Kind::WipeBroker, Kind::MendGateway] {
                let times = planned.iter().filter(|p| p.fault.kind() == kind).count();
                assert_eq!(times, 1, "seed {seed}: {kind}");
            }
        }
    }

    #[test]
    fn three_minutes_of_a_cluster_have_every_kind() {
        for seed in 0..50 {
            let planned = schedule(seed, 3 * MINUTE, NODES);
            let kinds: BTreeSet<Kind> = planned.iter().map(|p| p.fault.kind()).collect();
            let all = DECK.len() + NODE_DECK.len() + 2;
            assert_eq!(kinds.len(), all, "seed {seed}: {kinds:?}");
        }
    }

    #[test]
    fn ten_minutes_touch_every_replica() {
        let planned = schedule(1, 10 * MINUTE, 1);
        let killed: BTreeSet<Target> = planned
            .iter()
            .filter_map(|planned| match planned.fault {
                Fault::Kill { whom, .. } => Some(whom),
                _ => None,
            })
            .collect();
        assert_eq!(killed.len(), SERVICES.len() * REPLICAS);
    }
}
