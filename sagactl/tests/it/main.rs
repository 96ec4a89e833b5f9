//! The program `sagactl`, as a process, against services that run in the test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod acting;
mod archive;
mod between;
mod harness;
mod letters;
mod live;
mod looking;
mod manual;
mod terminal;
mod tls;
