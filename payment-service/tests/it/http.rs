//! What people see.

use serde_json::{Value, json};
use test_support::openapi;
use uuid::Uuid;

use crate::service::{Orchestrator, Saga};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_can_be_read() {
    let (orchestrator, service) = Orchestrator::with_service(&[]).await;
    let saga = Saga::new();
    orchestrator.send(&saga.process("pm_card_visa")).await;
    let reply = orchestrator.reply().await;
    let id = reply["data"]["paymentId"].as_str().unwrap();

    let (status, mut payment) = service.get(&format!("/payments/{id}")).await;
    assert_eq!(status, 200);
    let fields = payment.as_object_mut().unwrap();
    let gateway_id = fields.remove("gatewayId").unwrap();
    assert!(gateway_id.as_str().unwrap().starts_with("sim_"));
    let created_at = fields.remove("createdAt").unwrap();
    assert!(created_at.as_str().unwrap().ends_with('Z'));
    assert_eq!(fields.remove("updatedAt").unwrap(), created_at);
    assert_eq!(
        payment,
        json!({
            "paymentId": id,
            "sagaId": saga.id,
            "orderId": saga.order,
            "customerId": "customer-1",
            "amount": 39.98,
            "refundedAmount": 0.0,
            "currency": "USD",
            "paymentMethod": "pm_card_visa",
            "status": "CAPTURED",
            "declineCode": null,
        })
    );

    orchestrator
        .send(&saga.returning().refund_part("10.50"))
        .await;
    orchestrator.reply().await;
    let (_, payment) = service.get(&format!("/payments/{id}")).await;
    assert_eq!(payment["status"], "CAPTURED");
    assert_eq!(payment["refundedAmount"], json!(10.5));

    orchestrator.send(&saga.refund()).await;
    orchestrator.reply().await;
    let (_, payment) = service.get(&format!("/payments/{id}")).await;
    assert_eq!(payment["status"], "REFUNDED");
    assert_eq!(payment["refundedAmount"], json!(39.98));
    assert_ne!(payment["updatedAt"], payment["createdAt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_listed_newest_first_in_pages() {
    let (orchestrator, service) = Orchestrator::with_service(&[]).await;
    let sagas: Vec<_> = (0..5).map(|_| Saga::new()).collect();
    for saga in &sagas {
        orchestrator
            .send(&saga.process("pm_card_chargeDeclinedLostCard"))
            .await;
        orchestrator.reply().await;
    }
    let mut seen = Vec::new();
    let mut path = "/payments?limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let (status, page) = service.get(&path).await;
        assert_eq!(status, 200);
        let items = page["items"].as_array().unwrap();
        pages.push(items.len());
        seen.extend(items.iter().map(|payment| payment["sagaId"].clone()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/payments?limit=2&cursor={cursor}");
    }
    assert_eq!(pages, [2, 2, 1]);
    let newest_first: Vec<_> = sagas.iter().rev().map(|saga| json!(saga.id)).collect();
    assert_eq!(seen, newest_first);

    let (_, page) = service
        .get(&format!("/payments?orderId={}", sagas[3].order))
        .await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["sagaId"], json!(sagas[3].id));
    assert_eq!(page["items"][0]["status"], "DECLINED");
    assert_eq!(page["items"][0]["declineCode"], "lost_card");
    assert_eq!(page["items"][0]["gatewayId"], Value::Null);
    assert_eq!(page["nextCursor"], Value::Null);

    let total = async |query: &str| {
        let (status, page) = service.get(&format!("/payments?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(total("status=DECLINED").await, 5);
    assert_eq!(total("status=CAPTURED").await, 0);
    let third = page["items"][0]["createdAt"].as_str().unwrap();
    assert_eq!(total(&format!("createdFrom={third}")).await, 2);
    assert_eq!(total(&format!("createdBefore={third}")).await, 3);

    let (status, page) = service
        .get(&format!("/payments?orderId={}", Uuid::now_v7()))
        .await;
    assert_eq!(
        (status, page),
        (200, json!({ "items": [], "nextCursor": null }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() {
    let (_orchestrator, service) = Orchestrator::with_service(&[]).await;
    for (path, field) in [
        ("/payments?limit=0", "limit"),
        ("/payments?limit=201", "limit"),
        ("/payments?limit=many", "limit"),
        ("/payments?limit=1&limit=2", "limit"),
        ("/payments?cursor=x", "cursor"),
        ("/payments?cursor=AAAA", "cursor"),
        ("/payments?orderId=7", "orderId"),
        ("/payments?orderId=", "orderId"),
        ("/payments?orderId=%00", "orderId"),
        ("/payments?status=captured", "status"),
        ("/payments?createdFrom=yesterday", "createdFrom"),
        (
            "/payments?createdFrom=2026-11-02T00:00:00Z&createdBefore=2026-11-01T00:00:00Z",
            "createdBefore",
        ),
        ("/payments/7", "paymentId"),
        ("/payments/%00", "paymentId"),
        ("/payments/%FF", "path"),
    ] {
        let (status, problem) = service.get(path).await;
        assert_eq!(
            (status, &problem["status"]),
            (400, &json!(400)),
            "{path}: {problem}"
        );
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
    }
    let (status, problem) = service.get(&format!("/payments/{}", Uuid::now_v7())).await;
    assert_eq!(
        (status, &problem["type"]),
        (404, &json!("/problems/not-found"))
    );
    let (status, _) = service.get("/payment").await;
    assert_eq!(status, 404);

    let url = format!("http://{}/payments", service.address);
    let response = reqwest::Client::new()
        .post(url)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_documents_itself() {
    let (_orchestrator, service) = Orchestrator::with_service(&[]).await;
    let (status, document) = service.get("/api/docs/openapi.json").await;
    assert_eq!(status, 200);
    openapi::assert_committed("payment-service", &document);
    let page = reqwest::get(format!("http://{}/api/docs/", service.address))
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("swagger-ui"));
}
