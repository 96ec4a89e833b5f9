//! The way of a saga, drawn as it goes.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Participants, System, id, not_reserved, processed, refunded, text};

async fn graph(system: &System, order: &Value) -> Value {
    let path = format!("/sagas/{}/graph", text(order, "sagaId"));
    system.orders.json(&path).await
}

/// Each node with its state, in order.
async fn states(system: &System, order: &Value) -> Vec<(String, String)> {
    let graph = graph(system, order).await;
    let nodes = graph["nodes"].as_array().unwrap().iter();
    let states = nodes.map(|node| (text(node, "id").to_owned(), text(node, "state").to_owned()));
    let states: Vec<_> = states.collect();
    for edge in graph["edges"].as_array().unwrap() {
        for end in ["from", "to"] {
            assert!(states.iter().any(|(id, _)| id == text(edge, end)), "{edge}");
        }
    }
    states
}

fn expected(states: &[(&str, &str)]) -> Vec<(String, String)> {
    let states = states
        .iter()
        .map(|(id, state)| ((*id).to_owned(), (*state).to_owned()));
    states.collect()
}

async fn svg(system: &System, order: &Value) -> String {
    let path = format!("/sagas/{}/graph?format=svg", text(order, "sagaId"));
    let answer = system.orders.get(&path).await;
    assert_eq!(answer.headers()["content-type"], "image/svg+xml");
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_shows_what_is_done_what_is_to_come_and_what_was_undone() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    let payment = participants.command("payment").await;
    let begun = [
        ("begin", "DONE"),
        ("step:payment", "CURRENT"),
        ("step:inventory", "REMAINING"),
        ("completed", "REMAINING"),
    ];
    assert_eq!(states(&system, &order).await, expected(&begun));

    participants.reply(&[processed(&payment)]).await;
    let inventory = participants.command("inventory").await;
    let half = [
        ("begin", "DONE"),
        ("step:payment", "DONE"),
        ("step:inventory", "CURRENT"),
        ("completed", "REMAINING"),
    ];
    assert_eq!(states(&system, &order).await, expected(&half));

    let mut refusal = not_reserved(&inventory);
    refusal["data"]["detail"] = json!("<script>&\"\u{1}");
    participants.reply(&[refusal]).await;
    let refund = participants.command("payment").await;
    let turned = [
        ("begin", "DONE"),
        ("step:payment", "DONE"),
        ("step:inventory", "REJECTED"),
        ("completed", "SKIPPED"),
        ("undo:payment", "CURRENT"),
        ("compensated", "REMAINING"),
    ];
    assert_eq!(states(&system, &order).await, expected(&turned));
    let drawn = svg(&system, &order).await;
    assert!(
        drawn.contains("&lt;script&gt;&amp;&quot; ") && !drawn.contains("<script"),
        "{drawn}"
    );

    participants.reply(&[refunded(&refund)]).await;
    system.until(&order, "CANCELLED").await;
    let undone = [
        ("begin", "DONE"),
        ("step:payment", "UNDONE"),
        ("step:inventory", "REJECTED"),
        ("completed", "SKIPPED"),
        ("undo:payment", "DONE"),
        ("compensated", "DONE"),
    ];
    assert_eq!(states(&system, &order).await, expected(&undone));
    let edges = graph(&system, &order).await["edges"].clone();
    let back: Vec<_> = edges
        .as_array()
        .unwrap()
        .iter()
        .filter(|edge| edge["back"] == true)
        .collect();
    assert_eq!(back[0]["from"], "step:inventory");
    assert!(
        back.iter().all(|edge| edge["taken"] == true) && back.len() == 2,
        "{edges}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_json_or_svg_as_it_is_asked_for() {
    let system = System::whole().await;
    let order = system.place("prod-1", 1).await;
    system.until(&order, "COMPLETED").await;
    assert!(
        states(&system, &order)
            .await
            .iter()
            .all(|(_, state)| state == "DONE")
    );
    let path = format!("/sagas/{}/graph", text(&order, "sagaId"));
    for (accept, kind) in [
        ("*/*", "application/json"),
        (
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/json",
        ),
        (
            "image/avif,image/webp,image/svg+xml,image/*;q=0.8",
            "image/svg+xml",
        ),
    ] {
        let request = system
            .orders
            .request(Method::GET, &path)
            .header("accept", accept);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], kind, "{accept}");
        assert_eq!(answer.headers()["vary"], "accept");
    }
    let wrong = system.orders.get(&format!("{path}?format=png")).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);

    // Of a definition that this program does not have, it shows where the saga is.
    let db = system.environment.pool("order").await;
    let foreign = "UPDATE sagas SET definition_version = 9, status = 'PARKED', current_step = 'elsewhere' WHERE id = $1";
    sqlx::query(foreign)
        .bind(id(&order, "sagaId"))
        .execute(&db)
        .await
        .unwrap();
    let known = [
        ("begin", "DONE"),
        ("step:elsewhere", "PARKED"),
        ("completed", "REMAINING"),
    ];
    assert_eq!(states(&system, &order).await, expected(&known));
    assert!(svg(&system, &order).await.contains("elsewhere: parked"));
}
