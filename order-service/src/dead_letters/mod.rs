//! Dead letters: what operators see of them, and do with them.
//!
//! ```text
//! desk: a turn at a queue ─► letters, one slice after another ─► put back, or acked when they are dealt with
//!                                 │
//!          look: list, group ◄────┤ who it is, why it died (letter), and what has the same error (fingerprint)
//!                                 │
//!   redrive: publish ─► confirm ─► progress and saga log, in one transaction ─► ack      (a worker, from rows of redrives)
//!   mend:    saga log, the original, and the edited message, in one transaction ─► ack   (kept)
//! ```
//!
//! `growth` tells everybody when a queue has more of them than before.
//!
//! Only one of all replicas takes letters out of a queue at a time, so that they keep their order. A letter is acked last:
//! whoever dies before that has lost nothing, and what is done twice is done to participants who do everything once.

mod desk;
mod error;
mod fingerprint;
pub(crate) mod growth;
mod kept;
mod lease;
mod letter;
mod look;
mod mend;
mod redrive;
mod selection;
mod table;

pub(crate) use desk::{Desk, Queue};
pub(crate) use error::Error;
pub(crate) use kept::Kept;
pub(crate) use letter::Letter;
pub(crate) use look::{Preview, Window};
pub(crate) use mend::Mending;
pub(crate) use redrive::Worker;
pub(crate) use selection::{Refusal, Selection};
pub(crate) use table::{NewRedrive, Redrive, Status, cancel, create, find, find_by_key, list};
