//! What operators see and do.

use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::openapi;

use crate::harness::{Participants, System, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_shows_its_steps_its_log_and_its_deadline() {
    let system = System::alone().await;
    let participants = Participants::of(&system.environment).await;
    let order = system.place("prod-1", 1).await;
    participants.command("payment").await;
    let answer = system
        .orders
        .get(&format!("/sagas/{}", text(&order, "sagaId")))
        .await;
    assert_eq!(answer.headers()["etag"], "\"2\"");
    let saga: Value = answer.json().await.unwrap();
    assert_eq!(saga["type"], "create_order");
    assert_eq!(
        (&saga["status"], &saga["currentStep"]),
        (&json!("RUNNING"), &json!("payment"))
    );
    assert_eq!(saga["steps"][0]["status"], "SENT");
    assert_eq!(saga["steps"][0]["nextWakeUpAt"], saga["deadlineAt"]);
    assert_eq!(saga["steps"][1]["status"], "PENDING");
    assert_eq!(
        saga["verbs"],
        json!(["skip", "force-complete", "abort", "reschedule"])
    );
    let seqs: Vec<_> = saga["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["seq"].clone())
        .collect();
    assert_eq!(seqs, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_documents_itself() {
    let system = System::whole().await;
    for api in [
        Some(&system.orders),
        system.payments.as_ref(),
        system.inventory.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(
            api.get("/api/docs/")
                .await
                .text()
                .await
                .unwrap()
                .contains("swagger-ui")
        );
        let openapi = api.json("/api/docs/openapi.json").await;
        let health = api.json("/health").await;
        openapi::assert_committed(health["service"].as_str().unwrap(), &openapi);
        assert_eq!(health["dependencies"].as_array().unwrap().len(), 4);
        assert_eq!(api.get("/health/live").await.status(), StatusCode::OK);
        assert!(
            api.get("/metrics")
                .await
                .text()
                .await
                .unwrap()
                .contains("http_request_duration_seconds")
        );
    }
    assert_eq!(
        system.orders.json("/api/docs/asyncapi.json").await["asyncapi"],
        "3.1.0"
    );
    let schema = "/api/docs/schemas/payment.failed.v1.json";
    let found = system.orders.json(schema).await;
    let id = text(&found, "$id");
    assert!(id.starts_with("http://") && id.ends_with(schema), "{id}");
    let unknown = system.orders.get("/api/docs/schemas/nothing.v1.json").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}
