//! Products as they are added, changed and removed.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::IntoResponse,
};
use common::{
    contract::{Money, decimal},
    db,
    http::{
        ApiError,
        extract::{Body, Checks, MergePatch, PathId, Text, not_removable_whole, removable, whole},
        origin,
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::{api::Api, items::Item};
use crate::catalogue::Details;

/// Most of a product that a warehouse can have.
const QUANTITY_MAX: i64 = 1_000_000_000;
/// Highest price of one.
const PRICE_MAX: Money = Money::from_minor(100_000_000);

/// What is encoded in an id that is a segment of a path: all but letters, digits and these.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A product to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "productId": "prod-1", "quantity": 100, "price": 19.99, "productName": "Blue mug", "description": "A mug, blue"
}))]
pub(super) struct NewItem {
    /// Any text of 1 to 255 characters, other than `.` and `..`.
    #[schema(value_type = Text)]
    product_id: String,
    /// How many are in the warehouse.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    quantity: i64,
    /// What one costs: a decimal number with at most two places.
    #[serde(default, with = "decimal::option")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    price: Option<Money>,
    /// What it is called.
    #[schema(value_type = Option<Text>)]
    product_name: Option<String>,
    /// What it is.
    #[schema(value_type = Option<Text>)]
    description: Option<String>,
}

/// What is to be changed about a product. What is absent stays as it is; null removes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"quantity": 120, "price": 17.50, "description": null}), min_properties = 1)]
pub(super) struct ItemChange {
    /// How many are in the warehouse, those that orders hold included. It cannot be removed.
    #[serde(default, deserialize_with = "not_removable_whole")]
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 1_000_000_000)]
    quantity: Option<i64>,
    /// What one costs: a decimal number with at most two places.
    #[serde(default, deserialize_with = "removable_price")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    price: Option<Option<Money>>,
    /// What it is called.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<Text>)]
    product_name: Option<Option<String>>,
    /// What it is.
    #[serde(default, deserialize_with = "removable")]
    #[schema(value_type = Option<Text>)]
    description: Option<Option<String>>,
}

fn removable_price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Money>>, D::Error> {
    decimal::option::deserialize(from).map(Some)
}

impl NewItem {
    fn check(self) -> Result<(String, Details), ApiError> {
        let mut checks = Checks::default();
        checks.text("productId", &self.product_id);
        // Clients resolve these two in a path, so nobody could ask for such a product.
        let is_reachable = !matches!(self.product_id.as_str(), "." | "..");
        checks.require(is_reachable, "productId", "must not be a dot segment");
        let details = Details {
            quantity: Some(self.quantity),
            price: Some(self.price),
            product_name: Some(self.product_name),
            description: Some(self.description),
        };
        check(&mut checks, &details);
        checks.finish()?;
        Ok((self.product_id, details))
    }
}

impl ItemChange {
    fn check(self) -> Result<Details, ApiError> {
        let mut checks = Checks::default();
        let details = Details {
            quantity: self.quantity,
            price: self.price,
            product_name: self.product_name,
            description: self.description,
        };
        check(&mut checks, &details);
        checks.require(
            !details.is_empty(),
            "body",
            "must have quantity, price, productName or description",
        );
        checks.finish()?;
        Ok(details)
    }
}

fn check(checks: &mut Checks, details: &Details) {
    let is_count = |n| (0..=QUANTITY_MAX).contains(&n);
    checks.require(
        details.quantity.is_none_or(is_count),
        "quantity",
        format!("must be from 0 to {QUANTITY_MAX}"),
    );
    let is_price = |price| (Money::from_minor(0)..=PRICE_MAX).contains(&price);
    checks.require(
        details.price.flatten().is_none_or(is_price),
        "price",
        format!("must be from 0.00 to {PRICE_MAX}"),
    );
    checks.optional_text(
        "productName",
        details.product_name.as_ref().and_then(Option::as_deref),
    );
    checks.optional_text(
        "description",
        details.description.as_ref().and_then(Option::as_deref),
    );
}

/// Adds a product.
#[utoipa::path(
    post, path = "/inventory", operation_id = "addItem", tag = "inventory", request_body = NewItem,
    responses(
        (status = 201, body = Item, description = "The product was added",
         headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "There is such a product already: `/problems/product-exists`"),
    )
)]
pub(super) async fn add(
    State(api): State<Api>,
    headers: HeaderMap,
    Body(body): Body<NewItem>,
) -> Result<impl IntoResponse, ApiError> {
    let (product_id, details) = body.check()?;
    let origin = origin(&headers);
    let add = async move { api.catalogue.add(product_id, details, &origin).await };
    let added = db::in_own_task(add).await?;
    let id = utf8_percent_encode(&added.product_id, RESERVED);
    let location = format!("/inventory/{id}");
    let item = Json(Item::from(added));
    Ok((StatusCode::CREATED, [(LOCATION, location)], item))
}

/// Changes a product, by a JSON merge patch (RFC 7396): what is absent stays as it is, and null removes.
#[utoipa::path(
    patch, path = "/inventory/{productId}", operation_id = "changeItem", tag = "inventory",
    request_body(content((ItemChange = "application/merge-patch+json"), (ItemChange = "application/json"))),
    params(("productId" = Text, Path, description = "The product, URL-encoded", example = "prod-1")),
    responses(
        (status = 200, body = Item, description = "The product as it is now"),
        (status = 404, description = "There is no such product"),
        (status = 409, description = "Orders hold more than `quantity`: `/problems/product-held`"),
        (status = 422, description = "Some fields are wrong, or there is nothing to change"),
    )
)]
pub(super) async fn change(
    State(api): State<Api>,
    PathId(product_id): PathId<String>,
    headers: HeaderMap,
    MergePatch(body): MergePatch<ItemChange>,
) -> Result<Json<Item>, ApiError> {
    let details = body.check()?;
    let origin = origin(&headers);
    let change = async move { api.catalogue.change(&product_id, details, &origin).await };
    let changed = db::in_own_task(change).await?;
    Ok(Json(changed.into()))
}

/// Removes a product that no order holds.
#[utoipa::path(
    delete, path = "/inventory/{productId}", operation_id = "removeItem", tag = "inventory",
    params(("productId" = Text, Path, description = "The product, URL-encoded", example = "prod-1")),
    responses(
        (status = 204, description = "The product is gone"),
        (status = 404, description = "There is no such product"),
        (status = 409, description = "Orders hold some of it: `/problems/product-held`"),
    )
)]
pub(super) async fn remove(
    State(api): State<Api>,
    PathId(product_id): PathId<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let origin = origin(&headers);
    let remove = async move { api.catalogue.remove(&product_id, &origin).await };
    db::in_own_task(remove).await?;
    Ok(StatusCode::NO_CONTENT)
}
