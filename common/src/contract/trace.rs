//! The trace that all that one request caused belongs to, as messages carry it.

use uuid::Uuid;

/// Where in a trace something happens: what follows from it names it as its parent.
///
/// Source: <https://www.w3.org/TR/trace-context/>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    flags: u8,
    state: Option<String>,
}

impl Trace {
    /// The span of the trace with this id, with what tracing systems add.
    #[must_use]
    pub fn at(id: u128, span: u64, flags: u8, state: Option<String>) -> Self {
        Self {
            id,
            span,
            flags,
            state,
        }
    }

    /// A trace that begins here.
    #[must_use]
    pub fn new() -> Self {
        let span = Uuid::new_v4().as_u64_pair().0 | 1;
        Self::at(Uuid::new_v4().as_u128(), span, 1, None)
    }

    /// What `parent` and `state` say, if they say it as this version of the format does. Of a later version, what this
    /// one knows is kept.
    ///
    /// Source: <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>
    #[must_use]
    pub fn read(parent: &str, state: Option<String>) -> Option<Self> {
        let (known, rest) = parent.split_at_checked(55)?;
        let mut parts = known.splitn(4, '-');
        let mut hex = |length| {
            let part = parts.next()?;
            let is_hex = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let number = u128::from_str_radix(part, 16).ok()?;
            (part.len() == length && is_hex).then_some(number)
        };
        let (version, id, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let ends = rest.is_empty() || version != 0 && rest.starts_with('-');
        let is_trace = version != 0xff && id != 0 && span != 0 && ends;
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(flags).ok()?);
        is_trace.then(|| Self::at(id, span, flags, state))
    }

    /// The same, where it may not be there at all.
    #[must_use]
    pub fn stored(parent: Option<&str>, state: Option<String>) -> Option<Self> {
        Self::read(parent?, state)
    }

    /// The `traceparent` of what follows.
    #[must_use]
    pub fn parent(&self) -> String {
        let Self {
            id, span, flags, ..
        } = self;
        format!("00-{id:032x}-{span:016x}-{flags:02x}")
    }

    /// The `tracestate` of what follows: what tracing systems add.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace's id.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The trace's id as tracing systems show it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// The id of the span that what follows has as its parent.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Whether the trace is sampled, and what else is said about it.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether spans of the trace are collected, by whoever does that.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The place of another span of the same trace; what is said about the trace stays.
    #[must_use]
    pub fn moved_to(&self, other: &Self) -> Option<Self> {
        (self.id == other.id).then(|| Self {
            span: other.span,
            ..self.clone()
        })
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str) -> Option<String> {
        Trace::read(parent, None).map(|trace| trace.parent())
    }

    #[test]
    fn a_trace_is_read_as_this_version_knows_it() {
        assert_eq!(read(TRACE).as_deref(), Some(TRACE));
        let later = format!("cc{}-what-comes-later", &TRACE[2..]);
        assert_eq!(read(&later).as_deref(), Some(TRACE));
        let trace = Trace::read(TRACE, Some("a=1".to_owned())).unwrap();
        assert_eq!(trace.name(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.state(), Some("a=1"));
        for wrong in [
            "",
            "00",
            &format!("ff{}", &TRACE[2..]),
            &format!("{TRACE}-more"),
            &format!("cc{}.more", &TRACE[2..]),
            &TRACE.to_uppercase(),
            &TRACE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &TRACE.replace("b7ad6b7169203331", &"0".repeat(16)),
            &TRACE[..54],
            &format!("{}é", &TRACE[..54]),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_place_in_another_trace_is_none() {
        let own = Trace::at(7, 1, 1, Some("a=1".to_owned()));
        let moved = own.moved_to(&Trace::at(7, 2, 0, Some("b=2".to_owned())));
        assert_eq!(moved, Some(Trace::at(7, 2, 1, Some("a=1".to_owned()))));
        assert_eq!(own.moved_to(&Trace::at(8, 2, 1, None)), None);
    }

    #[test]
    fn a_trace_that_begins_here_can_be_read() {
        let new = Trace::new();
        assert_eq!(Trace::read(&new.parent(), None), Some(new));
    }
}
