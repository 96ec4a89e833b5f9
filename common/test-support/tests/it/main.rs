//! Tests of the fault kit that need a broker.

mod database;
mod shuffle;
