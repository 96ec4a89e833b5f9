//! What can go wrong.

use std::fmt;
use std::time::Duration;

use common::fleet::SERVICES;

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
    /// The server is there and says nothing, also on new connections. What it was told meanwhile is `lost`, or it hears
    /// all of it when it has long been given up.
    Silence {
        whom: Target,
        link: Link,
        lasts: Duration,
        lost: bool,
    },
    /// RabbitMQ is short of memory, and reads nothing from those who publish.
    Alarm { lasts: Duration },
    /// A queue has no leader, and confirms nothing; `None` is a stranger's, for public events.
    NoLeader {
        queue: Option<&'static str>,
        lasts: Duration,
    },
    /// The payment gateway, which has refused some refunds until now, refuses none any more.
    MendGateway,
    /// Something happens to nodes of the cluster.
    Nodes(NodeFault),
}

/// What goes wrong with nodes of RabbitMQ, where it is a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeFault {
    /// `kill -9`; it starts again after `down`.
    Kill { node: usize, down: Duration },
    /// It hangs: its connections stay, and nothing comes from it.
    Pause { node: usize, lasts: Duration },
    /// Each is stopped and started, one after the other.
    Restart,
    /// `kill -9` for all but one; they start again after `down`.
    LoseMajority { survivor: usize, down: Duration },
}

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
    Silence,
    Alarm,
    NoLeader,
    MendGateway,
    KillNode,
    PauseNode,
    RestartNodes,
    LoseMajority,
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
            Self::Silence { .. } => Kind::Silence,
            Self::Alarm { .. } => Kind::Alarm,
            Self::NoLeader { .. } => Kind::NoLeader,
            Self::MendGateway => Kind::MendGateway,
            Self::Nodes(NodeFault::Kill { .. }) => Kind::KillNode,
            Self::Nodes(NodeFault::Pause { .. }) => Kind::PauseNode,
            Self::Nodes(NodeFault::Restart) => Kind::RestartNodes,
            Self::Nodes(NodeFault::LoseMajority { .. }) => Kind::LoseMajority,
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
            Self::Silence => "silence",
            Self::Alarm => "alarm",
            Self::NoLeader => "no leader",
            Self::MendGateway => "gateway mended",
            Self::KillNode => "node kill -9",
            Self::PauseNode => "node hangs",
            Self::RestartNodes => "rolling restart",
            Self::LoseMajority => "no majority",
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
            Self::Silence {
                whom,
                link,
                lasts,
                lost,
            } => {
                let told = if *lost { "lost" } else { "late" };
                write!(
                    f,
                    "{whom} ↮ {link}, also on new connections, for {}; what it was told is {told}",
                    s(lasts)
                )
            }
            Self::Alarm { lasts } => write!(f, "RabbitMQ has no memory, for {}", s(lasts)),
            Self::NoLeader { queue, lasts } => {
                let queue = queue.unwrap_or("a stranger's queue");
                write!(f, "{queue} confirms nothing, for {}", s(lasts))
            }
            Self::MendGateway => f.write_str("it refuses no refund any more"),
            Self::Nodes(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |duration: &Duration| format!("{:.1} s", duration.as_secs_f64());
        match self {
            Self::Kill { node, down } => write!(f, "node {}, down for {}", node + 1, s(down)),
            Self::Pause { node, lasts } => write!(f, "node {}, for {}", node + 1, s(lasts)),
            Self::Restart => f.write_str("all nodes, one after the other"),
            Self::LoseMajority { survivor, down } => {
                let survivor = survivor + 1;
                write!(f, "all nodes but node {survivor}, down for {}", s(down))
            }
        }
    }
}
