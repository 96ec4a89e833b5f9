//! Properties of messages that no library writes, though RabbitMQ takes and delivers many of them.

use rand::{RngExt, seq::IndexedRandom as _};

use super::wire::{FRAME_MAX, Message, long, short};

/// The flag of a property, and its bytes.
type Property = (u16, Vec<u8>);

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;

/// All that are short strings and that RabbitMQ does not look into.
const TEXTS: [u16; 8] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CORRELATION_ID,
    REPLY_TO,
    MESSAGE_ID,
    TYPE,
    APP_ID,
    CLUSTER_ID,
];

/// What is in a content header before the first header: class, weight, size of the body, flags, and what an entry has
/// before its value.
const HEADERS_AT: usize = 12 + 2 + 4 + 7;

const NO_UTF8: &[u8] = b"caf\xe9 \xff\xfe";

/// How many values are in each other: more than any stack can follow, and few enough that RabbitMQ is quick to deliver them.
/// Its time grows with their square, to seconds for the 20 000 that fill a frame.
const DEPTH: usize = 5_000;

/// Each kind of them, for `queue`, with what it is and whether every version of RabbitMQ takes it.
#[must_use]
pub fn each(queue: &str) -> Vec<(&'static str, bool, Message)> {
    let message = |properties| Message {
        exchange: Vec::new(),
        routing_key: queue.into(),
        properties,
        body: b"nonsense".to_vec(),
    };
    let mut each: Vec<_> = each_properties()
        .into_iter()
        .map(|(what, taken, properties)| (what, taken, message(properties)))
        .collect();
    let copy = entry(
        b"CC",
        b'A',
        &long(&[b"S", &long(queue.as_bytes())[..]].concat()),
    );
    let mut elsewhere = message(headers(&copy));
    elsewhere.routing_key = NO_UTF8.to_vec();
    each.push(("a routing key that is no UTF-8", true, elsewhere));
    let mut empty = message(properties(vec![]));
    empty.body.clear();
    each.push(("no body", true, empty));
    each
}

fn each_properties() -> Vec<(&'static str, bool, Vec<u8>)> {
    let full = FRAME_MAX - HEADERS_AT;
    let text = |length| headers(&entry(b"x", b'S', &long(&vec![b'x'; length])));
    let many = |n: u16| entry(&n.to_be_bytes(), b'u', &n.to_be_bytes());
    let many: Vec<u8> = (0..10_000).flat_map(many).collect();
    let twice = [entry(b"x", b'V', &[]), entry(b"x", b't', &[7])].concat();
    let mixed = |level| if level % 2 == 0 { b'A' } else { b'F' };
    vec![
        ("no property", true, properties(vec![])),
        ("every property", true, properties(every(b"text"))),
        ("texts that are no UTF-8", true, properties(every(NO_UTF8))),
        ("texts of 255 bytes", true, properties(every(&[0xff; 255]))),
        (
            "a name that is no UTF-8",
            true,
            headers(&entry(NO_UTF8, b'V', &[])),
        ),
        (
            "a value that is no UTF-8",
            true,
            headers(&entry(b"x", b'S', &long(NO_UTF8))),
        ),
        ("values of every type", true, headers(&every_type())),
        ("the same name twice", true, headers(&twice)),
        ("no name", true, headers(&entry(b"", b'x', &long(b"")))),
        ("tables in tables", true, headers(&nested(DEPTH, |_| b'F'))),
        ("arrays in arrays", true, headers(&nested(DEPTH, |_| b'A'))),
        (
            "arrays in tables in arrays",
            true,
            headers(&nested(DEPTH, mixed)),
        ),
        ("a header of 100 kB", true, text(100_000)),
        ("headers that fill a frame", true, text(full - 8)),
        ("headers that fill more than a frame", true, text(full)),
        ("10 000 headers", true, headers(&many)),
        (
            "an unknown type",
            false,
            headers(&entry(b"x", b'_', &short(b"x"))),
        ),
        (
            "a value that ends too soon",
            false,
            headers(&entry(b"x", b'S', &[0, 0, 0, 9])),
        ),
        (
            "a number that is none",
            false,
            headers(&entry(b"x", b'd', &f64::NAN.to_be_bytes())),
        ),
        (
            "an unknown delivery mode",
            false,
            properties(vec![(DELIVERY_MODE, vec![255])]),
        ),
        (
            "an expiration that is no number",
            false,
            properties(vec![(EXPIRATION, short(b"soon"))]),
        ),
        (
            "somebody else's user id",
            false,
            properties(vec![(USER_ID, short(b"root"))]),
        ),
        ("flags without a meaning", true, vec![0, 3]),
    ]
}

fn headers(table: &[u8]) -> Vec<u8> {
    properties(vec![(HEADERS, long(table))])
}

/// Any of them.
pub(super) fn any(random: &mut impl RngExt) -> Vec<u8> {
    if random.random_ratio(1, 2) {
        let mut each = each_properties();
        return each.swap_remove(random.random_range(0..each.len())).2;
    }
    let mut some = Vec::new();
    for flag in TEXTS {
        if random.random_ratio(1, 4) {
            some.push((flag, short(&bytes(random, 255))));
        }
    }
    if random.random_ratio(3, 4) {
        let depth = random.random_range(0..6);
        some.push((HEADERS, long(&table(random, depth))));
    }
    if random.random_ratio(1, 4) {
        some.push((TIMESTAMP, random.random::<[u8; 8]>().to_vec()));
    }
    properties(some)
}

fn properties(mut of: Vec<Property>) -> Vec<u8> {
    of.sort_by(|(one, _), (other, _)| other.cmp(one));
    let flags = of.iter().fold(0, |flags, (flag, _)| flags | flag);
    let fields = of.into_iter().flat_map(|(_, bytes)| bytes);
    flags.to_be_bytes().into_iter().chain(fields).collect()
}

fn every(text: &[u8]) -> Vec<Property> {
    let mut every: Vec<_> = TEXTS.iter().map(|flag| (*flag, short(text))).collect();
    every.extend([
        (HEADERS, long(&entry(text, b'V', &[]))),
        (DELIVERY_MODE, vec![2]),
        (PRIORITY, vec![255]),
        (EXPIRATION, short(b"100000000")),
        (TIMESTAMP, vec![255; 8]),
    ]);
    every
}

fn entry(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
    [&short(name)[..], &[kind], value].concat()
}

/// So many values in each other, each of the type that `kind` says.
fn nested(depth: usize, kind: impl Fn(usize) -> u8) -> Vec<u8> {
    // From the inside, and backwards: so no byte is copied once for each level.
    let mut reversed = Vec::new();
    for level in (0..depth).rev() {
        let length = u32::try_from(reversed.len()).expect("it is short");
        reversed.extend(length.to_le_bytes());
        reversed.push(kind(level));
        // What is in a table has a name.
        if level == 0 || kind(level - 1) == b'F' {
            reversed.push(0);
        }
    }
    reversed.reverse();
    reversed
}

fn every_type() -> Vec<u8> {
    let types: [(u8, &[u8]); 18] = [
        (b't', &[2]),
        (b'b', &[128]),
        (b'B', &[255]),
        (b's', &[128, 0]),
        (b'u', &[255, 255]),
        (b'I', &[128, 0, 0, 0]),
        (b'i', &[255; 4]),
        (b'l', &[128, 0, 0, 0, 0, 0, 0, 0]),
        (b'f', &f32::MAX.to_be_bytes()),
        (b'd', &f64::MIN_POSITIVE.to_be_bytes()),
        (b'D', &[255; 5]),
        (b'S', &[0, 0, 0, 3, 0, 255, 10]),
        (b'x', &[0, 0, 0, 3, 0, 255, 10]),
        (b'T', &[255; 8]),
        (b'T', &[0; 8]),
        (b'V', &[]),
        (b'A', &[0, 0, 0, 2, b'V', b'V']),
        (b'F', &[0, 0, 0, 3, 1, 255, b'V']),
    ];
    let named = types.iter().zip(b'a'..);
    named
        .flat_map(|((kind, value), name)| entry(&[name], *kind, value))
        .collect()
}

fn bytes(random: &mut impl RngExt, at_most: usize) -> Vec<u8> {
    let length = random.random_range(0..=at_most);
    (0..length).map(|_| random.random()).collect()
}

fn table(random: &mut impl RngExt, depth: usize) -> Vec<u8> {
    let mut table = Vec::new();
    for _ in 0..random.random_range(0..8) {
        table.extend(short(&bytes(random, 20)));
        table.extend(value(random, depth));
    }
    table
}

fn array(random: &mut impl RngExt, depth: usize) -> Vec<u8> {
    let values = 0..random.random_range(0..8);
    values.flat_map(|_| value(random, depth)).collect()
}

/// A value of any type that RabbitMQ knows, behind its type.
fn value(random: &mut impl RngExt, depth: usize) -> Vec<u8> {
    let sizes = [
        (b't', 1),
        (b'b', 1),
        (b'B', 1),
        (b's', 2),
        (b'u', 2),
        (b'I', 4),
        (b'i', 4),
        (b'l', 8),
        (b'f', 4),
        (b'd', 8),
        (b'D', 5),
        (b'T', 8),
        (b'V', 0),
    ];
    let (kind, value) = match random.random_range(0..6) {
        0 if depth > 0 => (b'F', long(&table(random, depth - 1))),
        1 if depth > 0 => (b'A', long(&array(random, depth - 1))),
        2 => (b'S', long(&bytes(random, 300))),
        3 => (b'x', long(&bytes(random, 300))),
        _ => {
            let (kind, size) = *sizes.choose(random).expect("there are some");
            (kind, (0..size).map(|_| random.random()).collect())
        }
    };
    [&[kind], &value[..]].concat()
}
