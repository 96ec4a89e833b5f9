//! The metrics that programs and services have in common.

use super::{
    Kind::{Counter, Gauge, Histogram, Sampled},
    Label, Metric, OTHER,
};

const METHOD: Label = Label::one_of(
    "method",
    &[
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER,
    ],
);
const ROUTE: Label = Label::known("route", "the route as documented, or `none`");
const STATUS: Label = Label::known("status", "the status code");
const QUEUE: Label = Label::known("queue", "the queue's name");
const LANE: Label = Label::one_of("lane", &["saga", "events"]);
const CONNECTION: Label = Label::known("connection", "the service and what it uses it for");
const PARTICIPANT: Label = Label::known("participant", "who does steps");

/// Requests that were answered.
pub static HTTP_REQUESTS: Metric = Metric::new(
    Counter,
    "http_requests_total",
    "Requests that were answered, by route and status.",
    &[METHOD, ROUTE, STATUS],
);
/// How long requests took.
pub static HTTP_SECONDS: Metric = Metric::new(
    Histogram,
    "http_request_duration_seconds",
    "How long requests took until their answer began.",
    &[METHOD, ROUTE],
);
/// CPU time.
pub static PROCESS_CPU: Metric = Metric::new(
    Counter,
    "process_cpu_seconds_total",
    "CPU time of the process, user and system, in whole seconds.",
    &[],
);
/// Open files.
pub static PROCESS_FDS: Metric = Metric::new(
    Gauge,
    "process_open_fds",
    "Files and sockets that are open.",
    &[],
);
/// Files that may be open.
pub static PROCESS_FDS_MAX: Metric = Metric::new(
    Gauge,
    "process_max_fds",
    "Files and sockets that may be open at once.",
    &[],
);
/// Memory that is mapped.
pub static PROCESS_VIRTUAL: Metric = Metric::new(
    Gauge,
    "process_virtual_memory_bytes",
    "Memory that the process has mapped.",
    &[],
);
/// Memory that may be mapped.
pub static PROCESS_VIRTUAL_MAX: Metric = Metric::new(
    Gauge,
    "process_virtual_memory_max_bytes",
    "Memory that the process may map.",
    &[],
);
/// Memory in use.
pub static PROCESS_RESIDENT: Metric = Metric::new(
    Gauge,
    "process_resident_memory_bytes",
    "Memory that the process has in RAM.",
    &[],
);
/// When the process began.
pub static PROCESS_START: Metric = Metric::new(
    Gauge,
    "process_start_time_seconds",
    "When the process began, in seconds since 1970.",
    &[],
);
/// Threads.
pub static PROCESS_THREADS: Metric =
    Metric::new(Gauge, "process_threads", "Threads of the process.", &[]);

/// What every program has. The process is measured when somebody asks.
pub const PROGRAM: &[&Metric] = &[
    &HTTP_REQUESTS,
    &HTTP_SECONDS,
    &PROCESS_CPU,
    &PROCESS_FDS,
    &PROCESS_FDS_MAX,
    &PROCESS_VIRTUAL,
    &PROCESS_VIRTUAL_MAX,
    &PROCESS_RESIDENT,
    &PROCESS_START,
    &PROCESS_THREADS,
];

/// Messages that came in.
pub static CONSUMED: Metric = Metric::new(
    Counter,
    "consumer_messages_total",
    "Messages that were taken out of a queue and could be read, also those that came again.",
    &[QUEUE],
);
/// Deliveries that came again.
pub static REDELIVERED: Metric = Metric::new(
    Counter,
    "consumer_redeliveries_total",
    "AMQP messages that RabbitMQ delivered again.",
    &[QUEUE],
);
/// How large batches are.
pub static BATCH_MESSAGES: Metric = Metric::new(
    Histogram,
    "consumer_batch_messages",
    "Messages that are handled in one transaction.",
    &[QUEUE],
);
/// Tries after the first one.
pub static RETRIES: Metric = Metric::new(
    Counter,
    "consumer_retries_total",
    "Times that a message was tried again by itself after it had failed.",
    &[QUEUE],
);
/// Messages that became dead letters.
pub static DEAD: Metric = Metric::new(
    Counter,
    "consumer_dead_letters_total",
    "Messages that this process put into the dead-letter queue, counted when RabbitMQ has confirmed them.",
    &[QUEUE],
);
/// Workers that wait for a dependency.
pub static HOLDING: Metric = Metric::new(
    Gauge,
    "consumers_holding",
    "Workers that hold what they have until a dependency is back.",
    &[],
);
/// Whether a connection stands.
pub static CONNECTED: Metric = Metric::new(
    Gauge,
    "rabbitmq_connected",
    "Whether the connection to RabbitMQ stood when it was last used: 1 or 0.",
    &[CONNECTION],
);
/// Whether a connection is blocked.
pub static BLOCKED: Metric = Metric::new(
    Gauge,
    "rabbitmq_connection_blocked",
    "Whether RabbitMQ takes nothing on the connection because it is short of memory or disk: 1 or 0.",
    &[CONNECTION],
);
/// Destinations that do not confirm.
pub static LATE: Metric = Metric::new(
    Gauge,
    "rabbitmq_destinations_late",
    "Destinations whose messages RabbitMQ does not confirm in time.",
    &[],
);
/// What became of what was published.
pub static PUBLISHED: Metric = Metric::new(
    Counter,
    "rabbitmq_published_total",
    "AMQP messages that were published, by what became of them. Unroutable, refused and lost ones are published again.",
    &[
        LANE,
        Label::one_of("outcome", &["confirmed", "unroutable", "refused", "lost"]),
    ],
);
/// AMQP messages in a queue.
pub static QUEUE_MESSAGES: Metric = Metric::new(
    Sampled,
    "queue_messages",
    "AMQP messages that are ready in a queue; a message of a batch of commands or replies counts as one.",
    &[QUEUE],
);
/// Consumers of a queue.
pub static QUEUE_CONSUMERS: Metric = Metric::new(
    Sampled,
    "queue_consumers",
    "Consumers of a queue, over all processes.",
    &[QUEUE],
);
/// Dead letters.
pub static DEAD_LETTERS: Metric = Metric::new(
    Sampled,
    "dead_letters",
    "Dead letters that nobody has dealt with, by the queue that they come from. They are fewer for a moment while somebody looks at them.",
    &[QUEUE],
);
/// When the queues were looked at.
pub static QUEUES_SAMPLED: Metric = Metric::new(
    Gauge,
    "queues_sampled_timestamp_seconds",
    "When all queues were last looked at, in seconds since 1970; 0 before the first time.",
    &[],
);
/// Commands that wait for a participant.
pub static COMMANDS_WAITING: Metric = Metric::new(
    Sampled,
    "commands_waiting",
    "Commands that wait in the queue of a participant, about. There is no series before the first command.",
    &[PARTICIPANT],
);
/// Participants whose commands are held back.
pub static HELD_BACK: Metric = Metric::new(
    Sampled,
    "participant_held_back",
    "Whether this process keeps commands to a participant in the outbox: 1 for why it does, else 0.",
    &[
        PARTICIPANT,
        Label::one_of("why", &["absent", "full", "behind", "paused"]),
    ],
);
/// Rows in the outbox.
pub static OUTBOX_ROWS: Metric = Metric::new(
    Sampled,
    "outbox_rows",
    "Messages in the outbox; more than 100 are as many as PostgreSQL's statistics say.",
    &[],
);
/// The oldest row of the outbox.
pub static OUTBOX_OLDEST: Metric = Metric::new(
    Sampled,
    "outbox_oldest_seconds",
    "How long the oldest message of the lane has been in the outbox; 0 where there is none.",
    &[LANE],
);
/// What a sweep published.
pub static SWEPT: Metric = Metric::new(
    Counter,
    "outbox_swept_total",
    "Messages that a sweep of the outbox published, because nobody else had.",
    &[],
);
/// When the outbox was looked at.
pub static OUTBOX_SAMPLED: Metric = Metric::new(
    Gauge,
    "outbox_sampled_timestamp_seconds",
    "When the outbox was last looked at, in seconds since 1970; 0 before the first time.",
    &[],
);
/// Whether the database answers.
pub static DATABASE_UP: Metric = Metric::new(
    Gauge,
    "database_up",
    "Whether the database answered when it was last looked at: 1 or 0.",
    &[],
);
/// Connections to the database.
pub static DATABASE_CONNECTIONS: Metric = Metric::new(
    Gauge,
    "database_connections",
    "Connections of the pool: busy, also by a worker that keeps one to itself, or idle.",
    &[Label::one_of("state", &["busy", "idle"])],
);
/// Connections that there may be.
pub static DATABASE_CONNECTIONS_MAX: Metric = Metric::new(
    Gauge,
    "database_connections_max",
    "Connections that the pool may have.",
    &[],
);

/// What every service has besides.
pub const SERVICE: &[&Metric] = &[
    &CONSUMED,
    &REDELIVERED,
    &BATCH_MESSAGES,
    &RETRIES,
    &DEAD,
    &HOLDING,
    &CONNECTED,
    &BLOCKED,
    &LATE,
    &PUBLISHED,
    &QUEUE_MESSAGES,
    &QUEUE_CONSUMERS,
    &DEAD_LETTERS,
    &QUEUES_SAMPLED,
    &OUTBOX_ROWS,
    &OUTBOX_OLDEST,
    &SWEPT,
    &OUTBOX_SAMPLED,
    &DATABASE_UP,
    &DATABASE_CONNECTIONS,
    &DATABASE_CONNECTIONS_MAX,
];

/// What a service has that sends commands.
pub const ORCHESTRATOR: &[&Metric] = &[&COMMANDS_WAITING, &HELD_BACK];
