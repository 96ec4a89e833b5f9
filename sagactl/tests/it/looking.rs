//! Seeing sagas.

use serde_json::{Value, json};

use tokio_util::sync::CancellationToken;

use crate::harness::{System, command, ended, sagactl, url};

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_listed_shown_explained_and_drawn() {
    let system = System::whole().await;
    let done = system.place("prod-1", 1).await;
    let undone = system.place("prod-1", 1000).await;
    system.until(&done, "COMPLETED").await;
    system.until(&undone, "COMPENSATED").await;

    let list = system.done(&["ls"]).await;
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("SAGA "), "{list}");
    assert!(
        lines[1].starts_with(&undone) && lines[1].contains("inventory: OUT_OF_STOCK"),
        "{list}"
    );
    let aligned = |line: &str| line.find("create_order");
    assert_eq!(aligned(lines[1]), aligned(lines[2]), "{list}");
    assert!(!list.contains('\u{1b}'), "nothing is coloured in a pipe");

    let filtered = system
        .json(&["ls", "--status", "completed", "--type", "create_order"])
        .await;
    assert_eq!(filtered["items"].as_array().unwrap().len(), 1);
    assert_eq!(filtered["items"][0]["sagaId"], json!(done));
    let filtered = system
        .json(&["ls", "--because", "OUT_OF_STOCK", "--error", "prod-1"])
        .await;
    assert_eq!(filtered["items"][0]["sagaId"], json!(undone));
    let none = system.sagactl(&["ls", "--stuck"]).await;
    assert_eq!(
        (none.code, none.out.as_str(), none.err.as_str()),
        (0, "", "no saga fits\n")
    );

    let shown = system.done(&["show", &undone]).await;
    for expected in [
        "COMPENSATED, for OUT_OF_STOCK",
        "STEP_REJECTED",
        "reason OUT_OF_STOCK",
        "UNDONE",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert_eq!(
        system.json(&["show", &undone]).await,
        system.get(&format!("/sagas/{undone}")).await
    );

    let explained = system.done(&["explain", &undone]).await;
    let sentence = system.get(&format!("/sagas/{undone}/explain")).await;
    // How long ago that was changes from one to the other.
    let said = explained
        .lines()
        .next()
        .and_then(|line| line.split_once(" ago, "));
    let sentence = sentence["explanation"].as_str().unwrap();
    assert_eq!(
        said.map(|said| said.1),
        sentence.split_once(" ago, ").map(|said| said.1)
    );

    let drawn = system.done(&["graph", &undone]).await;
    for expected in [
        "✗ inventory",
        "rejected",
        "↩ payment",
        "and back:",
        "● undo payment",
        "● compensated",
    ] {
        assert!(drawn.contains(expected), "{expected} in {drawn}");
    }
    let file = std::env::temp_dir().join(format!("{undone}.svg"));
    system
        .done(&["graph", &undone, "--svg", file.to_str().unwrap()])
        .await;
    let svg = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(svg.starts_with("<svg"), "{svg}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_followed_to_its_limit() {
    let system = System::alone().await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(system.place("prod-1", 1).await);
    }
    let ids = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|saga| saga["sagaId"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = system.json(&["ls", "--limit", "2"]).await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = system.json(&["ls", "--all", "--cursor", cursor]).await;
    assert_eq!(rest["nextCursor"], Value::Null);
    let mut all = [ids(&first), ids(&rest)].concat();
    all.reverse();
    assert_eq!(all, placed);
    let most = system.json(&["ls", "--all", "--limit", "4"]).await;
    assert_eq!(ids(&most).len(), 4);
    let told = system.sagactl(&["ls", "--limit", "2"]).await;
    assert!(told.err.contains("there are more: --all"), "{told:?}");

    let stats = system.done(&["stats"]).await;
    let waiting = stats.lines().nth(1).unwrap().split_whitespace();
    let waiting: Vec<_> = waiting.take(4).collect();
    assert_eq!(
        waiting,
        ["create_order", "RUNNING", "payment", "5"],
        "{stats}"
    );
    assert!(system.json(&["stats", "--minutes", "5"]).await["waiting"].is_array());
    let participants = system.done(&["participants", "ls"]).await;
    assert!(participants.contains("payment"), "{participants}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_by_the_exit_code_and_in_words() {
    let system = System::alone().await;
    let nobody = "01976a3d-0000-7000-8000-000000000001";
    for arguments in [
        &["show", nobody][..],
        &["explain", nobody],
        &["graph", nobody],
        &["watch", nobody],
    ] {
        let ended = system.sagactl(arguments).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(
            ended.err.starts_with("error: There is no such thing: "),
            "{ended:?}"
        );
        assert!(
            ended.err.contains("The service's log has it under "),
            "{ended:?}"
        );
    }
    for arguments in [
        &["show", "no-id"][..],
        &["ls", "--status", "FINE"],
        &["sing"],
        &["retry", nobody],
        &["--url", "ftp://a", "ls"],
    ] {
        let ended = system.sagactl(arguments).await;
        assert_eq!(ended.code, 2, "{ended:?}");
    }
    let wrong = system.sagactl(&["ls", "--older-than", "soon"]).await;
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.err.contains("olderThan must be an age such as 90s"),
        "{wrong:?}"
    );
    let url = system.url.clone();
    system.stop().await;
    let away = sagactl(&url, &["ls"]).await;
    assert_eq!(away.code, 3);
    assert!(
        away.err
            .starts_with(&format!("error: cannot reach {url}: ")),
        "{away:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_where_they_are_wanted() {
    let system = System::alone().await;
    system.place("prod-1", 1).await;
    let colored = system.done(&["ls", "--color", "always"]).await;
    assert!(colored.contains("\u{1b}[36mRUNNING"), "{colored}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut plain = command(&system.url, &["ls"]);
        plain.env(name, value);
        assert!(!ended(plain).await.out.contains('\u{1b}'), "{name}");
    }
    let mut forced = command(&system.url, &["ls", "--color", "never"]);
    forced.env("CLICOLOR_FORCE", "1");
    assert!(!ended(forced).await.out.contains('\u{1b}'));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_says_whether_the_guarantees_hold() {
    let system = System::whole().await;
    let saga = system.place("prod-1", 1).await;
    system.until(&saga, "COMPLETED").await;
    system.environment.make_auditor().await;
    let vars = system.environment.vars(&[]);
    let app = audit::App::build(&vars).await.unwrap();
    let at = url(app.address().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(app.run(stop.clone()));
    let audit = ["audit", "--audit-url", &at];
    let clean = system.done(&audit).await;
    assert!(
        clean.contains("1 orders: 1 COMPLETED") && clean.contains("Every guarantee was kept."),
        "{clean}"
    );

    let payments = system.environment.pool("payment").await;
    let less = sqlx::query("UPDATE payments SET amount_minor = 1")
        .execute(&payments)
        .await;
    assert_eq!(less.unwrap().rows_affected(), 1);
    let found = system.sagactl(&audit).await;
    assert_eq!(found.code, 4, "{found:?}");
    assert!(found.out.contains("violated: KEPT orderId "), "{found:?}");
    assert_eq!(found.err, "error: the audit found 1 violation\n");
    let found = system
        .sagactl(&["-o", "json", "audit", "--audit-url", &at])
        .await;
    let report: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!((found.code, &report["clean"]), (4, &json!(false)));
    stop.cancel();
    running.await.unwrap().unwrap();
    system.stop().await;
}
