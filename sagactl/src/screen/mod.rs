//! What is shown: answers on standard output, everything else on standard error.
//!
//! ```text
//! Text    words in styles, cleaned of control characters ─┐
//! Table   rows of texts, aligned ─────────────────────────┼─► Screen ─► stdout, stderr
//! Value   JSON, as the service said it ───────────────────┘
//! ```

mod sheet;
mod table;
mod text;
mod time;

pub(crate) use self::{
    sheet::{Color, Format, Screen},
    table::Table,
    text::{BACK, BAD, BOLD, BUSY, FAINT, GOOD, Text},
    time::{length, of_day, relative, when},
};
