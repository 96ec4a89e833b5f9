//! Whatever is sent, the answer is a 4xx problem that names the field, and never a 5xx.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{System, count, order, text};

/// A body that is wrong, with the status and the field that the answer must name.
fn wrong_orders() -> Vec<(String, u16, &'static str)> {
    let with = |change: fn(&mut Value)| {
        let mut body = order("prod-1", 1, "pm_card_visa");
        change(&mut body);
        body.to_string()
    };
    let price = |price: &str| order("prod-1", 1, "x").to_string().replace("19.99", price);
    let quantity = |quantity: &str| {
        order("prod-1", 1, "x")
            .to_string()
            .replace("\"quantity\":1", &format!("\"quantity\":{quantity}"))
    };
    vec![
        ("{".to_owned(), 400, "body"),
        (String::new(), 400, "body"),
        ("not json".to_owned(), 400, "body"),
        (format!("{} trailing", order("prod-1", 1, "x")), 400, "body"),
        ("[]".to_owned(), 422, "body"),
        ("null".to_owned(), 422, "body"),
        ("\"text\"".to_owned(), 422, "body"),
        ("{}".to_owned(), 422, "customerId"),
        (with(|o| o["customerId"] = json!(42)), 422, "customerId"),
        (with(|o| o["customerId"] = json!("")), 422, "customerId"),
        (with(|o| o["customerId"] = json!(" ")), 422, "customerId"),
        (
            with(|o| o["customerId"] = json!("a\u{0}b")),
            422,
            "customerId",
        ),
        (
            with(|o| o["customerId"] = json!("x".repeat(256))),
            422,
            "customerId",
        ),
        (with(|o| o["items"] = json!([])), 422, "items"),
        (with(|o| o["items"] = json!("prod-1")), 422, "items"),
        (
            with(|o| o["items"] = json!(vec![o["items"][0].clone(); 101])),
            422,
            "items",
        ),
        (
            with(|o| o["items"][0]["productId"] = json!("")),
            422,
            "items[0].productId",
        ),
        (
            with(|o| o["items"][0]["productId"] = json!("\u{7}")),
            422,
            "items[0].productId",
        ),
        (
            with(|o| {
                o["items"][0]
                    .as_object_mut()
                    .map(|item| item.remove("unitPrice"));
            }),
            422,
            "items[0].unitPrice",
        ),
        (
            with(|o| {
                o["items"][0]
                    .as_object_mut()
                    .map(|item| item.remove("quantity"));
            }),
            422,
            "items[0].quantity",
        ),
        (quantity("0"), 422, "items[0].quantity"),
        (quantity("-1"), 422, "items[0].quantity"),
        (quantity("10001"), 422, "items[0].quantity"),
        (quantity("99999999999999999999"), 422, "items[0].quantity"),
        (quantity("1.5"), 422, "items[0].quantity"),
        (quantity("10001.0"), 422, "items[0].quantity"),
        (quantity("\"two\""), 422, "items[0].quantity"),
        (quantity("null"), 422, "items[0].quantity"),
        (quantity("NaN"), 400, "body"),
        (price("NaN"), 400, "body"),
        (price("Infinity"), 400, "body"),
        (price("0"), 422, "items[0].unitPrice"),
        (price("-1.00"), 422, "items[0].unitPrice"),
        (price("19.999"), 422, "items[0].unitPrice"),
        (price("1000000.01"), 422, "items[0].unitPrice"),
        (price("1e2"), 422, "items[0].unitPrice"),
        (
            price("99999999999999999999999999"),
            422,
            "items[0].unitPrice",
        ),
        (price("\"cheap\""), 422, "items[0].unitPrice"),
        (with(|o| o["currency"] = json!("dollars")), 422, "currency"),
        (with(|o| o["currency"] = json!(1)), 422, "currency"),
        (with(|o| o["currency"] = json!("ZZZ")), 422, "currency"),
        (
            with(|o| o["currency"] = json!("JPY")),
            422,
            "items[0].unitPrice",
        ),
        (with(|o| o["total"] = json!(19.98)), 422, "total"),
        (with(|o| o["total"] = json!("19.99")), 422, "total"),
        (
            with(|o| o["customerEmail"] = json!("nobody")),
            422,
            "customerEmail",
        ),
        (
            with(|o| o["paymentMethod"] = json!("")),
            422,
            "paymentMethod",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_orders_are_refused_and_leave_nothing() {
    let system = System::alone().await;
    for (body, status, field) in wrong_orders() {
        let request = system
            .orders
            .request(Method::POST, "/orders")
            .header("content-type", "application/json");
        let answer = request.body(body.clone()).send().await.unwrap();
        let short: String = body.chars().take(120).collect();
        assert_eq!(answer.status(), status, "{short}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{short}"
        );
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], field, "{short}: {problem}");
        assert_eq!(problem["status"], status);
    }
    let db = system.environment.pool("order").await;
    assert_eq!(count(&db, "SELECT count(*) FROM orders").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_must_be_json_and_small() {
    let system = System::alone().await;
    let post = |content_type: &'static str, body: String| {
        let request = system
            .orders
            .request(Method::POST, "/orders")
            .header("content-type", content_type);
        async move { request.body(body).send().await.unwrap() }
    };
    let good = order("prod-1", 1, "pm_card_visa").to_string();
    assert_eq!(post("text/plain", good.clone()).await.status(), 415);
    assert_eq!(
        post("application/x-www-form-urlencoded", good.clone())
            .await
            .status(),
        415
    );
    assert_eq!(
        post("application/json; charset=utf-8", good).await.status(),
        201
    );
    let large = post("application/json", format!("\"{}\"", "x".repeat(1 << 20))).await;
    assert_eq!(large.status(), 413);
    assert_eq!(large.headers()["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_of_fields_are_taken() {
    let system = System::alone().await;
    let body = json!({ "userId": "u", "items": [{ "productId": "prod-1", "quantity": 1, "price": 0.01 }] });
    let answer = system.orders.post("/orders", &body).await;
    assert_eq!(answer.status(), 201);
    let order: Value = answer.json().await.unwrap();
    assert_eq!(
        (
            &order["customerId"],
            order["totalAmount"].to_string().as_str()
        ),
        (&json!("u"), "0.01")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_queries_and_methods_are_checked() {
    let system = System::alone().await;
    let unknown = Uuid::now_v7();
    let cases = [
        (Method::GET, "/nothing".to_owned(), 404, ""),
        (Method::DELETE, "/orders".to_owned(), 405, ""),
        (Method::PUT, format!("/orders/{unknown}"), 405, ""),
        (Method::GET, format!("/orders/{unknown}"), 404, ""),
        (Method::GET, format!("/sagas/{unknown}"), 404, ""),
        (Method::GET, "/orders/not-a-uuid".to_owned(), 400, "orderId"),
        (Method::GET, "/sagas/not-a-uuid".to_owned(), 400, "sagaId"),
        (Method::GET, "/orders?limit=0".to_owned(), 400, "limit"),
        (Method::GET, "/orders?limit=201".to_owned(), 400, "limit"),
        (Method::GET, "/orders?limit=many".to_owned(), 400, "limit"),
        (Method::GET, "/orders?cursor=%21".to_owned(), 400, "cursor"),
        (Method::GET, "/orders?status=LOST".to_owned(), 400, "status"),
        (
            Method::GET,
            "/orders?customerId=%00".to_owned(),
            400,
            "customerId",
        ),
        (
            Method::GET,
            "/orders/customer/%00".to_owned(),
            400,
            "customerId",
        ),
        (Method::GET, "/orders/customer/%ff".to_owned(), 400, "path"),
        (Method::GET, "/sagas?status=LOST".to_owned(), 400, "status"),
        (Method::GET, "/sagas?orderId=x".to_owned(), 400, "orderId"),
        (
            Method::GET,
            "/sagas?olderThan=soon".to_owned(),
            400,
            "olderThan",
        ),
        (
            Method::GET,
            "/sagas?olderThan=%C3%A9".to_owned(),
            400,
            "olderThan",
        ),
        (Method::GET, "/sagas?stuck=maybe".to_owned(), 400, "stuck"),
    ];
    for (method, path, status, field) in cases {
        let answer = system
            .orders
            .request(method.clone(), &path)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        let headers = answer.headers().clone();
        assert_eq!(
            headers["content-type"], "application/problem+json",
            "{method} {path}"
        );
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["instance"], path.split('?').next().unwrap());
        assert_eq!(
            problem["correlationId"],
            *headers["x-correlation-id"].to_str().unwrap()
        );
        let kind = text(&problem, "type");
        let page = system
            .orders
            .request(Method::GET, kind)
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), 200, "{kind}");
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(
            problem["errors"][0]["field"].as_str().unwrap_or_default(),
            field,
            "{method} {path}: {problem}"
        );
    }
    for (path, status) in [
        (format!("/orders/{unknown}/cancel"), StatusCode::NOT_FOUND),
        ("/orders/x/cancel".to_owned(), StatusCode::BAD_REQUEST),
        (format!("/sagas/{unknown}/retry"), StatusCode::NOT_FOUND),
        (format!("/sagas/{unknown}/abort"), StatusCode::NOT_FOUND),
    ] {
        let request = system.orders.request(Method::POST, &path);
        let request = request.header("x-actor", "ada").header("if-match", "*");
        let answer = request.json(&json!({ "reason": "r" })).send().await;
        assert_eq!(answer.unwrap().status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_what_they_may_do() {
    let system = System::alone().await;
    for (path, status) in [("/orders", 200), ("/nothing", 404), ("/api/docs/", 200)] {
        let answer = system
            .orders
            .request(Method::GET, path)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
        let headers = answer.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{policy}");
    }
    let unknown = system
        .orders
        .request(Method::GET, "/problems/nothing")
        .send();
    assert_eq!(unknown.await.unwrap().status(), 404);
    let list = system.orders.request(Method::GET, "/problems").send().await;
    let list = list.unwrap().text().await.unwrap();
    assert!(list.contains("/problems/order-shipped"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_where_they_ended() {
    let system = System::alone().await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(text(&system.place("prod-1", 1).await, "orderId").to_owned());
    }
    placed.reverse();
    let mut listed = Vec::new();
    let mut path = "/orders?customerId=customer-1&limit=2".to_owned();
    loop {
        let page = system.orders.json(&path).await;
        listed.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|order| text(order, "orderId").to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/orders?customerId=customer-1&limit=2&cursor={cursor}");
    }
    assert_eq!(listed, placed);
    assert_eq!(
        system.orders.json("/orders/customer/nobody").await["items"],
        json!([])
    );
    assert_eq!(
        system
            .orders
            .json("/sagas?status=RUNNING&step=payment&olderThan=0s")
            .await["items"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    assert_eq!(
        system.orders.json("/sagas?olderThan=1d").await["items"],
        json!([])
    );

    let third = text(
        &system.orders.json(&format!("/orders/{}", placed[2])).await,
        "createdAt",
    )
    .to_owned();
    for (query, expected) in [
        (format!("createdFrom={third}"), &placed[..3]),
        (
            format!("createdBefore={third}&status=PENDING"),
            &placed[3..],
        ),
        (format!("createdFrom={third}&status=COMPLETED"), &[]),
    ] {
        let page = system.orders.json(&format!("/orders?{query}")).await;
        let shown = page["items"].as_array().unwrap().iter();
        let shown: Vec<_> = shown.map(|order| text(order, "orderId")).collect();
        assert_eq!(shown, expected, "{query}");
    }
    let sagas = system
        .orders
        .json("/sagas?createdBefore=2026-01-01T00:00:00Z")
        .await;
    assert_eq!(sagas["items"], json!([]));
}
