//! Commands to a participant that an operator holds back.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::eventually;

use crate::harness::{Api, Participants, System, processed, text};

async fn say(api: &Api, participant: &str, verb: &str) -> (StatusCode, Value) {
    let path = format!("/participants/{participant}/{verb}");
    let request = api.request(Method::POST, &path).header("x-actor", "ada");
    let request = request.json(&json!({ "reason": "it is being moved" }));
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap())
}

async fn participant(api: &Api, name: &str) -> Value {
    let all = api.json("/participants").await;
    let mut all = all["items"].as_array().unwrap().iter();
    all.find(|one| one["name"] == name).unwrap().clone()
}

async fn until_held(api: &Api, name: &str, held: &Value) {
    let is_so = |one: &Value| one["held"] == *held;
    eventually("every replica knows", || participant(api, name), is_so).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_stands_still_for_sagas_whose_participant_is_paused() {
    let mut system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let other = system.add_replica().await;
    let (status, paused) = say(&other, "payment", "pause").await;
    assert_eq!(status, StatusCode::OK);
    let pause = &paused["pause"];
    assert_eq!(
        (&pause["actor"], &pause["reason"]),
        (&json!("ada"), &json!("it is being moved"))
    );
    for api in [&system.orders, &other] {
        until_held(api, "payment", &json!("PAUSED")).await;
    }
    // It is paused already, and stays so as it was.
    assert_eq!(
        say(&system.orders, "payment", "pause").await.1["pause"],
        *pause
    );

    let order = system.place("prod-1", 1).await;
    system.let_deadline_pass(&order).await;
    let explained = format!("/sagas/{}/explain", text(&order, "sagaId"));
    let why = system.orders.json(&explained).await;
    assert!(
        text(&why, "explanation").contains("an operator has paused payment"),
        "{why}"
    );
    let moved_on = |saga: &Value| saga["deadlineAt"] != Value::Null;
    let saga = eventually("it was looked at", || system.saga(&order), moved_on).await;
    assert_eq!(saga["version"], 2, "no attempt is used up: {saga}");
    assert_eq!(
        participants.amqp.ready("payment.commands").await,
        0,
        "nothing has left"
    );

    // Others are not held back.
    assert_eq!(participant(&other, "inventory").await["held"], Value::Null);
    assert_eq!(
        say(&system.orders, "payment", "resume").await.0,
        StatusCode::OK
    );
    let pay = tokio::time::timeout(Duration::from_secs(30), participants.command("payment"));
    participants.reply(&[processed(&pay.await.unwrap())]).await;
    participants.command("inventory").await;
    // One of them has sent what waited; the other sees that nothing does.
    for api in [&system.orders, &other] {
        until_held(api, "payment", &Value::Null).await;
    }
    assert_eq!(participant(&other, "payment").await["pause"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_takes_part_can_be_paused() {
    let system = System::alone().await;
    let (status, problem) = say(&system.orders, "shipping", "pause").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(
        text(&problem, "detail").ends_with("there are inventory, payment"),
        "{problem}"
    );
    let nobody = system
        .orders
        .post("/participants/payment/pause", &json!({ "reason": "r" }))
        .await;
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
}
