//! What goes wrong, when, and with whom: a pure function of the seed and the duration.

use std::time::Duration;

use common::contract::topology;
use common::fleet::SERVICES;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::fault::{Fault, Kind, Link, Target};
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

/// The faults of a run, in order. RabbitMQ loses its data once, and the gateway is mended once.
#[must_use]
pub(super) fn schedule(seed: u64, duration: Duration) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let wipe_at = duration * random.random_range(WIPE_PERCENT) / 100;
    let mut once = |at, kind: Kind| Planned {
        at,
        fault: kind.draw(&mut random),
    };
    let mut planned = vec![
        once(wipe_at, Kind::WipeBroker),
        once(duration * MENDED_PERCENT / 100, Kind::MendGateway),
    ];
    let mut deck = Vec::new();
    let mut at = pause(&mut random);
    while at < duration {
        let kind = deck.pop().unwrap_or_else(|| {
            deck.extend(DECK.iter().flat_map(|&(kind, n)| vec![kind; n]));
            deck.shuffle(&mut random);
            deck.pop().expect("just filled")
        });
        let fault = kind.draw(&mut random);
        planned.push(Planned { at, fault });
        at += pause(&mut random);
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

fn pause(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(PAUSE_MS))
}

impl Kind {
    fn draw(self, random: &mut StdRng) -> Fault {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn it_is_a_function_of_seed_and_duration() {
        assert_eq!(schedule(1, MINUTE), schedule(1, MINUTE));
        assert_ne!(schedule(1, MINUTE), schedule(2, MINUTE));
    }

    #[test]
    fn a_minute_has_every_kind_in_order_and_what_comes_once_only_once() {
        for seed in 0..50 {
            let planned = schedule(seed, MINUTE);
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
    fn ten_minutes_touch_every_replica() {
        let planned = schedule(1, 10 * MINUTE);
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
