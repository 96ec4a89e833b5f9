//! The commands: a file each, with its arguments, what it asks for, and how it shows the answer.

mod act;
mod audit;
mod batch;
mod dead_letter;
mod explain;
mod export;
mod filter;
mod graph;
mod job;
mod list;
mod live;
mod mend;
mod page;
mod participant;
mod redrive;
mod replay;
mod saga;
mod show;
mod stats;

pub(crate) use self::{
    act::{Act, Reschedule},
    audit::Audit,
    batch::Batch,
    dead_letter::DeadLetters,
    explain::Explain,
    export::Export,
    graph::Graph,
    list::List,
    live::{Events, Watch},
    participant::Participants,
    redrive::Redrives,
    replay::Replay,
    show::Show,
    stats::Stats,
};
