//! The API: products, and who holds them.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use test_support::openapi;

use crate::support::{Saga, World, lines};

async fn get(url: &str) -> Value {
    let response = Client::new().get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{url}");
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_product_is_added_shown_changed_and_removed() {
    let (_world, service) = World::with_stock(&[]).await;
    let http = Client::new();
    let product =
        json!({"productId": "prod-1", "quantity": 100, "price": 19.9, "productName": "Blue mug"});
    let all = format!("{}/inventory", service.url);
    let added = http.post(&all).json(&product).send().await.unwrap();
    assert_eq!(added.status(), StatusCode::CREATED);
    assert_eq!(added.headers()["location"], "/inventory/prod-1");
    let text = added.text().await.unwrap();
    assert!(text.contains(r#""price":19.90"#), "{text}");
    let added: Value = serde_json::from_str(&text).unwrap();
    let item = format!("{all}/prod-1");
    assert_eq!(get(&item).await, added);
    assert_eq!(added["availableQuantity"], 100);
    assert_eq!(added["description"], Value::Null);
    assert!(added["createdAt"].as_str().unwrap().ends_with('Z'));

    let again = http.post(&all).json(&product).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::CONFLICT);

    let change = json!({"quantity": 7, "description": "A mug, blue", "price": null});
    let changed = http.patch(&item).json(&change).send().await.unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(get(&item).await, changed);
    assert_eq!(changed["quantity"], 7);
    assert_eq!(changed["price"], Value::Null);
    assert_eq!(changed["productName"], "Blue mug");
    assert_eq!(changed["description"], "A mug, blue");

    let patch = |media_type: &'static str, body: &'static str| {
        let patch = http.patch(&item).header("content-type", media_type);
        async move { patch.body(body).send().await.unwrap() }
    };
    let change = r#"{"productName": null, "price": 5}"#;
    let changed = patch("application/merge-patch+json", change).await;
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(changed["productName"], Value::Null);
    assert_eq!(changed["price"], 5.0);
    assert_eq!(changed["description"], "A mug, blue");
    let other = patch("application/json-patch+json", "[]").await;
    assert_eq!(other.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let takes = other.headers()["accept-patch"].to_str().unwrap();
    assert!(takes.contains("application/merge-patch+json"), "{takes}");

    let change = json!({"quantity": 7});
    let removed = http.delete(&item).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    for request in [
        http.get(&item),
        http.delete(&item),
        http.patch(&item).json(&change),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
}

#[tokio::test]
async fn what_orders_hold_can_neither_be_counted_away_nor_removed() {
    let (world, service) = World::with_stock(&[("a", 10)]).await;
    let saga = Saga::new();
    world.command(&saga.reserve(&[("a", 4)])).await;
    world.reply().await;
    let item = format!("{}/inventory/a", service.url);
    let http = Client::new();
    let fewer = http
        .patch(&item)
        .json(&json!({"quantity": 3}))
        .send()
        .await
        .unwrap();
    assert_eq!(fewer.status(), StatusCode::CONFLICT);
    let gone = http.delete(&item).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::CONFLICT);
    let just = http
        .patch(&item)
        .json(&json!({"quantity": 4}))
        .send()
        .await
        .unwrap();
    assert_eq!(just.status(), StatusCode::OK);
    let shown = get(&item).await;
    assert_eq!(shown["reservedQuantity"], 4);
    assert_eq!(shown["availableQuantity"], 0);
    world.command(&saga.release()).await;
    world.reply().await;
    let gone = http.delete(&item).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn any_text_can_be_a_product_id() {
    let (_world, service) = World::with_stock(&[]).await;
    let http = Client::new();
    let all = format!("{}/inventory", service.url);
    for id in [
        "a b",
        "a/b",
        "100%",
        "Größe/42 ☕?#&+",
        "%2F",
        "'; DROP TABLE x; --",
        "..a",
    ] {
        let product = json!({"productId": id, "quantity": 1});
        let added = http.post(&all).json(&product).send().await.unwrap();
        assert_eq!(added.status(), StatusCode::CREATED, "{id}");
        let item = format!(
            "{}{}",
            service.url,
            added.headers()["location"].to_str().unwrap()
        );
        assert_eq!(get(&item).await["productId"], id);
        let changed = http
            .patch(&item)
            .json(&json!({"quantity": 2}))
            .send()
            .await
            .unwrap();
        assert_eq!(changed.status(), StatusCode::OK, "{id}");
        let removed = http.delete(&item).send().await.unwrap();
        assert_eq!(removed.status(), StatusCode::NO_CONTENT, "{id}");
    }
}

#[tokio::test]
async fn lists_come_in_parts() {
    let ids = ["a", "b c", "d/e", "Z", "é"];
    let (world, service) = World::with_stock(&ids.map(|id| (id, 100))).await;
    for id in ids {
        world.command(&Saga::new().reserve(&[(id, 1)])).await;
        world.reply().await;
    }
    for (path, key) in [
        ("inventory", "productId"),
        ("reservations", "reservationId"),
    ] {
        let whole = get(&format!("{}/{path}", service.url)).await;
        assert_eq!(whole["nextCursor"], Value::Null);
        let mut parts = Vec::new();
        let mut next = format!("{}/{path}?limit=2", service.url);
        loop {
            let part = get(&next).await;
            parts.extend(part["items"].as_array().unwrap().clone());
            let Some(cursor) = part["nextCursor"].as_str() else {
                break;
            };
            next = format!("{}/{path}?limit=2&cursor={cursor}", service.url);
        }
        assert_eq!(Value::from(parts), whole["items"]);
        let mut keys: Vec<_> = whole["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i[key].to_string())
            .collect();
        assert_eq!(keys.len(), 5);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 5, "each once");
    }
}

#[tokio::test]
async fn reservations_are_listed_newest_first_by_status_and_time() {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    let sagas = [Saga::new(), Saga::new(), Saga::new()];
    for saga in &sagas {
        world.command(&saga.reserve(&[("a", 1)])).await;
        world.reply().await;
    }
    world.command(&sagas[1].release()).await;
    world.reply().await;
    let list = async |query: &str| -> Vec<Value> {
        let page = get(&format!("{}/reservations?{query}", service.url)).await;
        page["items"].as_array().unwrap().clone()
    };
    let [third, second, first] = &list("").await[..] else {
        panic!("three reservations");
    };
    let of = |saga: &Saga| Value::from(saga.id.to_string());
    let sagas_shown = [&first["sagaId"], &second["sagaId"], &third["sagaId"]];
    assert_eq!(
        sagas_shown,
        [&of(&sagas[0]), &of(&sagas[1]), &of(&sagas[2])]
    );
    assert_eq!(list("status=RELEASED").await, std::slice::from_ref(second));
    let (from, before) = (&second["createdAt"], &third["createdAt"]);
    let (from, before) = (from.as_str().unwrap(), before.as_str().unwrap());
    let middle = list(&format!("createdFrom={from}&createdBefore={before}")).await;
    assert_eq!(middle, std::slice::from_ref(second));
    assert_eq!(list(&format!("createdBefore={from}")).await.len(), 1);
    assert_eq!(list(&format!("createdFrom={from}")).await.len(), 2);
}

#[tokio::test]
async fn an_orders_reservation_is_shown() {
    let (world, service) = World::with_stock(&[("a", 100)]).await;
    let saga = Saga::new();
    for saga in [saga, Saga::new()] {
        world.command(&saga.reserve(&[("a", 7)])).await;
        world.reply().await;
    }
    let page = get(&format!(
        "{}/reservations?orderId={}",
        service.url, saga.order
    ))
    .await;
    let [shown] = &page["items"].as_array().unwrap()[..] else {
        panic!("one reservation, not {page}");
    };
    assert_eq!(shown["sagaId"], saga.id.to_string());
    assert_eq!(shown["orderId"], saga.order.to_string());
    assert_eq!(shown["status"], "RESERVED");
    assert_eq!(shown["items"], lines(&[("a", 7)]));
    let nobody = get(&format!("{}/reservations?orderId={}", service.url, saga.id)).await;
    assert_eq!(nobody, json!({"items": [], "nextCursor": null}));
}

#[tokio::test]
async fn the_api_is_documented() {
    let (_world, service) = World::with_stock(&[]).await;
    let document = get(&format!("{}/api/docs/openapi.json", service.url)).await;
    openapi::assert_committed("inventory-service", &document);
    let page = Client::new()
        .get(format!("{}/api/docs/", service.url))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), StatusCode::OK);
}
