//! The page, in a browser.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::eventually;

use crate::{
    browser::Browser,
    dead_letters::World,
    harness::{Participants, System, id, processed, refunded, released, reserved, text},
};

async fn open(system: &System) -> Browser {
    Browser::open(system.orders.address()).await
}

fn page(order: &Value) -> String {
    format!("/ui/sagas/{}", text(order, "sagaId"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_watched_until_it_completes() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let browser = open(&system).await;
    let order = system.place("prod-1", 1).await;
    browser.go("/ui/sagas").await;
    let saga = text(&order, "sagaId");
    let link = &saga[saga.len() - 12..];
    browser.until(&[link, "RUNNING", "payment"]).await;
    browser.click(link).await;
    browser
        .until(&["RUNNING", "Has waited for payment", "ACTION_SENT"])
        .await;
    // It would be gone if the page were loaded again.
    browser.run("document.body.dataset.mark = 'here'").await;
    browser
        .run("document.querySelector('details').open = true")
        .await;

    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    browser
        .until(&["STEP_SUCCEEDED", "Has waited for inventory"])
        .await;
    let inventory = participants.command("inventory").await;
    participants.reply(&[reserved(&inventory)]).await;
    let ended = browser.until(&["COMPLETED", "SAGA_COMPLETED"]).await;
    assert!(!ended.contains("It still waits"), "{ended}");
    assert_eq!(
        browser.run("return document.body.dataset.mark").await,
        "here"
    );
    let is_open = "return document.querySelector('details').open";
    assert_eq!(browser.run(is_open).await, json!(true));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_only_the_page_learns_that_a_participant_is_stopped_and_ends_the_saga() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    system.until_saga_has(&order, "STEP_SUCCEEDED").await;

    let browser = open(&system).await;
    browser.go("/").await;
    browser
        .until(&["1\nopen", "inventory.commands", "nobody consumes it"])
        .await;
    let saga = text(&order, "sagaId");
    browser.click(&saga[saga.len() - 12..]).await;
    browser
        .until(&["waited for inventory", "nobody consumes it"])
        .await;
    browser.click("Abort and undo").await;
    browser.fill("Your name", "Ada Lovelace").await;
    browser.fill("Why", "inventory does not come back").await;
    browser.click("Show what would follow").await;
    let would = browser
        .until(&["This would follow", "To inventory: inventory.release.v1"])
        .await;
    for words in [
        "CANCEL_REQUESTED",
        "COMPENSATING",
        "Ada Lovelace",
        "inventory does not come back",
    ] {
        assert!(would.contains(words), "{words} in {would}");
    }
    // Nothing is done so far.
    assert_eq!(system.saga(&order).await["status"], "RUNNING");
    browser.click("Abort and undo now").await;
    browser
        .until(&["COMPENSATING", "COMPENSATION_STARTED"])
        .await;
    assert_eq!(browser.path().await, page(&order));
    // What nobody has answered may have been done, so it is undone first.
    participants.command("inventory").await;
    let release = participants.command("inventory").await;
    participants.reply(&[released(&release)]).await;
    let refund = participants.command("payment").await;
    participants.reply(&[refunded(&refund)]).await;
    browser.until(&["COMPENSATED", "SAGA_COMPENSATED"]).await;

    // The browser remembers who acts.
    let log = system.saga(&order).await["log"].clone();
    let acted = log.as_array().unwrap().iter();
    let mut acted = acted.filter(|entry| entry["details"]["actor"] == "Ada Lovelace");
    assert!(acted.next().is_some(), "{log}");
    let next = system.place("prod-1", 1).await;
    browser.go(&format!("{}/skip", page(&next))).await;
    let remembered = "return document.getElementById('actor').value";
    assert_eq!(browser.run(remembered).await, "Ada Lovelace");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_saga_is_retried_by_clicking() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let db = system.environment.pool("order").await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    system.cancel(&order).await;
    participants.command("payment").await;
    system.until_outbox_is_empty().await;
    // It was asked often enough.
    let last = "UPDATE sagas SET attempt = 10, deadline_at = now() WHERE id = $1";
    sqlx::query(last)
        .bind(id(&order, "sagaId"))
        .execute(&db)
        .await
        .unwrap();
    system.until_saga(&order, "PARKED").await;

    let browser = open(&system).await;
    browser.go("/").await;
    browser.until(&["1\nparked"]).await;
    browser.go("/ui/sagas?status=PARKED").await;
    let saga = text(&order, "sagaId");
    browser.click(&saga[saga.len() - 12..]).await;
    browser
        .until(&["been parked", "10 times without a reply"])
        .await;
    browser.click("Retry").await;
    browser.fill("Your name", "ada").await;
    browser.fill("Why", "the gateway is back").await;
    browser.click("Show what would follow").await;
    browser.click("Retry now").await;
    browser.until(&["COMPENSATING"]).await;
    let refund = participants.command("payment").await;
    participants.reply(&[refunded(&refund)]).await;
    browser.until(&["COMPENSATED"]).await;
    browser.close().await;
}

/// Orders that were cancelled, and whose refund nobody has answered.
async fn parked(system: &System, participants: &Participants, orders: usize) -> Vec<Value> {
    let mut placed = Vec::new();
    for _ in 0..orders {
        let order = system.place("prod-1", 1).await;
        participants.command("payment").await;
        system.cancel(&order).await;
        participants.command("payment").await;
        placed.push(order);
    }
    system.until_outbox_is_empty().await;
    let db = system.environment.pool("order").await;
    let last = "UPDATE sagas SET attempt = 10, deadline_at = now()";
    sqlx::query(last).execute(&db).await.unwrap();
    for order in &placed {
        system.until_saga(order, "PARKED").await;
    }
    placed
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sagas_that_fit_are_retried_by_clicking() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let orders = parked(&system, &participants, 3).await;
    let other = system.place("prod-1", 1).await;
    participants.command("payment").await;

    let browser = open(&system).await;
    browser.go("/ui/sagas?status=PARKED&limit=2").await;
    browser.click("Do something about all that fit").await;
    browser
        .until(&["all sagas that fit", "status=PARKED"])
        .await;
    browser.choose("Retry").await;
    browser.fill("Your name", "ada").await;
    browser.fill("Why", "the gateway is back").await;
    browser
        .fill("How many are done in a second, if not 50", "1")
        .await;
    browser.click("Show what would follow").await;
    let would = browser
        .until(&[
            "3 sagas fit now",
            "By ada: “the gateway is back”, 1 a second",
        ])
        .await;
    for order in &orders {
        let saga = text(order, "sagaId");
        assert!(would.contains(&saga[saga.len() - 12..]), "{would}");
    }
    // Nothing is done so far.
    let none = system.orders.json("/sagas/batch").await;
    assert_eq!(none["items"], json!([]));
    browser.click("Do it about all of them now").await;
    browser.until(&["of 3 that fitted"]).await;
    // It would be gone if the page were loaded again.
    browser.run("document.body.dataset.mark = 'here'").await;
    let done = browser
        .until(&["DONE", "3 done, 0 refused, of 3 that fitted"])
        .await;
    assert!(!done.contains("Stop it"), "{done}");
    assert_eq!(
        browser.run("return document.body.dataset.mark").await,
        "here"
    );
    for _ in &orders {
        let refund = participants.command("payment").await;
        participants.reply(&[refunded(&refund)]).await;
    }
    for order in &orders {
        let saga = system.until_saga(order, "COMPENSATED").await;
        let log = saga["log"].as_array().unwrap().iter();
        let retried = log.filter(|entry| entry["details"]["actor"] == "ada");
        assert_eq!(retried.count(), 1, "{saga}");
    }
    assert_eq!(system.saga(&other).await["status"], "RUNNING");
    browser.click("All that was done about many at once").await;
    browser
        .until(&["Retry", "DONE", "the gateway is back"])
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_about_many_sagas_is_stopped_by_clicking() {
    let system = System::alone().await;
    let browser = open(&system).await;
    for _ in 0..30 {
        system.place("prod-1", 1).await;
    }
    let slow = json!({ "filter": { "step": "payment" }, "verb": "skip", "reason": "paid by hand", "perSecond": 1 });
    let request = system.orders.request(Method::POST, "/sagas/batch");
    let batch = request.header("x-actor", "bob").json(&slow).send().await;
    let batch: Value = batch.unwrap().json().await.unwrap();
    browser.go("/ui/batches").await;
    browser.until(&["Skip the step", "RUNNING", "bob"]).await;
    let path = format!("/ui/batches/{}", text(&batch, "batchId"));
    browser.go(&path).await;
    browser.click("Stop it").await;
    browser
        .until(&["What was done stays done", "paid by hand"])
        .await;
    browser.fill("Your name", "ada").await;
    browser.click("Stop it now").await;
    browser.until(&["CANCELLED", "Stopped by\nada"]).await;
    assert_eq!(browser.path().await, path);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_about_many_sagas_does_it_once_and_says_what_is_wrong() {
    let system = System::alone().await;
    system.place("prod-1", 1).await;
    let send = async |filter: &str, form: &[(&str, &str)]| {
        let path = format!("/ui/sagas/batch{filter}");
        let common = [("actor", "ada"), ("reason", "paid by hand"), ("key", "k")];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(common)
            .extend_pairs(form)
            .finish();
        let request = system
            .orders
            .request(Method::POST, &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let confirmed = [("verb", "skip"), ("confirmed", "true")];
    for (filter, form, wrong) in [
        ("", &confirmed[..], "by at least one filter"),
        ("?status=STUCK", &[("verb", "skip")], "filter.status"),
        ("?colour=red", &[("verb", "skip")], "filter.colour"),
        ("?step=payment", &[], "must be one of"),
        ("?step=payment", &[("verb", "explode")], "must be one of"),
        (
            "?step=payment",
            &[("verb", "reschedule"), ("delaySeconds", "soon")],
            "delaySeconds",
        ),
        (
            "?step=payment",
            &[("verb", "skip"), ("perSecond", "501")],
            "must be from 1 to 500",
        ),
    ] {
        let (status, html) = send(filter, form).await;
        assert!(status.is_client_error(), "{filter} {form:?}: {status}");
        assert!(html.contains(wrong), "{filter} {form:?}: {html}");
        assert!(html.contains("value=\"paid by hand\""), "{html}");
    }
    // Somebody clicks twice.
    for _ in 0..2 {
        let (status, html) = send("?step=payment", &confirmed).await;
        assert_eq!(status, StatusCode::OK, "{html}");
        assert!(html.contains("of 1 that fitted"), "{html}");
    }
    // Somebody goes back, and wants something else: the next form can be sent.
    let (status, html) = send("?step=payment", &[("verb", "abort"), ("confirmed", "true")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(html.contains("the key was used before"), "{html}");
    assert!(!html.contains(r#"name="key" value="k""#), "{html}");
    let batches = system.orders.json("/sagas/batch").await;
    assert_eq!(batches["items"].as_array().unwrap().len(), 1, "{batches}");
    let (status, html) = send("?step=nowhere", &[("verb", "skip")]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(html.contains("no saga fits"), "{html}");
    assert!(!html.contains("name=\"confirmed\""), "{html}");
    let unknown = format!("/ui/batches/{}", uuid::Uuid::now_v7());
    assert_eq!(
        system.orders.get(&unknown).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_about_a_saga_that_has_changed_meanwhile_is_shown_how_it_is_now() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let browser = open(&system).await;
    browser.go(&format!("{}/abort", page(&order))).await;
    browser.until(&["waited for payment"]).await;
    let payment = participants.command("payment").await;
    participants.reply(&[processed(&payment)]).await;
    system.until_saga_has(&order, "STEP_SUCCEEDED").await;
    browser.fill("Your name", "ada").await;
    browser.fill("Why", "too slow").await;
    browser.click("Show what would follow").await;
    browser
        .until(&["It has changed since you looked", "waited for inventory"])
        .await;
    // What was typed is still there, and the next click is about what is shown now.
    browser.click("Show what would follow").await;
    browser.until(&["This would follow", "too slow"]).await;
    // A form that was refused is an error that the browser notes, so its log is not empty.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_dead_letters_is_sent_again_by_clicking() {
    let world = World::new().await;
    world.kill_some(3).await;
    let browser = open(&world.system).await;
    browser.go("/").await;
    browser.until(&["3\ndead letters"]).await;
    browser.go("/ui/dead-letters").await;
    browser
        .until(&["payment.commands.dlq", "the gateway says no"])
        .await;
    browser.click("3").await;
    browser.until(&["payment.refund.v1", "refused"]).await;
    browser.click("Send the group again").await;
    browser.fill("Your name", "ada").await;
    browser.fill("Why", "the gateway says yes").await;
    browser.click("Show what would follow").await;
    browser.until(&["3 of 3 letters would be sent again"]).await;
    browser.click("Send them again now").await;
    browser.until(&["DONE", "3 sent again, 0 stay"]).await;
    let working = || world.amqp.ready("payment.commands");
    eventually("they are back", working, |count| *count == 3).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_is_paused_and_resumed_by_clicking() {
    let system = System::alone().await;
    let browser = open(&system).await;
    browser.go("/").await;
    browser.click("Pause inventory").await;
    browser.fill("Your name", "ada").await;
    browser.fill("Why", "it is being moved").await;
    browser.click("Pause inventory").await;
    browser.until(&["by ada: “it is being moved”"]).await;
    browser.click("Resume inventory").await;
    browser.fill("Why", "it has moved").await;
    browser.click("Resume inventory").await;
    browser.until(&["Pause inventory"]).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_sagas_are_read_a_page_at_a_time() {
    let system = System::alone().await;
    let db = system.environment.pool("order").await;
    let order = system.place("prod-1", 1).await;
    // Ids are in the order of time; these are older than anything.
    let many = "INSERT INTO sagas (id, subject, type, definition_version, status, version, correlation_id, data)
         SELECT ('01800000-' || lpad(to_hex(n / 65536), 4, '0') || '-7' || lpad(to_hex(n % 4096), 3, '0') || '-8000-' ||
                 lpad(to_hex(n), 12, '0'))::uuid,
                'many/' || n, 'create_order', 1, 'COMPLETED', 1, 'many', '{}'
         FROM generate_series(1, 100000) AS n";
    sqlx::query(many).execute(&db).await.unwrap();
    let browser = open(&system).await;
    browser.go("/ui/sagas").await;
    let saga = text(&order, "sagaId");
    browser.until(&[&saga[saga.len() - 12..]]).await;
    let rows = "return document.querySelectorAll('tbody tr').length";
    assert_eq!(browser.run(rows).await, json!(50));
    browser.click("Older sagas").await;
    let first = "return document.querySelector('tbody tr').dataset.key";
    assert_ne!(browser.run(first).await, saga);
    assert_eq!(browser.run(rows).await, json!(50));
    browser.fill("About", "many/77777").await;
    browser.click("Find").await;
    browser.until(&["COMPLETED"]).await;
    assert_eq!(browser.run(rows).await, json!(1));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_used_with_the_keyboard_and_says_what_things_are() {
    let system = System::alone().await;
    let order = system.place("prod-1", 1).await;
    let batch = json!({ "filter": { "status": "RUNNING" }, "verb": "retry", "reason": "r" });
    let request = system.orders.request(Method::POST, "/sagas/batch");
    let batch = request.header("x-actor", "ada").json(&batch).send().await;
    let batch: Value = batch.unwrap().json().await.unwrap();
    let batch = format!("/ui/batches/{}", text(&batch, "batchId"));
    let browser = open(&system).await;
    for path in [
        "/",
        "/ui/sagas",
        &page(&order),
        &format!("{}/abort", page(&order)),
        "/ui/dead-letters",
        "/ui/redrives",
        "/ui/sagas/batch?status=RUNNING",
        "/ui/batches",
        &batch,
        &format!("{batch}/cancel"),
    ] {
        browser.go(path).await;
        browser.until(&[]).await;
        // Each field has a label, each picture says what it is, and each link and button has a name.
        let nameless = "return [...document.querySelectorAll('input:not([type=hidden]), select')]
                .filter(field => !field.labels.length).length +
            [...document.querySelectorAll('img:not([alt]), svg:not([aria-label]):not([aria-hidden])')].length +
            [...document.querySelectorAll('a, button')].filter(one => !one.textContent.trim()).length";
        assert_eq!(browser.run(nameless).await, json!(0), "{path}");
        let headings = "return document.querySelectorAll('h1').length";
        assert_eq!(browser.run(headings).await, json!(1), "{path}");
        // Nothing is wider than a phone but what can be moved sideways.
        let wide = "document.documentElement.style.width = '360px';
            return [...document.querySelectorAll('main > *:not(.wide)')].every(one => one.clientWidth <= 360)";
        assert_eq!(browser.run(wide).await, json!(true), "{path}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_answered_with_what_to_do() {
    let system = System::alone().await;
    let order = system.place("prod-1", 1).await;
    let get = async |path: &str| {
        let answer = system.orders.get(path).await;
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, html) = get("/ui/sagas?olderThan=soon").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(html.contains("must be an age such as 90s"), "{html}");
    assert!(
        html.contains("value=\"soon\""),
        "what was typed is still there: {html}"
    );
    let (status, html) = get(&format!("/ui/sagas/{}", uuid::Uuid::now_v7())).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(html.contains("To the board"), "{html}");
    for path in [
        "/ui/sagas/..%2Fhealth",
        "/ui/sagas/x?y",
        "/ui/nothing",
        &format!("{}/explode", page(&order)),
    ] {
        let (status, html) = get(path).await;
        assert!(status.is_client_error(), "{path}: {status}");
        assert!(html.contains("<h1>"), "{path}: {html}");
    }
    let (_, html) = get("/ui/sagas?error=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!html.contains("<script>alert"), "{html}");

    // A page of somebody else's cannot act in the name of whoever looks at it.
    let act = async |site: &str, actor: &str| {
        let path = format!("{}/abort", page(&order));
        let form = [
            ("actor", actor),
            ("reason", "x"),
            ("version", "2"),
            ("key", "k"),
            ("confirmed", "true"),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = system
            .orders
            .request(Method::POST, &path)
            .header("sec-fetch-site", site);
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(act("cross-site", "eve").await.0, StatusCode::FORBIDDEN);
    assert_eq!(act("same-origin", "Zoë").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(act("same-origin", "a\nb").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(system.saga(&order).await["status"], "RUNNING");
}
