//! Server-sent events, read from bytes as they come.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

/// The most bytes of a line, and of the data of an event.
const LONGEST: usize = 1 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// What the server calls it, if anything.
    pub(crate) name: String,
    /// What it says.
    pub(crate) data: String,
    /// From where on to ask after it.
    pub(crate) id: Option<String>,
}

/// An event is longer than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has an event of more than 1 MiB")]
pub(crate) struct TooLong;

/// What was read of a stream.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// Whether the last byte ended a line with a carriage return, to which a line feed belongs.
    after_return: bool,
    has_begun: bool,
    event: Event,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// The events that end in `bytes`.
    ///
    /// # Errors
    /// One of them is too long: nothing more can be read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_second = std::mem::take(&mut self.after_return) && byte == b'\n';
            match byte {
                b'\n' if is_second => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.line_ends(&String::from_utf8_lossy(&line))?);
                }
                _ if self.line.len() >= LONGEST => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn line_ends(&mut self, line: &str) -> Result<Option<Event>, TooLong> {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        let line = if has_begun {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        if line.is_empty() {
            return Ok(self.event_ends());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                let data = &mut self.event.data;
                if data.len() + value.len() >= LONGEST {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    data.push('\n');
                }
                data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment, or a field that we have no use for.
            _ => {}
        }
        Ok(None)
    }

    fn event_ends(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        let has_data = std::mem::take(&mut self.has_data);
        has_data.then(|| Event {
            id: self.id.clone(),
            ..event
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let stream = "\u{feff}: hello\r\nid: 1\r\nevent: entry\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\
                      data:x\n\n: keep\n\nid\ndata\n\nretry: 5\nevent: none\n\ndata: cut";
        let expected = [
            event("entry", "{\"a\":\n1}", Some("1")),
            event("", "x", Some("1")),
            event("", "", Some("")),
        ];
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let pieces = stream.as_bytes().chunks(size);
            let events: Vec<_> = pieces
                .flat_map(|piece| parser.feed(piece).unwrap())
                .collect();
            assert_eq!(events, expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LONGEST / 2];
        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(&piece), Err(TooLong));
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(LONGEST / 3));
        let lines: Result<Vec<_>, _> = (0..4).map(|_| parser.feed(line.as_bytes())).collect();
        assert_eq!(lines, Err(TooLong));
    }
}
