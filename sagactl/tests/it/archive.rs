//! Exports, and retracing them.

use std::{fs, path::PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use test_support::eventually;
use uuid::Uuid;

use crate::harness::{Ended, System, sagactl};

/// A file that goes with the test.
struct Scrap(PathBuf);

impl Scrap {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("sagactl-{}.jsonl", Uuid::new_v4())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn write(&self, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// Retraces a file; no service is needed for that.
async fn replay(scrap: &Scrap) -> Ended {
    sagactl("http://127.0.0.1:1", &["replay", scrap.path()]).await
}

/// A system in which sagas have gone every way: through, back, and as operators wanted.
async fn with_sagas() -> System {
    let system = System::whole().await;
    let done = system.place("prod-1", 1).await;
    let undone = system.place("prod-1", 1000).await;
    let aborted = system.place("prod-1", 1).await;
    system.until(&done, "COMPLETED").await;
    system.until(&undone, "COMPENSATED").await;
    system.until(&aborted, "COMPLETED").await;
    let why = ["--reason", "Ada wants it", "-y"];
    system
        .done(&[&["abort", &aborted][..], &why].concat())
        .await;
    system.until(&aborted, "COMPENSATED").await;
    let cancelled = system.place("prod-1", 1).await;
    let cancelled = system.until(&cancelled, "COMPLETED").await;
    let why = json!({ "reason": "Ada changed her mind" });
    system
        .ask(Method::POST, &order(&cancelled, "cancel"), &why)
        .await;
    system
        .until(cancelled["sagaId"].as_str().unwrap(), "COMPENSATED")
        .await;
    let done = system.until(&done, "COMPLETED").await;
    let shipped = json!({ "status": "SHIPPED" });
    system
        .ask(Method::PATCH, &order(&done, "status"), &shipped)
        .await;
    let shipping = "/sagas?type=ship_order&status=COMPLETED";
    let is_done = |sagas: &Value| sagas["items"] != json!([]);
    eventually("the goods have left", || system.get(shipping), is_done).await;
    system
}

fn order(saga: &Value, what: &str) -> String {
    format!("/orders/{}/{what}", saga["orderId"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_retraced_and_tells_of_nobody() {
    let system = with_sagas().await;
    let scrap = Scrap::new();
    let exported = system.sagactl(&["export", scrap.path()]).await;
    assert_eq!(
        (exported.code, exported.err.as_str()),
        (0, "5 sagas\n"),
        "{exported:?}"
    );
    let lines = scrap.lines();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["export"]["format"], 1);
    assert_eq!(lines[6], json!({ "end": { "sagas": 5 } }));
    let text = fs::read_to_string(&scrap.0).unwrap();
    for secret in [
        "Ada",
        "ada",
        "customer-1",
        "subject",
        "orderId",
        "correlation",
        "prod-1",
        "19.99",
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let same = replay(&scrap).await;
    assert_eq!(same.code, 0, "{same:?}");
    let counts = "create_order  1        4     0     0\nship_order    1        1     0     0\n";
    assert!(same.out.ends_with(counts), "{same:?}");

    let again = system.sagactl(&["export", scrap.path()]).await;
    assert!(
        again.code == 1 && again.err.contains("is there already: --resume"),
        "{again:?}"
    );
    let whole = system.sagactl(&["export", scrap.path(), "--resume"]).await;
    assert!(
        whole.code == 0 && whole.err.contains("is whole already"),
        "{whole:?}"
    );
    let other = system
        .sagactl(&["export", scrap.path(), "--resume", "--stuck"])
        .await;
    assert!(
        other.code == 1 && other.err.contains("an export of other sagas"),
        "{other:?}"
    );
    let piped = system
        .done(&["export", "--words", "--because", "OPERATOR"])
        .await;
    assert!(piped.contains("Ada wants it"), "{piped}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_export_goes_on_where_it_was() {
    let system = System::alone().await;
    for _ in 0..5 {
        system.place("prod-1", 1).await;
    }
    let whole = Scrap::new();
    system.done(&["export", whole.path()]).await;
    let lines = whole.lines();
    // As after a page of two sagas, when it died in the middle of the next: its cursor is that of a list of two.
    let page = system.json(&["ls", "--limit", "2"]).await;
    let cursor = json!({ "cursor": page["nextCursor"] });
    let cut = Scrap::new();
    cut.write(&[
        lines[0].clone(),
        lines[1].clone(),
        lines[2].clone(),
        cursor,
        lines[3].clone(),
    ]);
    let mut text = fs::read_to_string(&cut.0).unwrap();
    text.push_str("{\"saga\":{\"sagaId\":");
    fs::write(&cut.0, text).unwrap();
    let unfinished = replay(&cut).await;
    assert_eq!(unfinished.code, 0);
    assert!(
        unfinished.err.contains("ends before its export does"),
        "{unfinished:?}"
    );

    let resumed = system.sagactl(&["export", cut.path(), "--resume"]).await;
    assert_eq!(
        (resumed.code, resumed.err.as_str()),
        (0, "5 sagas\n"),
        "{resumed:?}"
    );
    let sagas = |lines: Vec<Value>| -> Vec<Value> {
        let lines = lines.into_iter();
        lines.filter(|line| line["saga"].is_object()).collect()
    };
    assert_eq!(sagas(cut.lines()), sagas(lines));
    assert_eq!(
        cut.lines().last().unwrap(),
        &json!({ "end": { "sagas": 5 } })
    );
    // One that had not written anything begins.
    let empty = Scrap::new();
    fs::write(&empty.0, "").unwrap();
    system.done(&["export", empty.path(), "--resume"]).await;
    assert_eq!(empty.lines(), whole.lines());
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_would_go_another_way_parts() {
    let system = with_sagas().await;
    let whole = Scrap::new();
    system.done(&["export", whole.path()]).await;
    system.stop().await;
    let lines = whole.lines();
    let is_undone = |line: &&Value| line["saga"]["reason"] == "OUT_OF_STOCK";
    let undone = lines.iter().find(is_undone).unwrap();
    let doctored = |change: &dyn Fn(&mut Value)| {
        let mut saga = undone.clone();
        change(&mut saga["saga"]);
        saga
    };
    let cases: [(&str, Value); 8] = [
        (
            "no definition create_order v9",
            doctored(&|saga| saga["definitionVersion"] = json!(9)),
        ),
        (
            "no definition sell_house v1",
            doctored(&|saga| saga["type"] = json!("sell_house")),
        ),
        (
            "the definition has no such step",
            doctored(&|saga| saga["log"][1]["step"] = json!("roof")),
        ),
        (
            "unreadable saga log entry SAGA_SANG",
            doctored(&|saga| saga["log"][2]["event"] = json!("SAGA_SANG")),
        ),
        (
            "ACTION_SENT payment {\"attempt\":1} is decided here, and the log says ACTION_SENT payment {\"attempt\":2}",
            doctored(&|saga| saga["log"][1]["details"]["attempt"] = json!(2)),
        ),
        (
            "entry 7 where entry 6 should be",
            doctored(&|saga| {
                saga["log"].as_array_mut().unwrap().remove(5);
            }),
        ),
        (
            "the status COMPENSATED, and the saga says RUNNING",
            doctored(&|saga| saga["status"] = json!("RUNNING")),
        ),
        (
            "the reason OUT_OF_STOCK, and the saga says TIMEOUT",
            doctored(&|saga| saga["reason"] = json!("TIMEOUT")),
        ),
    ];
    for (expected, saga) in cases {
        let scrap = Scrap::new();
        scrap.write(&[lines[0].clone(), saga, json!({ "end": { "sagas": 1 } })]);
        let parted = replay(&scrap).await;
        assert_eq!(parted.code, 4, "{expected}: {parted:?}");
        assert!(parted.out.contains(expected), "{expected}: {parted:?}");
        assert!(
            parted.err.contains("1 saga parts from what was logged"),
            "{parted:?}"
        );
    }
    // What lost the beginning of its log has nothing to be retraced.
    let dropped = doctored(&|saga| {
        saga["logDropped"] = json!(true);
        saga["log"] = json!([]);
    });
    let scrap = Scrap::new();
    scrap.write(&[lines[0].clone(), dropped, json!({ "end": { "sagas": 1 } })]);
    let untold = sagactl(
        "http://127.0.0.1:1",
        &["-o", "json", "replay", scrap.path()],
    )
    .await;
    let untold: Value = serde_json::from_str(&untold.out).unwrap();
    assert_eq!(untold["definitions"][0]["untold"], 1);
    // What is no export is not taken for one without sagas.
    for text in [
        "",
        "hello\n",
        "{\"saga\":1}\n",
        "{\"export\":{\"format\":2,\"filter\":{},\"words\":false}}\n",
    ] {
        fs::write(&scrap.0, text).unwrap();
        let refused = replay(&scrap).await;
        assert_eq!(refused.code, 1, "{text}: {refused:?}");
    }
}
