//! Streams of events, from a service that the test plays: it interrupts, repeats itself, and goes on for ever.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::harness::{System, sagactl, url};

const SAGA: &str = "01976a3d-0000-7000-8000-000000000001";

/// A service that streams.
struct Player {
    url: String,
    /// Of each stream: what was asked for, and behind which event.
    asked: Arc<Mutex<Vec<String>>>,
    _running: JoinSet<()>,
}

#[derive(Clone)]
struct Script {
    /// What each stream says, one after another; the last one stays open.
    streams: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Player {
    async fn of(streams: &[String]) -> Self {
        let script = Script {
            streams: Arc::new(Mutex::new(streams.iter().rev().cloned().collect())),
            asked: Arc::default(),
        };
        let asked = script.asked.clone();
        let router = Router::new()
            .route("/sagas/{id}", get(saga))
            .route("/sagas/{id}/events", get(events))
            .route("/sagas/events", get(events))
            .with_state(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(listener.local_addr().unwrap());
        let mut running = JoinSet::new();
        running.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            asked,
            _running: running,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The saga, which has ended when the last stream is open.
async fn saga(State(script): State<Script>, Path(_): Path<String>) -> Json<Value> {
    let has_ended = script.streams.lock().unwrap().is_empty();
    Json(summary(if has_ended { "COMPLETED" } else { "RUNNING" }, 4))
}

async fn events(State(script): State<Script>, uri: Uri, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap());
    let asked = format!("{uri} {}", last.unwrap_or("-"));
    script.asked.lock().unwrap().push(asked);
    let mut streams = script.streams.lock().unwrap();
    let said = streams.pop().unwrap_or_default();
    // However it is cut, it is the same.
    let pieces: Vec<_> = said
        .as_bytes()
        .chunks(7)
        .map(Bytes::copy_from_slice)
        .collect();
    let pieces = stream::iter(pieces).map(Ok::<_, Infallible>);
    let body = if streams.is_empty() {
        Body::from_stream(pieces.chain(stream::pending()))
    } else {
        Body::from_stream(pieces)
    };
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn summary(status: &str, version: u32) -> Value {
    json!({
        "sagaId": SAGA, "subject": "order/1", "orderId": null, "type": "create_order", "definitionVersion": 1,
        "status": status, "currentStep": null, "reason": null, "lastError": null, "version": version, "overruled": false,
        "correlationId": "c", "createdAt": "2026-11-20T10:00:00Z", "updatedAt": "2026-11-20T10:00:01Z", "deadlineAt": null,
        "steps": [], "verbs": [], "logDropped": false, "log": []
    })
}

fn entry(seq: u32, event: &str) -> Value {
    json!({ "seq": seq, "at": "2026-11-20T10:00:00.125Z", "event": event, "step": "payment", "details": { "attempt": 1 } })
}

fn said(id: &str, name: &str, data: &Value) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_watched_over_an_interruption_until_it_ends() {
    let first = [
        ": hello\n\n".to_owned(),
        said("1", "entry", &entry(1, "SAGA_STARTED")),
        said("2", "entry", &entry(2, "ACTION_SENT")),
    ];
    let second = [
        said("2", "entry", &entry(2, "ACTION_SENT")),
        said("3", "entry", &entry(3, "STEP_SUCCEEDED")),
        said("3", "saga", &summary("RUNNING", 3)),
        said("3", "weather", &json!("fine")),
        said("4", "entry", &entry(4, "SAGA_COMPLETED")),
    ];
    let player = Player::of(&[first.concat(), second.concat()]).await;
    let watched = sagactl(&player.url, &["watch", SAGA]).await;
    assert_eq!(watched.code, 0, "{watched:?}");
    let lines: Vec<_> = watched.out.lines().collect();
    assert_eq!(lines.len(), 5, "{watched:?}");
    assert!(
        lines[1].starts_with("   2  10:00:00.125Z  ACTION_SENT             payment     attempt 1"),
        "{watched:?}"
    );
    assert_eq!(lines[4].trim(), "it has ended: COMPLETED");
    assert_eq!(watched.err, "the stream has ended; connecting again\n");
    let path = format!("/sagas/{SAGA}/events");
    assert_eq!(player.asked(), [format!("{path} -"), format!("{path} 2")]);

    let player = Player::of(&[first.concat() + &second.concat()]).await;
    let watched = sagactl(&player.url, &["watch", SAGA, "-o", "json"]).await;
    let lines: Vec<Value> = watched
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seqs: Vec<_> = lines
        .iter()
        .filter_map(|line| line["entry"]["seq"].as_u64())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(lines[4]["ended"]["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_all_sagas_are_shown_once() {
    let any = |seq| {
        let mut any = entry(seq, "ACTION_SENT");
        any["sagaId"] = json!(SAGA);
        any["type"] = json!("create_order");
        any["subject"] = json!("order/1");
        any
    };
    let first = [
        said("a", "entry", &any(1)),
        said("b", "entry", &any(2)),
        said("b", "skipped", &json!({ "entries": null })),
    ];
    let second = [said("b", "entry", &any(2)), said("c", "entry", &any(3))];
    let streams = [first.concat(), second.concat()];
    let player = Player::of(&streams).await;
    let tail = [
        "events",
        "tail",
        "--type",
        "create_order",
        "--event",
        "ACTION_SENT",
        "--count",
        "3",
    ];
    let tailed = sagactl(&player.url, &tail).await;
    assert_eq!(tailed.code, 0, "{tailed:?}");
    assert_eq!(tailed.out.matches(SAGA).count(), 3, "{tailed:?}");
    assert!(
        tailed
            .err
            .contains("entries are not shown: more came than is sent"),
        "{tailed:?}"
    );
    let path = "/sagas/events?type=create_order&event=ACTION_SENT";
    assert_eq!(player.asked(), [format!("{path} -"), format!("{path} b")]);

    let player = Player::of(&[
        "".to_owned(),
        said("5", "entry", &entry(5, "STEP_SUCCEEDED")),
    ])
    .await;
    let tail = [
        "events", "tail", "--saga", SAGA, "--count", "1", "-o", "json",
    ];
    let tailed = sagactl(&player.url, &tail).await;
    let one: Value = serde_json::from_str(&tailed.out).unwrap();
    assert_eq!((&one["sagaId"], &one["seq"]), (&json!(SAGA), &json!(5)));
    assert!(
        player.asked()[0].ends_with("/events 4"),
        "from the saga's version on: {:?}",
        player.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_stream_is_not_waited_for() {
    let endless = format!("data: {}", "x".repeat(2 << 20));
    let player = Player::of(&[endless]).await;
    let tailed = sagactl(&player.url, &["events", "tail"]).await;
    assert_eq!(tailed.code, 3);
    assert!(
        tailed.err.contains("an event of more than 1 MiB"),
        "{tailed:?}"
    );
    let player = Player::of(&["data: hello\nevent: entry\n\n".to_owned()]).await;
    let tailed = sagactl(&player.url, &["events", "tail"]).await;
    assert!(
        tailed.code == 3 && tailed.err.contains("not what the API says"),
        "{tailed:?}"
    );
    let nobody = sagactl("http://127.0.0.1:1", &["events", "tail"]).await;
    assert_eq!(nobody.code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_has_ended_is_shown_and_left() {
    let system = System::whole().await;
    let saga = system.place("prod-1", 1).await;
    system.until(&saga, "COMPLETED").await;
    let watched = system.done(&["watch", &saga]).await;
    assert_eq!(watched.lines().count(), 7, "{watched}");
    let lines = system.done(&["watch", &saga, "-o", "json"]).await;
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["ended"]["status"], "COMPLETED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_streams_what_is_done_until_the_saga_ends() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let force = ["force-complete", saga.as_str(), "--reason", "a test", "-y"];
    let watch = ["watch", saga.as_str()];
    let (watched, _) = tokio::join!(system.sagactl(&watch), system.done(&force));
    assert_eq!(watched.code, 0, "{watched:?}");
    let events = watched
        .out
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    let events: Vec<_> = events.collect();
    let expected = [
        "SAGA_STARTED",
        "ACTION_SENT",
        "COMPLETION_FORCED",
        "SAGA_COMPLETED",
    ];
    assert_eq!(events[..4], expected, "{watched:?}");
    assert!(
        watched.out.ends_with("it has ended: COMPLETED\n"),
        "{watched:?}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_tells_what_happens_to_all_sagas() {
    let system = System::alone().await;
    let tail = [
        "-o",
        "json",
        "events",
        "tail",
        "--type",
        "create_order",
        "--event",
        "SAGA_STARTED",
        "--count",
        "2",
    ];
    // Whoever comes sees what happens from then on, so something goes on happening.
    let happening = async {
        loop {
            system.place("prod-1", 1).await;
        }
    };
    let tailed = tokio::select! {
        tailed = system.sagactl(&tail) => tailed,
        () = happening => unreachable!(),
    };
    assert_eq!(tailed.code, 0, "{tailed:?}");
    let entries = tailed
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: Vec<_> = entries.collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let saga = system
            .get(&format!("/sagas/{}", entry["sagaId"].as_str().unwrap()))
            .await;
        let told = (&entry["seq"], &entry["event"], &entry["subject"]);
        assert_eq!(told, (&json!(1), &json!("SAGA_STARTED"), &saga["subject"]));
    }
    system.stop().await;
}
