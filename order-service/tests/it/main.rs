//! Orders and sagas on real RabbitMQ and PostgreSQL. Run with `./dev test`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod batches;
mod browser;
mod clocks;
mod cluster;
mod correlation;
mod crash;
mod dead_letters;
mod dead_sockets;
mod ends;
mod events;
mod expiry;
mod explain;
mod failover;
mod finding;
mod flow;
mod garbage;
mod graph;
mod growth;
mod harness;
mod idempotency_key;
mod load;
mod messages;
mod messages_fit;
mod metrics;
mod operator;
mod outage;
mod outbox;
mod page;
mod pauses;
mod replies;
mod retention;
mod returns;
mod slow_broker;
mod sql;
mod timeouts;
mod traces;
mod upgrade;
mod verbs;
