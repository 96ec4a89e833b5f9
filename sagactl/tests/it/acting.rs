//! What operators do about sagas.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::{
    between::Between,
    harness::{System, command, ended, sagactl},
};

const WHY: [&str; 2] = ["--reason", "the bank says so"];

fn events(saga: &Value) -> Vec<&str> {
    let log = saga["log"].as_array().unwrap().iter();
    log.map(|entry| entry["event"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_is_shown_before_it_is_done_and_done_once() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let path = format!("/sagas/{saga}");
    let before = system.get(&path).await;

    let would = system
        .done(&[&["abort", &saga, "--dry-run"][..], &WHY].concat())
        .await;
    for expected in [
        "abort would lead from RUNNING at payment to COMPENSATING at payment",
        "CANCEL_REQUESTED  actor ada, note the bank says so, reason OPERATOR",
        "COMPENSATION_SENT payment  attempt 1",
        "command  payment.refund.v1 to payment",
        "order    PENDING",
    ] {
        assert!(would.contains(expected), "{expected} in {would}");
    }
    let would = system
        .json(&[&["abort", &saga, "--dry-run"][..], &WHY].concat())
        .await;
    assert_eq!(would["preview"]["commands"][0]["type"], "payment.refund.v1");
    let unasked = system
        .sagactl(&[&["abort", &saga][..], &WHY].concat())
        .await;
    assert_eq!(unasked.code, 2);
    assert!(unasked.err.contains("say --yes to do it"), "{unasked:?}");
    assert_eq!(system.get(&path).await, before, "nothing was done");

    let done = system
        .done(&[&["abort", &saga, "--yes"][..], &WHY].concat())
        .await;
    assert_eq!(
        done,
        format!("abort: saga {saga} is now COMPENSATING, version 5\n")
    );
    let after = system.get(&path).await;
    assert_eq!(
        events(&after)[2..],
        [
            "CANCEL_REQUESTED",
            "COMPENSATION_STARTED",
            "COMPENSATION_SENT"
        ]
    );
    let by = &after["log"][2]["details"];
    assert_eq!(
        (&by["actor"], &by["note"]),
        (&json!("ada"), &json!("the bank says so"))
    );
    assert!(by["idempotencyKey"].is_string());

    let skipped = system
        .json(&[&["skip", &saga, "-y"][..], &WHY].concat())
        .await;
    assert_eq!(
        (&skipped["status"], &skipped["overruled"]),
        (&json!("COMPENSATED"), &json!(true))
    );
    let senseless = system
        .sagactl(&[&["retry", &saga, "-y"][..], &WHY].concat())
        .await;
    assert_eq!(senseless.code, 1);
    assert!(
        senseless.err.starts_with("error: The saga is not parked: "),
        "{senseless:?}"
    );
    // What makes no sense is said where nobody can be asked, too.
    let senseless = system
        .sagactl(&[&["force-complete", &saga][..], &WHY].concat())
        .await;
    assert_eq!(senseless.code, 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_does_what_it_says() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let later = system
        .json(&[&["reschedule", &saga, "--delay", "600", "-y"][..], &WHY].concat())
        .await;
    assert_eq!(events(&later).last(), Some(&"RESCHEDULED"));
    assert_eq!(later["log"][2]["details"]["delaySeconds"], 600);
    let forced = system
        .json(&[&["force-complete", &saga, "-y"][..], &WHY].concat())
        .await;
    assert_eq!(forced["status"], "COMPLETED");
    let saga = system.place("prod-1", 1).await;
    system
        .done(&[&["abort", &saga, "-y"][..], &WHY].concat())
        .await;
    let forced = system
        .json(&[&["force-compensated", &saga, "-y"][..], &WHY].concat())
        .await;
    assert_eq!(forced["status"], "COMPENSATED");
    let mut nobody = command(&system.url, &[&["abort", &saga, "-y"][..], &WHY].concat());
    nobody.env_remove("SAGACTL_ACTOR");
    let nobody = ended(nobody).await;
    assert_eq!(nobody.code, 2);
    assert!(
        nobody.err.contains("say who you are, with --actor"),
        "{nobody:?}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_shown_carried_out_and_listed() {
    let system = System::alone().await;
    for _ in 0..3 {
        system.place("prod-1", 1).await;
    }
    let run = [
        "batch", "run", "abort", "--step", "payment", "--status", "RUNNING",
    ];
    let would = system
        .done(&[&run[..], &["--dry-run"], &WHY].concat())
        .await;
    assert!(
        would.starts_with("abort would be done about 3 sagas, the newest first:\nSAGA "),
        "{would}"
    );
    let unasked = system.sagactl(&[&run[..], &WHY].concat()).await;
    assert_eq!(unasked.code, 2);
    let all = system
        .sagactl(&[&["batch", "run", "abort"][..], &WHY].concat())
        .await;
    assert_eq!(all.code, 2);
    assert!(all.err.contains("by at least one filter"), "{all:?}");
    let done = system.json(&[&run[..], &["--yes"], &WHY].concat()).await;
    assert_eq!(
        (&done["status"], &done["done"], &done["refused"]),
        (&json!("DONE"), &json!(3), &json!(0))
    );
    let id = done["batchId"].as_str().unwrap();
    let shown = system.done(&["batch", "show", id]).await;
    assert!(shown.contains("status=RUNNING step=payment"), "{shown}");
    assert!(system.done(&["batch", "ls"]).await.contains(id));
    let late = system.sagactl(&["batch", "cancel", id]).await;
    assert_eq!(late.code, 1);
    assert!(
        late.err.starts_with("error: The batch is done: "),
        "{late:?}"
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_is_paused_and_resumed() {
    let system = System::alone().await;
    let paused = system
        .done(&[&["participants", "pause", "payment"][..], &WHY].concat())
        .await;
    assert!(
        paused.contains("PAUSED") && paused.contains(": the bank says so"),
        "{paused}"
    );
    let all = system.json(&["participants", "ls"]).await;
    let payment = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "payment");
    assert_eq!(payment.unwrap()["pause"]["actor"], "ada");
    let resumed = system
        .json(&[&["participants", "resume", "payment"][..], &WHY].concat())
        .await;
    assert_eq!(resumed["pause"], Value::Null);
    let nobody = system
        .sagactl(&[&["participants", "pause", "nobody"][..], &WHY].concat())
        .await;
    assert_eq!(nobody.code, 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_meanwhile_is_left_alone() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let between = Between::stale(&system.url).await;
    let late = sagactl(&between.url, &[&["skip", &saga, "-y"][..], &WHY].concat()).await;
    assert_eq!(late.code, 1);
    assert!(
        late.err
            .starts_with("error: It has changed since you looked: "),
        "{late:?}"
    );
    assert!(
        late.err.contains("Look at it again with `sagactl show`"),
        "{late:?}"
    );
    assert_eq!(
        system.get(&format!("/sagas/{saga}")).await["overruled"],
        json!(false)
    );
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_asked_for_again_under_the_same_key() {
    let system = System::alone().await;
    let saga = system.place("prod-1", 1).await;
    let between = Between::losing(&system.url).await;
    let done = sagactl(
        &between.url,
        &[&["skip", &saga, "-y", "-o", "json"][..], &WHY].concat(),
    )
    .await;
    assert_eq!(done.code, 0, "{done:?}");
    let after: Value = serde_json::from_str(&done.out).unwrap();
    let skipped = events(&after)
        .into_iter()
        .filter(|event| *event == "SKIP_REQUESTED");
    assert_eq!(skipped.count(), 1, "{after}");
    assert_eq!(between.lost.load(Ordering::SeqCst), 1);
    system.stop().await;
}
