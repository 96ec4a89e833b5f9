//! What goes wrong, when, and with whom: a pure function of the seed and the duration.

use std::fmt;
use std::time::Duration;

use common::contract::topology;
use common::fleet::SERVICES;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::system::REPLICAS;

/// Pause between two faults, in milliseconds. Faults last for longer than that, so several are there at once.
const PAUSE_MS: std::ops::Range<u64> = 800..3200;
/// Where in the run RabbitMQ loses its data, in percent.
const WIPE_PERCENT: std::ops::Range<u32> = 40..60;
/// How long something is down, stalled or late, in milliseconds. Step deadlines are 1.5 s.
const LASTS_MS: std::ops::Range<u64> = 500..5000;

/// A fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

/// A replica of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// Index in [`SERVICES`].
    pub(super) service: usize,
    pub(super) replica: usize,
}

/// A connection of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Rabbitmq,
    Postgres,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`; it starts again after `down`.
    Kill { whom: Target, down: Duration },
    /// SIGTERM, and a start after its end.
    Restart { whom: Target },
    /// The broker is stopped or killed, and starts again.
    RestartBroker { hard: bool, down: Duration },
    /// The broker loses all of its data.
    WipeBroker { down: Duration },
    /// An immediate shutdown of PostgreSQL, and a start.
    CrashPostgres { down: Duration },
    /// Connections end, and can be made again at once.
    Cut { whom: Target, link: Link },
    /// Connections stay, and nothing comes through.
    Stall {
        whom: Target,
        link: Link,
        lasts: Duration,
    },
    /// Everything comes later.
    Delay {
        whom: Target,
        link: Link,
        latency: Duration,
        lasts: Duration,
    },
    /// Connections end, and cannot be made again for a while.
    Partition {
        whom: Target,
        link: Link,
        lasts: Duration,
    },
    /// Messages come twice, in another order, and late when `hold` is long.
    Shuffle {
        queue: &'static str,
        most: u16,
        hold: Duration,
    },
    /// Somebody sends messages that nobody can want.
    Garbage { count: usize },
    /// A queue for public events takes none, and is then removed.
    FullQueue { lasts: Duration },
}

/// Queues whose messages are shuffled.
const SHUFFLED: [&str; 3] = [
    topology::PAYMENT_COMMANDS.name,
    topology::INVENTORY_COMMANDS.name,
    topology::ORDER_REPLIES.name,
];

/// The kinds, as often as they come before all begin again.
const DECK: [(Kind, usize); 11] = [
    (Kind::Kill, 5),
    (Kind::Restart, 2),
    (Kind::RestartBroker, 1),
    (Kind::CrashPostgres, 1),
    (Kind::Cut, 3),
    (Kind::Stall, 3),
    (Kind::Delay, 2),
    (Kind::Partition, 1),
    (Kind::Shuffle, 6),
    (Kind::Garbage, 2),
    (Kind::FullQueue, 1),
];

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kill,
    Restart,
    RestartBroker,
    WipeBroker,
    CrashPostgres,
    Cut,
    Stall,
    Delay,
    Partition,
    Shuffle,
    Garbage,
    FullQueue,
}

/// The faults of a run, in order. RabbitMQ loses its data once.
#[must_use]
pub(super) fn schedule(seed: u64, duration: Duration) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let wipe_at = duration * random.random_range(WIPE_PERCENT) / 100;
    let mut planned = vec![Planned {
        at: wipe_at,
        fault: Kind::WipeBroker.draw(&mut random),
    }];
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
                queue: SHUFFLED.choose(random).expect("some"),
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
        }
    }
}

impl Fault {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Kill { .. } => Kind::Kill,
            Self::Restart { .. } => Kind::Restart,
            Self::RestartBroker { .. } => Kind::RestartBroker,
            Self::WipeBroker { .. } => Kind::WipeBroker,
            Self::CrashPostgres { .. } => Kind::CrashPostgres,
            Self::Cut { .. } => Kind::Cut,
            Self::Stall { .. } => Kind::Stall,
            Self::Delay { .. } => Kind::Delay,
            Self::Partition { .. } => Kind::Partition,
            Self::Shuffle { .. } => Kind::Shuffle,
            Self::Garbage { .. } => Kind::Garbage,
            Self::FullQueue { .. } => Kind::FullQueue,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill -9",
            Self::Restart => "SIGTERM",
            Self::RestartBroker => "broker restart",
            Self::WipeBroker => "broker wiped",
            Self::CrashPostgres => "PostgreSQL crash",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Delay => "delay",
            Self::Partition => "partition",
            Self::Shuffle => "shuffle",
            Self::Garbage => "garbage",
            Self::FullQueue => "full queue",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = SERVICES[self.service].program.name;
        write!(f, "{service}-{}", self.replica + 1)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rabbitmq => "RabbitMQ",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// To whom it is done, and for how long.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |duration: &Duration| format!("{:.1} s", duration.as_secs_f64());
        match self {
            Self::Kill { whom, down } => write!(f, "{whom}, down for {}", s(down)),
            Self::Restart { whom } => write!(f, "{whom}, which drains and starts again"),
            Self::RestartBroker { hard, down } => {
                let how = if *hard { "killed" } else { "stopped" };
                write!(f, "RabbitMQ {how}, down for {}", s(down))
            }
            Self::WipeBroker { down } => {
                write!(f, "RabbitMQ loses all of its data, down for {}", s(down))
            }
            Self::CrashPostgres { down } => {
                write!(f, "immediate shutdown, down for {}", s(down))
            }
            Self::Cut { whom, link } => write!(f, "{whom} ↮ {link}"),
            Self::Stall { whom, link, lasts } => write!(f, "{whom} ↮ {link}, for {}", s(lasts)),
            Self::Delay {
                whom,
                link,
                latency,
                lasts,
            } => write!(
                f,
                "{whom} ⇢ {link}, {} ms later, for {}",
                latency.as_millis(),
                s(lasts)
            ),
            Self::Partition { whom, link, lasts } => {
                write!(
                    f,
                    "{whom} ↮ {link}, also for new connections, for {}",
                    s(lasts)
                )
            }
            Self::Shuffle { queue, most, hold } => {
                write!(f, "up to {most} messages of {queue}")?;
                if hold.is_zero() {
                    return Ok(());
                }
                write!(f, ", {} late", s(hold))
            }
            Self::Garbage { count } => write!(f, "{count} messages for all queues"),
            Self::FullQueue { lasts } => {
                write!(f, "a stranger's, which takes no event, for {}", s(lasts))
            }
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
    fn a_minute_has_every_kind_in_order_and_one_wipe() {
        for seed in 0..50 {
            let planned = schedule(seed, MINUTE);
            assert!(planned.is_sorted_by_key(|planned| planned.at));
            assert!(planned.iter().all(|planned| planned.at < MINUTE));
            let kinds: BTreeSet<Kind> = planned.iter().map(|p| p.fault.kind()).collect();
            assert!(kinds.len() >= DECK.len(), "seed {seed}: {kinds:?}");
            let wipes = planned
                .iter()
                .filter(|p| p.fault.kind() == Kind::WipeBroker);
            assert_eq!(wipes.count(), 1, "seed {seed}");
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
