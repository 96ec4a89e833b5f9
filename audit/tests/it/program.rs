//! The audit as a program of its own.

use std::net::SocketAddr;

use audit::App;
use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::{eventually, openapi};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::case::Case;

/// The program in this process, on the databases of a case.
struct Program {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Program {
    async fn on(case: &Case) -> Self {
        let app = App::build(&case.env.vars(&[])).await.unwrap();
        let stop = CancellationToken::new();
        Self {
            address: app.address().unwrap(),
            running: tokio::spawn(app.run(stop.clone())),
            stop,
        }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn it_tells_what_is_wrong() {
    let case = Case::new().await;
    let ids = case.completed().await;
    let program = Program::on(&case).await;
    let found = program.json("/audit").await;
    let told = (&found["clean"], &found["orders"]);
    assert_eq!(told, (&json!(true), &json!(1)), "{found}");

    case.run(&case.payment, "UPDATE payments SET amount_minor = 1")
        .await;
    let found = program.json("/audit").await;
    assert_eq!(found["clean"], json!(false));
    let violations = found["violations"].to_string();
    assert!(violations.contains(&ids.order.to_string()), "{found}");
    program.end().await;
}

#[tokio::test]
async fn it_is_like_the_services_in_all_else() {
    let case = Case::new().await;
    let program = Program::on(&case).await;
    assert_eq!(program.get("/health/live").await.status(), StatusCode::OK);
    eventually(
        "it is ready",
        async || program.get("/health/ready").await.status(),
        |status| *status == StatusCode::OK,
    )
    .await;
    let health = program.json("/health").await;
    let names = health["dependencies"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|dependency| &dependency["name"]).collect();
    assert_eq!(names, ["order_db", "payment_db", "inventory_db"]);
    let document = program.json("/api/docs/openapi.json").await;
    openapi::assert_committed("audit", &document);
    let metrics = program.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("http_request_duration_seconds"));
    program.end().await;
}

#[tokio::test]
async fn without_a_database_it_says_which_one_is_missing() {
    let case = Case::new().await;
    let program = Program::on(&case).await;
    let gone = case.env.audit_url("payment");
    let role = url::Url::parse(&gone).unwrap();
    let lock_out = format!("ALTER ROLE {} NOLOGIN", role.username());
    case.run(&case.order, &lock_out).await;
    let answer = program.get("/audit").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ready = program.get("/health/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    program.end().await;
}
