//! Tests of the fault kit that need a broker.

mod shuffle;
