//! The trip saga of the examples, as tests use it.
#![allow(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "the examples need what a test does not"
)]

include!("../../doc/trip.rs");
