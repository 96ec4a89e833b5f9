//! What pages are made of besides HTML.

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};

use super::fault::Fault;

/// Name, type and content.
const ASSETS: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../../assets/style.css"),
    ),
    (
        "live.js",
        "text/javascript; charset=utf-8",
        include_str!("../../assets/live.js"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../assets/icon.svg"),
    ),
];

pub(super) async fn serve(Path(asset): Path<String>) -> Result<Response, Fault> {
    let found = ASSETS.into_iter().find(|(name, ..)| *name == asset);
    let (_, kind, content) = found.ok_or_else(|| Fault::not_found("Begin at the board."))?;
    // Asked for again after an hour, so that a new release is seen soon.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=3600"),
    ];
    Ok((headers, content).into_response())
}
