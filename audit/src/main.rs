//! `audit`: see the library.

use std::process::ExitCode;

use audit::App;
use common::{fleet, service};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(&fleet::AUDIT, audit::openapi, |vars, shutdown| async move {
        App::build(&vars).await?.run(shutdown).await
    })
    .await
}
