//! What operators do about sagas, and what follows from it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Participants, System, events, not_reserved, processed, refunded, released, reserved, text,
};

/// A request of an operator, as they saw the saga.
struct Request<'a> {
    saga: &'a Value,
    verb: &'a str,
    query: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Value,
}

impl<'a> Request<'a> {
    fn new(saga: &'a Value, verb: &'a str) -> Self {
        Self {
            saga,
            verb,
            query: "",
            headers: vec![("x-actor", "ada"), ("if-match", "*")],
            body: json!({ "reason": "the bank says so" }),
        }
    }

    fn headers(mut self, headers: &[(&'a str, &'a str)]) -> Self {
        self.headers = headers.to_vec();
        self
    }

    fn with(mut self, header: &'a str, value: &'a str) -> Self {
        self.headers.push((header, value));
        self
    }

    fn body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    fn dry(mut self) -> Self {
        self.query = "?dryRun=true";
        self
    }

    async fn send(&self, system: &System) -> Response {
        let path = format!(
            "/sagas/{}/{}{}",
            text(self.saga, "sagaId"),
            self.verb,
            self.query
        );
        let mut request = system.orders.request(Method::POST, &path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.json(&self.body).send().await.unwrap()
    }

    /// The saga afterwards.
    async fn done(&self, system: &System) -> Value {
        let answer = self.send(system).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", self.verb);
        answer.json().await.unwrap()
    }

    async fn refused(&self, system: &System) -> (StatusCode, Value) {
        let answer = self.send(system).await;
        let status = answer.status();
        (status, answer.json().await.unwrap())
    }
}

async fn with_participants() -> (System, Participants) {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    (system, participants)
}

fn step<'v>(saga: &'v Value, name: &str) -> &'v Value {
    let steps = saga["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_step_is_taken_for_done_and_its_reply_is_late() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    let pay = participants.command("payment").await;
    let saga = Request::new(&order, "skip").done(&system).await;
    assert_eq!(
        (&saga["currentStep"], &saga["overruled"]),
        (&json!("inventory"), &json!(true))
    );
    let skipped = step(&saga, "payment");
    assert_eq!(skipped["status"], "SKIPPED");
    assert_eq!(skipped["lastError"], "skipped by ada: the bank says so");
    participants.reply(&[processed(&pay)]).await;
    let reserve = participants.command("inventory").await;
    participants.reply(&[reserved(&reserve)]).await;
    system.until(&order, "COMPLETED").await;
    let saga = system.saga(&order).await;
    assert!(events(&saga).contains(&"LATE_REPLY"), "{saga}");
    // Its payment is undone with it, for it may have been made.
    let saga = Request::new(&saga, "abort").done(&system).await;
    assert_eq!(saga["reason"], "OPERATOR");
    participants
        .reply(&[released(&participants.command("inventory").await)])
        .await;
    participants
        .reply(&[refunded(&participants.command("payment").await)])
        .await;
    let order = system.until(&order, "CANCELLED").await;
    assert_eq!(order["cancellationReason"], "OPERATOR");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_that_cannot_be_done_is_skipped_or_the_end_forced() {
    let (system, participants) = with_participants().await;
    for verb in ["skip", "force-compensated"] {
        let order = system.place("prod-1", 1).await;
        participants
            .reply(&[processed(&participants.command("payment").await)])
            .await;
        participants
            .reply(&[not_reserved(&participants.command("inventory").await)])
            .await;
        let refund = participants.command("payment").await;
        assert_eq!(refund["type"], "payment.refund.v1");
        let saga = Request::new(&order, verb).done(&system).await;
        assert_eq!(saga["status"], "COMPENSATED", "{verb}");
        assert_eq!(step(&saga, "payment")["status"], "SKIPPED");
        system.until(&order, "CANCELLED").await;
        participants.reply(&[refunded(&refund)]).await;
        let late = system.until_saga_has(&order, "LATE_REPLY").await;
        assert_eq!(late["status"], "COMPENSATED");
    }
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_taken_for_completed_asks_nobody_any_more() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let saga = Request::new(&order, "force-complete").done(&system).await;
    assert_eq!(
        (&saga["status"], &saga["deadlineAt"]),
        (&json!("COMPLETED"), &Value::Null)
    );
    for name in ["payment", "inventory"] {
        assert_eq!(step(&saga, name)["status"], "SKIPPED", "{name}");
    }
    assert_eq!(
        system.until(&order, "COMPLETED").await["cancellationReason"],
        Value::Null
    );
    assert_eq!(saga["verbs"], json!(["abort"]));
    // Nobody has paid, and the audit knows why.
    system.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_looked_at_when_an_operator_says() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    let first = participants.command("payment").await;
    let later = |seconds: f64| {
        Request::new(&order, "reschedule").body(json!({ "reason": "r", "delaySeconds": seconds }))
    };
    let saga = later(600.0).done(&system).await;
    let at: DateTime<Utc> = text(&saga, "deadlineAt").parse().unwrap();
    let wait = (at - text(&saga, "updatedAt").parse::<DateTime<Utc>>().unwrap()).to_std();
    assert_eq!(wait.unwrap().as_secs(), 600);
    later(0.0).done(&system).await;
    let again = participants.command("payment").await;
    assert_eq!(
        (&again["type"], &again["data"]),
        (&first["type"], &first["data"])
    );
    for wrong in [-1.0, 0.5, 2_592_001.0] {
        let (status, problem) = later(wrong).refused(&system).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["errors"][0]["field"], "delaySeconds");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_the_house_is_not_undone() {
    let system = System::whole().await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    let path = format!("/orders/{}/status", text(&order, "orderId"));
    let shipped = system.orders.request(Method::PATCH, &path);
    let shipped = shipped.json(&json!({ "status": "SHIPPED" })).send().await;
    assert_eq!(shipped.unwrap().status(), StatusCode::OK);
    let (status, problem) = Request::new(&order, "abort").refused(&system).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["type"], "/problems/order-shipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_intervenes_says_what_they_saw_who_they_are_and_why() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let skip = || Request::new(&order, "skip");
    let seen = [("x-actor", "ada"), ("if-match", "\"1\"")];
    for (request, status, kind) in [
        (
            skip().headers(&[("x-actor", "ada")]),
            428,
            "precondition-required",
        ),
        (skip().headers(&seen), 412, "precondition-failed"),
        (
            skip().headers(&[("if-match", "*")]),
            400,
            "malformed-request",
        ),
        (
            skip().headers(&[("if-match", "*"), ("x-actor", " ")]),
            400,
            "malformed-request",
        ),
        (skip().with("x-actor", "bob"), 400, "malformed-request"),
        (
            skip().headers(&[("x-actor", "ada"), ("if-match", "2")]),
            400,
            "malformed-request",
        ),
        (skip().body(json!({})), 422, "invalid-fields"),
        (skip().body(json!({ "reason": "" })), 422, "invalid-fields"),
        (Request::new(&order, "retry"), 409, "saga-not-parked"),
        (Request::new(&order, "force-compensated"), 409, "saga-verb"),
    ] {
        let (answered, problem) = request.refused(&system).await;
        assert_eq!(answered, status, "{problem}");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
        if status == 409 {
            let detail = text(&problem, "detail");
            assert!(
                detail.ends_with("skip, force-complete, abort, reschedule"),
                "{detail}"
            );
        }
    }
    assert_eq!(system.saga(&order).await["version"], 2, "nothing was done");
    let seen = [("x-actor", "Ada <ada@example.com>"), ("if-match", "\"2\"")];
    let saga = skip().headers(&seen).done(&system).await;
    let skipped = &saga["log"][2];
    let said = json!({ "note": "the bank says so", "actor": "Ada <ada@example.com>" });
    assert_eq!(
        (&skipped["event"], &skipped["details"]),
        (&json!("SKIP_REQUESTED"), &said)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_is_done_once() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let seen = [
        ("x-actor", "ada"),
        ("if-match", "\"2\""),
        ("idempotency-key", "k1"),
    ];
    let skip = || Request::new(&order, "skip").headers(&seen);
    assert!(
        !skip()
            .send(&system)
            .await
            .headers()
            .contains_key("idempotency-replayed")
    );
    // Its saga is another one by now, and the key in quotes is the same.
    let quoted = [
        ("x-actor", "ada"),
        ("if-match", "\"2\""),
        ("idempotency-key", "\"k1\""),
    ];
    for headers in [&seen, &quoted] {
        let again = skip().headers(headers).send(&system).await;
        assert_eq!(again.status(), StatusCode::OK);
        assert_eq!(again.headers()["idempotency-replayed"], "true");
    }
    for other in [
        skip().body(json!({ "reason": "another" })),
        Request::new(&order, "abort").headers(&seen),
    ] {
        let (status, problem) = other.refused(&system).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["type"], "/problems/idempotency-key-reused");
    }
    let saga = system.saga(&order).await;
    let skipped = events(&saga)
        .into_iter()
        .filter(|event| *event == "SKIP_REQUESTED");
    assert_eq!(skipped.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_then_happens_and_changes_nothing() {
    let (system, participants) = with_participants().await;
    let order = system.place("prod-1", 1).await;
    participants
        .reply(&[processed(&participants.command("payment").await)])
        .await;
    participants.command("inventory").await;
    let before = system.saga(&order).await;
    let actor = [("x-actor", "ada")];
    let would = Request::new(&order, "abort")
        .headers(&actor)
        .dry()
        .done(&system)
        .await;
    assert_eq!(system.saga(&order).await, before);
    assert_eq!(would["preview"]["order"]["status"], "PENDING");
    assert_eq!(would["preview"]["order"]["cancellationReason"], "OPERATOR");
    let [command] = &would["preview"]["commands"].as_array().unwrap()[..] else {
        panic!("one command: {would}");
    };
    let is = Request::new(&order, "abort").done(&system).await;
    assert_eq!(is["preview"], Value::Null);
    assert_eq!(events(&is), events(&would));
    for field in ["status", "currentStep", "version", "reason", "verbs"] {
        assert_eq!(is[field], would[field], "{field}");
    }
    let sent = participants.command("inventory").await;
    assert_eq!(
        (&sent["type"], &sent["data"]),
        (&command["type"], &command["data"])
    );
    assert_eq!(command["participant"], "inventory");

    let forced = Request::new(&order, "force-compensated")
        .dry()
        .done(&system)
        .await;
    assert_eq!(forced["preview"]["events"], json!(["order.cancelled.v1"]));
    assert_eq!(forced["preview"]["commands"], json!([]));
    let senseless = Request::new(&order, "retry").dry().send(&system).await;
    assert_eq!(senseless.status(), StatusCode::CONFLICT);
    let path = format!("/sagas/{}/skip?dryRun=maybe", text(&order, "sagaId"));
    let wrong = system
        .orders
        .request(Method::POST, &path)
        .header("x-actor", "ada");
    let wrong = wrong.json(&json!({ "reason": "r" })).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

/// Two people look at the same saga, and both want to skip the step that they see.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_saw_the_same_one_decides() {
    let (mut system, participants) = with_participants().await;
    let other = system.add_replica().await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let path = format!("/sagas/{}/skip", text(&order, "sagaId"));
    let skip = |actor: &'static str| {
        let api = if actor == "ada" {
            &system.orders
        } else {
            &other
        };
        let request = api.request(Method::POST, &path).header("x-actor", actor);
        let request = request
            .header("if-match", "\"2\"")
            .json(&json!({ "reason": "r" }));
        async move { request.send().await.unwrap().status() }
    };
    let mut both: [StatusCode; 2] = tokio::join!(skip("ada"), skip("bob")).into();
    both.sort();
    assert_eq!(both, [StatusCode::OK, StatusCode::PRECONDITION_FAILED]);
    tokio::time::timeout(Duration::from_secs(30), participants.command("inventory"))
        .await
        .unwrap();
    assert_eq!(system.saga(&order).await["status"], "RUNNING");
}
