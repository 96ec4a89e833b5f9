//! Dead letters.

use common::contract::topology;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use test_support::{Amqp, eventually};
use uuid::Uuid;

use crate::harness::System;

const DLQ: &str = "payment.commands.dlq";
const WORKING: &str = "payment.commands";
const WHY: [&str; 2] = ["--reason", "it is mended"];

/// Makes a command of no saga a dead letter, with words that would like to take over the terminal.
async fn kill(amqp: &Amqp) -> String {
    let id = Uuid::now_v7().to_string();
    let body = json!({
        "specversion": "1.0", "id": id, "source": "a-test", "type": "payment.refund.v1", "subject": Uuid::now_v7(),
        "time": "2026-11-20T10:00:00Z", "sagaid": Uuid::now_v7(), "sagastep": "payment", "data": { "note": "\u{1b}[2J" }
    });
    let mut headers = FieldTable::default();
    let error = "the gateway says \u{1b}[31mno\u{9b}2J";
    for (name, value) in [
        ("x-error-kind", "refused"),
        ("x-error", error),
        ("x-failed-at", "2026-11-20T10:00:00Z"),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_message_id(id.as_str().into())
        .with_headers(headers);
    amqp.publish(
        topology::DLX,
        WORKING,
        body.to_string().as_bytes(),
        properties,
    )
    .await;
    id
}

async fn with_letters(count: u32) -> (System, Amqp, Vec<String>) {
    let system = System::alone().await;
    let amqp = Amqp::connect(&system.environment.rabbitmq_url()).await;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(kill(&amqp).await);
    }
    eventually("they are dead", || amqp.ready(DLQ), |ready| *ready == count).await;
    (system, amqp, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_and_shown_whatever_they_say() {
    let (system, _amqp, ids) = with_letters(2).await;
    let queues = system.done(&["dlq", "ls"]).await;
    assert!(queues.contains(&format!("{DLQ} ")), "{queues}");
    let letters = system.done(&["dlq", "ls", DLQ]).await;
    let shown = system.done(&["dlq", "show", DLQ, &ids[0]]).await;
    let raw = system
        .done(&["-o", "json", "dlq", "show", DLQ, &ids[0]])
        .await;
    for seen in [&queues, &letters, &shown, &raw] {
        let is_hostile = |c: char| c.is_control() && c != '\n';
        assert!(!seen.chars().any(is_hostile), "{seen:?}");
    }
    assert!(
        letters.contains(&ids[0]) && letters.contains(&ids[1]),
        "{letters}"
    );
    assert!(shown.contains(r"the gateway says \u{1b}[31mno"), "{shown}");
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["body"]["data"]["note"], "\u{1b}[2J");
    let group = raw["group"].as_str().unwrap();
    let of_group = system
        .json(&["dlq", "ls", DLQ, "--group", group, "--limit", "1"])
        .await;
    assert_eq!(of_group["items"].as_array().unwrap().len(), 1);
    let nowhere = system.sagactl(&["dlq", "ls", "nowhere.dlq"]).await;
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.err.contains(DLQ), "{nowhere:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_sent_again_and_it_is_told_how_far_that_is() {
    let (system, amqp, ids) = with_letters(3).await;
    let redrive = ["dlq", "redrive", DLQ];
    let would = system
        .done(&[&redrive[..], &["--dry-run"], &WHY].concat())
        .await;
    assert!(
        would.contains("has 3 letters")
            && would.contains("3 letters would be sent again, 0 would stay"),
        "{would}"
    );
    assert_eq!(system.sagactl(&[&redrive[..], &WHY].concat()).await.code, 2);
    assert_eq!(amqp.ready(DLQ).await, 3, "nothing was done");
    let one = system
        .json(&[&redrive[..], &[&ids[1]], &["--yes"], &WHY].concat())
        .await;
    assert_eq!(
        (&one["status"], &one["redriven"]),
        (&json!("DONE"), &json!(1))
    );
    let all = system
        .sagactl(&[&redrive[..], &["--yes", "--rate", "1000"], &WHY].concat())
        .await;
    assert_eq!(all.code, 0, "{all:?}");
    assert!(
        all.out.contains("DONE") && all.out.contains("sent again     2\n"),
        "{all:?}"
    );
    assert_eq!((amqp.ready(DLQ).await, amqp.ready(WORKING).await), (0, 3));
    let id = one["redriveId"].as_str().unwrap();
    assert!(system.done(&["redrives", "ls"]).await.contains(id));
    assert_eq!(system.json(&["redrives", "show", id]).await["redriven"], 1);
    let late = system.sagactl(&["redrives", "cancel", id]).await;
    assert!(
        late.code == 1 && late.err.contains("The redrive is done"),
        "{late:?}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_edited_or_removed_and_kept() {
    let (system, amqp, ids) = with_letters(2).await;
    let mut body = system.json(&["dlq", "show", DLQ, &ids[0]]).await["body"].take();
    body["data"] = json!({ "note": "mended" });
    let file = std::env::temp_dir().join(format!("{}.json", ids[0]));
    std::fs::write(&file, body.to_string()).unwrap();
    let edit = [
        "dlq",
        "edit",
        DLQ,
        &ids[0],
        "--body",
        file.to_str().unwrap(),
        "--force",
    ];
    let would = system
        .done(&[&edit[..], &["--dry-run"], &WHY].concat())
        .await;
    let would: Value = serde_json::from_str(&would).unwrap();
    assert_eq!(would["sent"]["data"]["note"], "mended");
    let edited = system.json(&[&edit[..], &["-y"], &WHY].concat()).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(edited["messageId"], json!(ids[0]));
    let sent = amqp.next_events(WORKING, 1).await;
    assert_eq!(
        (&sent[0]["id"], &sent[0]["data"]["note"]),
        (&edited["editedAs"], &json!("mended"))
    );
    let nothing = system.sagactl(&[&edit[..], &["-y"], &WHY].concat()).await;
    assert_eq!(nothing.code, 1, "{nothing:?}");
    assert!(nothing.err.contains("No such file"), "{nothing:?}");

    let remove = ["dlq", "rm", DLQ, &ids[1]];
    assert_eq!(system.sagactl(&[&remove[..], &WHY].concat()).await.code, 2);
    let removed = system.done(&[&remove[..], &["-y"], &WHY].concat()).await;
    assert!(removed.contains(&ids[1]), "{removed}");
    assert_eq!(amqp.ready(DLQ).await, 0);
    assert_eq!(
        system
            .sagactl(&[&remove[..], &["-y"], &WHY].concat())
            .await
            .code,
        1
    );
    system.stop().await;
}
