//! Orders and sagas on real RabbitMQ and PostgreSQL. Run with `./dev test`.

mod bad_input;
mod crash;
mod ends;
mod harness;
mod idempotency_key;
mod load;
mod messages;
mod operator;
mod outage;
mod replies;
mod timeouts;
