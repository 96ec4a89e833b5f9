//! Exports: sagas with their logs as JSON lines, which another release can retrace.
//!
//! ```text
//! {"export":{"format":1,"filter":{…},"words":false}}     first
//! {"saga":{"sagaId":…,"type":…,"log":[…]}}               any number
//! {"cursor":"…"}                                         after each page: an export goes on here
//! {"end":{"sagas":1234}}                                 last, when it is whole
//! ```

mod line;
mod lines;

pub(crate) use self::{
    line::{End, Exported, Header, Line, redacted},
    lines::Lines,
};
