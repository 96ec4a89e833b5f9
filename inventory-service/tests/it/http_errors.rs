//! Bad input: a problem that names the field, and never a 5xx.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::World;

/// Sends it, and expects a problem with `status` about `field`.
async fn refused(request: RequestBuilder, status: u16, field: Option<&str>) {
    let described = describe(&request);
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), status, "{described}");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json",
        "{described}"
    );
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    if let Some(field) = field {
        assert_eq!(
            problem["errors"][0]["field"], field,
            "{described}: {problem}"
        );
    }
}

/// The request with its body, for a person who reads why the test failed.
fn describe(request: &RequestBuilder) -> String {
    let request = request
        .try_clone()
        .and_then(|request| request.build().ok())
        .unwrap();
    let body = request
        .body()
        .and_then(|body| body.as_bytes())
        .unwrap_or_default();
    format!(
        "{} {} {:.300}",
        request.method(),
        request.url(),
        String::from_utf8_lossy(body)
    )
}

fn send(method: Method, url: &str, body: impl Into<String>) -> RequestBuilder {
    let request = Client::new().request(method, url);
    request
        .header("content-type", "application/json")
        .body(body.into())
}

#[tokio::test]
async fn a_wrong_body_is_refused_and_its_field_named() {
    let (world, service) = World::with_stock(&[("a", 10)]).await;
    let all = format!("{}/inventory", service.url);
    let item = format!("{all}/a");
    let post = |body: &str| send(Method::POST, &all, body);
    let patch = |body: &str| send(Method::PATCH, &item, body);

    for body in [
        "",
        "{",
        "{\"quantity\": 1,",
        "{\"quantity\": NaN}",
        r#"{"productId": "b", "quantity": 1} {}"#,
        "\u{0}",
    ] {
        refused(post(body), 400, Some("body")).await;
        refused(patch(body), 400, Some("body")).await;
    }
    for (quantity, price) in [
        ("-1", "1"),
        ("1000000001", "1"),
        ("99999999999999999999999", "1"),
        ("1e400", "1"),
        ("1.5", "1"),
        ("\"1\"", "1"),
        ("true", "1"),
        ("1", "-0.01"),
        ("1", "1000000.01"),
        ("1", "0.001"),
        ("1", "1e2"),
        ("1", "99999999999999999999999"),
        ("1", "\"1.00\""),
        ("1", "[]"),
    ] {
        let status = if quantity == "1e400" { 400 } else { 422 };
        let field = if quantity == "1" { "price" } else { "quantity" };
        let field = (status == 422).then_some(field);
        let fields = format!(r#""quantity": {quantity}, "price": {price}"#);
        refused(
            post(&format!(r#"{{"productId": "b", {fields}}}"#)),
            status,
            field,
        )
        .await;
        refused(patch(&format!("{{{fields}}}")), status, field).await;
    }
    for text in [
        json!(""),
        json!(" "),
        json!("a\u{0}b"),
        json!("line\nbreak"),
        json!("x".repeat(256)),
        json!(1),
    ] {
        refused(
            post(&json!({"productId": text, "quantity": 1}).to_string()),
            422,
            Some("productId"),
        )
        .await;
        for field in ["productName", "description"] {
            refused(patch(&json!({field: text}).to_string()), 422, Some(field)).await;
        }
    }
    refused(
        post(r#"{"productId": "..", "quantity": 1}"#),
        422,
        Some("productId"),
    )
    .await;
    for (body, field) in [
        ("[]", "body"),
        ("1", "body"),
        ("null", "body"),
        (r#"{"productId": "b"}"#, "quantity"),
        (r#"{"quantity": 1}"#, "productId"),
    ] {
        refused(post(body), 422, Some(field)).await;
    }
    for (body, field) in [
        ("{}", "body"),
        (r#"{"quantty": 1}"#, "body"),
        (r#"{"quantity": null}"#, "quantity"),
    ] {
        refused(patch(body), 422, Some(field)).await;
    }
    refused(
        send(Method::PATCH, &format!("{all}/x"), r#"{"quantity": 1}"#),
        404,
        None,
    )
    .await;
    assert_eq!(world.stock("a").await, (10, 0));
}

#[tokio::test]
async fn a_body_of_another_kind_or_size_is_refused() {
    let (_world, service) = World::with_stock(&[]).await;
    let all = format!("{}/inventory", service.url);
    let body = json!({"productId": "a", "quantity": 1}).to_string();
    for content_type in ["text/plain", "application/xml", ""] {
        let request = Client::new()
            .post(&all)
            .header("content-type", content_type);
        refused(request.body(body.clone()), 415, None).await;
    }
    let large = json!({"productId": "a", "quantity": 1, "description": "x".repeat(1 << 20)});
    refused(send(Method::POST, &all, large.to_string()), 413, None).await;
    refused(send(Method::PUT, &all, body), 405, None).await;
}

#[tokio::test]
async fn a_wrong_path_or_query_is_refused_and_its_field_named() {
    let (_world, service) = World::with_stock(&[]).await;
    let get = |path: &str| Client::new().get(format!("{}{path}", service.url));
    let long = format!("/inventory/{}", "x".repeat(256));
    for path in ["/inventory/%00", "/inventory/a%0Ab", &long] {
        refused(get(path), 400, Some("productId")).await;
    }
    refused(get("/inventory/%FF"), 400, None).await;
    for list in ["/inventory", "/reservations"] {
        for limit in ["0", "201", "-1", "x", "", "1e1", "99999999999999999999"] {
            refused(get(&format!("{list}?limit={limit}")), 400, Some("limit")).await;
        }
        for cursor in ["%25", "x", "AAAA"] {
            refused(get(&format!("{list}?cursor={cursor}")), 400, Some("cursor")).await;
        }
        refused(get(&format!("{list}?limit=1&limit=2")), 400, Some("limit")).await;
    }
    for order in ["x", "", "1", "00000000-0000-0000-0000-00000000000g"] {
        refused(
            get(&format!("/reservations?orderId={order}")),
            400,
            Some("orderId"),
        )
        .await;
    }
    refused(get("/inventory/unknown"), 404, None).await;
    refused(get("/nothing"), 404, None).await;
}
