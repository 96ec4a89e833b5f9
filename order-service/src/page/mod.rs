//! The page at `/`: what operators see in a browser, and do there.
//!
//! ```text
//! browser ─► page ─► the API, called in this process ─► HTML
//! ```
//!
//! It is a client like any other: it shows what the API says and does what the API does, by the same rules. Every page is
//! rendered here and works without JavaScript; with it, a page that is open shows what happens.

mod asked;
mod assets;
mod backend;
mod batch;
mod batches;
mod board;
mod chart;
mod fault;
mod form;
mod letters;
mod links;
mod list;
mod participant;
mod redrive;
mod saga;
mod state;
mod verb;
mod view;
mod when;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};

pub(crate) use self::links::Links;
use self::{backend::Backend, state::Page};

/// What a page may do: nothing but show what comes from here, and send its forms here.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The pages, which ask `api`.
pub(crate) fn routes(api: Router, links: Links) -> Router {
    let page = Page {
        backend: Backend::new(api),
        links,
    };
    Router::new()
        .route("/", get(board::show))
        .route("/ui/sagas", get(list::show))
        .route("/ui/sagas/batch", get(batch::ask).post(batch::act))
        .route("/ui/sagas/{saga}", get(saga::show))
        .route("/ui/sagas/{saga}/{verb}", get(verb::ask).post(verb::act))
        .route("/ui/batches", get(batches::list))
        .route("/ui/batches/{batch}", get(batches::show))
        .route(
            "/ui/batches/{batch}/cancel",
            get(batches::ask).post(batches::cancel),
        )
        .route(
            "/ui/participants/{name}/{verb}",
            get(participant::ask).post(participant::act),
        )
        .route("/ui/dead-letters", get(letters::groups))
        .route("/ui/dead-letters/{queue}", get(letters::list))
        .route(
            "/ui/dead-letters/{queue}/redrive",
            get(redrive::ask).post(redrive::act),
        )
        .route("/ui/redrives", get(redrive::list))
        .route("/ui/redrives/{redrive}", get(redrive::show))
        .route("/ui/{asset}", get(assets::serve))
        .layer(middleware::from_fn(protect))
        .with_state(page)
}

async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    response
}
