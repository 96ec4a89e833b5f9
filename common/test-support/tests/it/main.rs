//! Tests of the fault kit that need a broker.

mod counts;
mod database;
mod shuffle;
