//! What RabbitMQ delivers, made into what lapin can read.
//!
//! Any client can send what RabbitMQ takes and hands on, and lapin 4.12 cannot read: short strings that are no UTF-8,
//! and headers that fill a frame, to which RabbitMQ adds one more. lapin closes the connection then, and all that was
//! delivered on it comes again, together with that message. Headers that are nested some hundred levels deep overflow
//! the stack of lapin's thread, which ends the process. So they are changed before lapin sees them, and the message is
//! handled like any other one.

use std::str;

/// Bytes of a frame before its payload, and of the whole frame without it.
const HEAD: usize = 7;
const OVERHEAD: usize = HEAD + 1;

/// Types of frames.
const METHOD: u8 = 1;
const HEADER: u8 = 2;

/// Methods, by class and id.
const TUNE: [u8; 4] = [0, 10, 0, 30];
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Bytes of a content header before the flags: the class, the weight, and the size of the body.
const BEFORE_FLAGS: usize = 12;

/// Properties, by their bits in the flags. All others are short strings.
const FIRST: u32 = 15;
const HEADERS: u32 = 13;
const DELIVERY_MODE: u32 = 12;
const PRIORITY: u32 = 11;
const TIMESTAMP: u32 = 6;
const LAST: u32 = 2;

/// How many tables and arrays may be in each other. What is deeper counts as plain bytes.
const DEPTH_MAX: usize = 16;

/// What has arrived on a connection, in frames.
#[derive(Debug)]
pub(super) struct Legible {
    arrived: Vec<u8>,
    /// How many bytes of it lapin may read.
    legible: usize,
    /// The largest frame that lapin takes.
    frame_max: usize,
}

impl Legible {
    /// Nothing yet. `frame_max` is what is configured, if it is.
    pub(super) fn new(frame_max: Option<u32>) -> Self {
        Self {
            arrived: Vec::new(),
            legible: 0,
            frame_max: limit(frame_max.unwrap_or_default()),
        }
    }

    /// Adds what has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
        while let Some(length) = frame_length(&self.arrived[self.legible..]) {
            self.legible += self.make_legible(length);
        }
    }

    /// Moves what is legible into `buffer`, and returns how many bytes that were.
    pub(super) fn pull(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.legible.min(buffer.len());
        buffer[..length].copy_from_slice(&self.arrived[..length]);
        self.arrived.drain(..length);
        self.legible -= length;
        length
    }

    /// Makes the next frame legible, and returns how long it is then. What makes no sense is left to lapin, which says so.
    fn make_legible(&mut self, length: usize) -> usize {
        let start = self.legible + HEAD;
        let payload = start..start + length - OVERHEAD;
        let kind = self.arrived[self.legible];
        let mut rest = &mut self.arrived[payload.clone()];
        if kind == METHOD && rest.starts_with(&TUNE) {
            let frame_max = rest.get(6..).and_then(long).unwrap_or_default();
            self.frame_max = self.frame_max.min(limit(frame_max));
        } else if kind == METHOD && rest.starts_with(&DELIVER) {
            let _ = deliver(&mut rest);
        } else if kind == HEADER {
            let _ = content_header(&mut rest);
            let whole = &self.arrived[payload.clone()];
            if length > self.frame_max
                && let Some(kept) = without_headers(whole)
            {
                let size = kept.len();
                self.arrived.splice(payload, kept);
                self.arrived[start - 4..start].copy_from_slice(&(size as u32).to_be_bytes());
                return size + OVERHEAD;
            }
        }
        length
    }
}

/// How long the frame at the beginning of `bytes` is, if all of it is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = long(bytes.get(3..)?)? as usize + OVERHEAD;
    (bytes.len() >= length).then_some(length)
}

/// The limit that `frame_max` sets, of which 0 sets none.
fn limit(frame_max: u32) -> usize {
    match frame_max {
        0 => usize::MAX,
        bytes => bytes as usize,
    }
}

/// The number at the beginning of `bytes`.
fn long(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

/// The payload of a content header, without the headers.
fn without_headers(payload: &[u8]) -> Option<Vec<u8>> {
    let flags = u16::from_be_bytes(*payload.get(BEFORE_FLAGS..)?.first_chunk()?);
    let mut start = BEFORE_FLAGS + 2;
    for property in (HEADERS + 1..=FIRST).rev() {
        if flags & (1 << property) != 0 {
            start += 1 + usize::from(*payload.get(start)?);
        }
    }
    if flags & (1 << HEADERS) == 0 {
        return None;
    }
    let end = start + 4 + long(payload.get(start..)?)? as usize;
    let flags = (flags & !(1 << HEADERS)).to_be_bytes();
    let (before, texts) = payload.get(..start)?.split_at(BEFORE_FLAGS);
    Some([before, &flags, &texts[flags.len()..], payload.get(end..)?].concat())
}

// What follows takes bytes off the beginning of `rest`, and returns `None` where that is not what should be there.

fn deliver(rest: &mut &mut [u8]) -> Option<()> {
    rest.split_off_mut(..DELIVER.len())?;
    make_utf8(short_string(rest)?);
    // The number of the delivery, and whether it is one that comes again.
    rest.split_off_mut(..9)?;
    make_utf8(short_string(rest)?);
    make_utf8(short_string(rest)?);
    Some(())
}

fn content_header(rest: &mut &mut [u8]) -> Option<()> {
    rest.split_off_mut(..BEFORE_FLAGS)?;
    let flags = u16::from_be_bytes(*rest.split_off_mut(..2)?.first_chunk()?);
    for property in (LAST..=FIRST).rev() {
        if flags & (1 << property) == 0 {
            continue;
        }
        match property {
            HEADERS => table(long_string(rest)?, 1)?,
            DELIVERY_MODE | PRIORITY => drop(rest.split_off_mut(..1)?),
            TIMESTAMP => drop(rest.split_off_mut(..8)?),
            _ => make_utf8(short_string(rest)?),
        }
    }
    Some(())
}

fn table(mut rest: &mut [u8], depth: usize) -> Option<()> {
    while !rest.is_empty() {
        make_utf8(short_string(&mut rest)?);
        value(&mut rest, depth)?;
    }
    Some(())
}

fn array(mut rest: &mut [u8], depth: usize) -> Option<()> {
    while !rest.is_empty() {
        value(&mut rest, depth)?;
    }
    Some(())
}

/// A value that is in `depth` others. Source: <https://www.rabbitmq.com/amqp-0-9-1-errata#section_3>
fn value(rest: &mut &mut [u8], depth: usize) -> Option<()> {
    let kind = rest.split_off_first_mut()?;
    let length = match *kind {
        b'F' | b'A' if depth == DEPTH_MAX => {
            *kind = b'x';
            long_string(rest)?;
            return Some(());
        }
        b'F' => return table(long_string(rest)?, depth + 1),
        b'A' => return array(long_string(rest)?, depth + 1),
        b'S' | b'x' => return long_string(rest).map(drop),
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'd' | b'T' => 8,
        _ => return None,
    };
    rest.split_off_mut(..length).map(drop)
}

fn short_string<'a>(rest: &mut &'a mut [u8]) -> Option<&'a mut [u8]> {
    let length = *rest.split_off_first_mut()?;
    rest.split_off_mut(..usize::from(length))
}

fn long_string<'a>(rest: &mut &'a mut [u8]) -> Option<&'a mut [u8]> {
    let length = long(rest.split_off_mut(..4)?)?;
    rest.split_off_mut(..length as usize)
}

/// Puts a question mark in the place of each byte that makes no sense.
fn make_utf8(text: &mut [u8]) {
    let mut start = 0;
    while let Err(error) = str::from_utf8(&text[start..]) {
        start += error.valid_up_to();
        text[start] = b'?';
    }
}

#[cfg(test)]
mod tests {
    use lapin::{
        BasicProperties,
        protocol::basic::parse_properties,
        types::{AMQPValue, ShortString},
    };

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1], &length[..], payload, &[0xCE]].concat()
    }

    fn long_string(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let payload = [&[0; BEFORE_FLAGS], &flags.to_be_bytes()[..], properties].concat();
        frame(HEADER, &payload)
    }

    /// What lapin reads of `bytes`, which arrive in pieces.
    fn read(legible: &mut Legible, bytes: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        for piece in bytes.chunks(1000) {
            legible.push(piece);
            let mut buffer = [0; 300];
            while let length @ 1.. = legible.pull(&mut buffer) {
                read.extend(&buffer[..length]);
            }
        }
        read
    }

    /// What lapin makes of a content header.
    fn properties(legible: &mut Legible, bytes: &[u8]) -> BasicProperties {
        let header = read(legible, bytes);
        let payload = &header[HEAD..header.len() - 1];
        assert_eq!(long(&header[3..]).unwrap() as usize, payload.len());
        let (rest, properties) = parse_properties(&payload[BEFORE_FLAGS..]).unwrap();
        assert!(rest.is_empty());
        properties
    }

    fn headers(table: &[u8]) -> Vec<u8> {
        header(1 << HEADERS, &long_string(table))
    }

    #[test]
    fn what_is_legible_stays_as_it_is() {
        let text = "grün".as_bytes();
        let table = [&[5], text, b"S", &long_string(b"\xff"), &[1, b'x', b'V']].concat();
        let properties = [&[5], text, &long_string(&table), &[2]].concat();
        let frames = [
            header(1 << FIRST | 1 << HEADERS | 1 << DELIVERY_MODE, &properties),
            frame(3, &[0xff; 5000]),
            frame(
                METHOD,
                &[DELIVER.as_slice(), &[1, b'c'], &[0; 9], &[0], &[5], text].concat(),
            ),
            frame(8, &[]),
            frame(HEADER, b"nonsense"),
        ];
        let frames = frames.concat();
        assert_eq!(read(&mut Legible::new(None), &frames), frames);
    }

    #[test]
    fn what_is_no_text_becomes_text() {
        let table = [&[2, 0xff, b'a'], &b"F"[..], &long_string(&[1, 0xc3, b'V'])].concat();
        let bytes = [&[3, b'a', 0xff, 0xfe], &long_string(&table)[..]].concat();
        let bytes = header(1 << FIRST | 1 << HEADERS, &bytes);
        let properties = properties(&mut Legible::new(None), &bytes);
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "a??");
        let headers = properties.headers().as_ref().unwrap().inner();
        let AMQPValue::FieldTable(inner) = &headers["?a"] else {
            panic!("{headers:?}")
        };
        assert_eq!(inner.inner().keys().next(), Some(&ShortString::from("?")));

        let delivered = frame(
            METHOD,
            &[&DELIVER, &[1, b'c'][..], &[0; 9], &[1, 0xff], &[1, 0xfe]].concat(),
        );
        let read = read(&mut Legible::new(None), &delivered);
        assert_eq!(read[read.len() - 5..], [1, b'?', 1, b'?', 0xCE]);
    }

    #[test]
    fn what_is_too_deep_counts_as_bytes() {
        for kind in [b'F', b'A'] {
            let name: &[u8] = if kind == b'F' { &[0] } else { &[] };
            let mut nested = Vec::new();
            for _ in 0..2000 {
                nested = [name, &[kind], &long_string(&nested)].concat();
            }
            let nested = [&[0, kind][..], &long_string(&nested)].concat();
            let properties = properties(&mut Legible::new(None), &headers(&nested));
            let mut value = AMQPValue::FieldTable(properties.headers().clone().unwrap());
            let mut depth = 0;
            loop {
                value = match value {
                    AMQPValue::FieldTable(table) => table.inner()[""].clone(),
                    AMQPValue::FieldArray(array) => array.as_slice()[0].clone(),
                    AMQPValue::ByteArray(_) => break,
                    value => panic!("{value:?}"),
                };
                depth += 1;
            }
            assert_eq!(depth, DEPTH_MAX);
        }
    }

    #[test]
    fn headers_that_fill_more_than_a_frame_are_left_out() {
        let table = [&[1, b'x', b'S'], &long_string(&[b'x'; 5000])[..]].concat();
        let bytes = [&[1, b'a'], &long_string(&table)[..], &[2]].concat();
        let bytes = header(1 << FIRST | 1 << HEADERS | 1 << DELIVERY_MODE, &bytes);
        let body = frame(3, b"body");
        let tune = |max: u32| {
            frame(
                METHOD,
                &[&TUNE, &[0; 2][..], &max.to_be_bytes(), &[0; 2]].concat(),
            )
        };
        let kept = |legible: &mut Legible| {
            let properties = properties(legible, &bytes);
            assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "a");
            assert_eq!(properties.delivery_mode(), &Some(2));
            assert_eq!(read(legible, &body), body);
            properties.headers().is_some()
        };
        for (configured, tuned, has_headers) in [
            (None, 0, true),
            (None, bytes.len() as u32, true),
            (None, 5000, false),
            (Some(5000), 0, false),
            (Some(0), 0, true),
        ] {
            let mut legible = Legible::new(configured);
            read(&mut legible, &tune(tuned));
            assert_eq!(kept(&mut legible), has_headers, "{configured:?} {tuned}");
        }
    }
}
