//! The trace that all that one request caused belongs to, as messages carry it.

use uuid::Uuid;

/// Where in a trace something happens: what follows from it names it as its parent.
///
/// Source: <https://www.w3.org/TR/trace-context/>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// What `parent` and `state` say, if they say it as this version of the format does. Of a later version, what this
    /// one knows is kept.
    ///
    /// Source: <https://www.w3.org/TR/trace-context/#versioning-of-traceparent>
    #[must_use]
    pub fn read(parent: &str, state: Option<String>) -> Option<Self> {
        let (known, rest) = parent.split_at_checked(55)?;
        let mut parts = known.splitn(4, '-');
        let mut next = || parts.next();
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
        let ends = rest.is_empty() || version != "00" && rest.starts_with('-');
        let is_trace = is_hex(version, 2)
            && version != "ff"
            && is_id(trace, 32)
            && is_id(span, 16)
            && is_hex(flags, 2);
        (is_trace && ends).then(|| Self {
            parent: format!("00-{trace}-{span}-{flags}"),
            state,
        })
    }

    /// What is stored of it.
    #[must_use]
    pub fn stored(parent: Option<&str>, state: Option<String>) -> Option<Self> {
        Self::read(parent?, state)
    }

    /// A trace that begins here.
    #[must_use]
    pub fn new() -> Self {
        let (trace, span) = (Uuid::new_v4().simple(), Uuid::new_v4().as_u64_pair().0 | 1);
        Self {
            parent: format!("00-{trace}-{span:016x}-01"),
            state: None,
        }
    }

    /// The `traceparent` of what follows.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The `tracestate` of what follows: what tracing systems add.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.parent[3..35]
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
        Trace::read(parent, None).map(|trace| trace.parent().to_owned())
    }

    #[test]
    fn a_trace_is_read_as_this_version_knows_it() {
        assert_eq!(read(TRACE).as_deref(), Some(TRACE));
        let later = format!("cc{}-what-comes-later", &TRACE[2..]);
        assert_eq!(read(&later).as_deref(), Some(TRACE));
        let trace = Trace::read(TRACE, Some("a=1".to_owned())).unwrap();
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
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
    fn a_trace_that_begins_here_can_be_read() {
        let new = Trace::new();
        assert_eq!(Trace::read(new.parent(), None), Some(new));
    }
}
