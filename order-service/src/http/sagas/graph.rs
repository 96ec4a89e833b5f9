//! The way of a saga: what is done, where it is, what is to come, and what was undone.
//!
//! ```text
//! begin ─► payment ─► inventory ─► completed            forward, in the order of the definition
//!             │           │
//!             ▼           ▼ (where it turned)
//!         undo payment ◄──┘  ─► compensated             back, where it is or was undone
//! ```

mod flow;
mod svg;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use common::{
    contract::SagaId,
    http::{
        ApiError,
        extract::{PathId, Query},
    },
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::flow::SagaGraph;
use super::one;
use crate::http::api::Api;

const SVG: &str = "image/svg+xml";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(graph))
}

/// As what the graph is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Format {
    /// `json` or `svg`. Without it, the header `Accept` decides.
    #[param(value_type = String, required = false, pattern = "^(json|svg)$", example = "svg")]
    format: Option<String>,
}

impl Format {
    fn is_svg(&self, headers: &HeaderMap) -> Result<bool, ApiError> {
        match self.format.as_deref() {
            Some("svg") => Ok(true),
            Some("json") => Ok(false),
            Some(_) => Err(ApiError::bad_field("format", "must be json or svg")),
            None => {
                let accepted = headers.get_all(header::ACCEPT).iter();
                let mut accepted = accepted.filter_map(|value| value.to_str().ok());
                Ok(accepted.any(|value| value.contains(SVG)))
            }
        }
    }
}

/// Draw a saga: its steps, and what undoes them, each with its state.
///
/// As JSON, or as an SVG that reads on a light and on a dark ground (`?format=svg`, or `Accept: image/svg+xml`).
#[utoipa::path(get, path = "/sagas/{sagaId}/graph", operation_id = "getSagaGraph", tag = "sagas",
    params(("sagaId" = SagaId, Path), Format),
    responses((status = 200, description = "The graph", content((SagaGraph = "application/json"), (String = "image/svg+xml"))),
              (status = 404, description = "No such saga")))]
async fn graph(
    State(api): State<Api>,
    PathId(id): PathId<SagaId>,
    Query(format): Query<Format>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let is_svg = format.is_svg(&headers)?;
    let (row, log) = one::read(&api, id).await?;
    let graph = SagaGraph::new(api.engine.registry(), row, &log);
    let vary = [(header::VARY, "accept")];
    Ok(match is_svg {
        true => (vary, [(header::CONTENT_TYPE, SVG)], svg::draw(&graph)).into_response(),
        false => (vary, Json(graph)).into_response(),
    })
}
