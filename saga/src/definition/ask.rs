//! What a step says: its commands, made of the saga's data, and what is read out of a refusal.

use common::contract::{Command, Envelope, Reason, Rejection};
use serde_json::value::RawValue;

/// Why and with which words a participant refused, from the data of its reply.
pub type ReadRejection = fn(&RawValue) -> serde_json::Result<(Reason, Option<String>)>;

/// Makes a step's command. Every function from the data to a command does.
pub trait Ask<D>: Sync {
    /// The command as a message of `source` about `subject`.
    fn ask(&self, source: &str, subject: &str, data: &D) -> Envelope;
}

impl<D, C: Command, F: Fn(&D) -> C + Sync> Ask<D> for F {
    fn ask(&self, source: &str, subject: &str, data: &D) -> Envelope {
        Envelope::new(source, subject, &self(data))
    }
}

/// Makes the command of a compensation. Every function from the data and the reason to a command does.
pub trait AskBack<D>: Sync {
    /// The command as a message of `source` about `subject`.
    fn ask_back(&self, source: &str, subject: &str, data: &D, reason: Reason) -> Envelope;
}

impl<D, C: Command, F: Fn(&D, Reason) -> C + Sync> AskBack<D> for F {
    fn ask_back(&self, source: &str, subject: &str, data: &D, reason: Reason) -> Envelope {
        Envelope::new(source, subject, &self(data, reason))
    }
}

pub(super) fn read_rejection<R: Rejection>(
    data: &RawValue,
) -> serde_json::Result<(Reason, Option<String>)> {
    let rejection: R = serde_json::from_str(data.get())?;
    Ok((rejection.reason(), rejection.detail().map(str::to_owned)))
}
