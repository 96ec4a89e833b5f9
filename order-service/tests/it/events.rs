//! What happens to sagas, as server-sent events.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use test_support::PATIENCE;
use tokio::time::timeout;

use crate::harness::{Api, Participants, System, processed, text};

/// A client that reads a stream.
struct Stream {
    answer: Response,
    unread: String,
}

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(api: &Api, path: &str, last: Option<&str>) -> Self {
        let mut request = api.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let unread = String::new();
        Self { answer, unread }
    }

    /// The next event, or none when the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.read()).await.unwrap()
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let event = Event::parse(event);
                self.unread = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let bytes = self.answer.chunk().await.unwrap()?;
            self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The names of the next entries, up to one of this name.
    async fn entries_until(&mut self, last: &str) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.kind == "entry" {
                let name = text(&event.data, "event").to_owned();
                entries.push((event.id, name.clone()));
                if name == last {
                    return entries;
                }
            }
        }
    }
}

impl Event {
    /// None where it is a comment.
    fn parse(lines: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = lines.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(field, _)| *field == name);
            found.map(|(_, value)| value.to_owned())
        };
        Some(Self {
            id: field("id").unwrap_or_default(),
            kind: field("event")?,
            data: serde_json::from_str(&field("data")?).unwrap(),
        })
    }
}

fn names(entries: &[(String, String)]) -> Vec<&str> {
    entries.iter().map(|(_, name)| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_the_log_of_a_saga_and_goes_on_where_it_was_left() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let path = format!("/sagas/{}/events", text(&order, "sagaId"));
    let mut stream = Stream::open(&system.orders, &path, None).await;
    let begun = stream.entries_until("ACTION_SENT").await;
    assert_eq!(
        begun,
        [
            ("1".to_owned(), "SAGA_STARTED".to_owned()),
            ("2".to_owned(), "ACTION_SENT".to_owned())
        ]
    );
    let saga = stream.next().await.unwrap();
    assert_eq!(
        (saga.kind.as_str(), &saga.data["version"]),
        ("saga", &json!(2))
    );
    assert_eq!(saga.data["currentStep"], "payment");

    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    let moved = stream.entries_until("ACTION_SENT").await;
    assert_eq!(names(&moved), ["STEP_SUCCEEDED", "ACTION_SENT"]);
    assert_eq!(
        stream.next().await.unwrap().data["currentStep"],
        "inventory"
    );

    // Whoever comes back is told what it has not read, and nothing twice.
    let mut again = Stream::open(&system.orders, &path, Some("3")).await;
    let entry = again.next().await.unwrap();
    assert_eq!(
        (entry.id.as_str(), &entry.data["event"]),
        ("4", &json!("ACTION_SENT"))
    );
    let saga = system.saga(&order).await;
    assert_eq!(entry.data, saga["log"][3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_any_replica_does_to_any_saga() {
    let mut system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let other = system.add_replica().await;
    let before = system.place("prod-1", 1).await;
    let mut all = Stream::open(&other, "/sagas/events", None).await;
    let mut started = Stream::open(&other, "/sagas/events?event=SAGA_STARTED", None).await;
    let payment = participants.command("payment").await;

    // Until the other replica looks, nothing is new to it, so this is asked for until it is told.
    let mut placed = Vec::new();
    let first = loop {
        placed.push(system.place("prod-1", 1).await);
        let told = timeout(std::time::Duration::from_secs(2), started.read()).await;
        if let Ok(event) = told {
            break event.unwrap();
        }
    };
    assert_eq!(first.data["event"], "SAGA_STARTED");
    let order = placed
        .iter()
        .find(|order| order["sagaId"] == first.data["sagaId"]);
    let order = order.expect("what was there before is not told");
    assert_eq!(first.data["type"], "create_order");
    let subject = format!("order/{}", text(order, "orderId"));
    assert_eq!(text(&first.data, "subject"), subject);

    // What happens to a saga that is older than the stream is new, too, and nothing else of it.
    participants.reply(&[processed(&payment)]).await;
    let mut of_before = Vec::new();
    while of_before.len() < 2 {
        let event = all.next().await.unwrap();
        if event.data["sagaId"] == before["sagaId"] {
            of_before.push((event.id, text(&event.data, "event").to_owned()));
        }
    }
    assert_eq!(names(&of_before), ["STEP_SUCCEEDED", "ACTION_SENT"]);

    // Whoever comes back is told what it has missed.
    let path = format!("/sagas/events?subject={subject}");
    let mut again = Stream::open(&system.orders, &path, Some("2020-01-01T00:00:00Z")).await;
    let missed = again.entries_until("ACTION_SENT").await;
    assert_eq!(names(&missed), ["SAGA_STARTED", "ACTION_SENT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_service_stops() {
    let system = System::alone().await;
    let order = system.place("prod-1", 1).await;
    let path = format!("/sagas/{}/events", text(&order, "sagaId"));
    let mut one = Stream::open(&system.orders, &path, Some("2")).await;
    let mut all = Stream::open(&system.orders, "/sagas/events", None).await;
    let stopped = tokio::spawn(system.stop());
    assert!(one.next().await.is_none());
    while all.next().await.is_some() {}
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_is_refused_with_the_reason() {
    let system = System::alone().await;
    let none = format!("/sagas/{}/events", uuid::Uuid::now_v7());
    let answer = system.orders.get(&none).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let order = system.place("prod-1", 1).await;
    for (path, last, rule) in [
        (
            format!("/sagas/{}/events", text(&order, "sagaId")),
            "x",
            "the number of a log entry",
        ),
        (
            "/sagas/events".to_owned(),
            "7",
            "the time in the id of an event",
        ),
    ] {
        let request = system.orders.request(Method::GET, &path);
        let answer = request.header("last-event-id", last).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], "Last-Event-ID");
        assert!(text(&problem, "detail").contains(rule), "{problem}");
    }

    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(Stream::open(&system.orders, "/sagas/events", None).await);
    }
    let answer = system.orders.get("/sagas/events").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = answer.json().await.unwrap();
    assert!(text(&problem, "type").ends_with("/overloaded"), "{problem}");
    // Who leaves makes room.
    drop(open);
    let status = || async { system.orders.get("/sagas/events").await.status() };
    test_support::eventually("there is room", status, |status| *status == StatusCode::OK).await;
}
