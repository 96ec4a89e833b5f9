//! `order-service`: see the library.

use std::process::ExitCode;

use common::{fleet, service};
use order_service::app::{App, Config, PRODUCT};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(
        &fleet::ORDER.program,
        order_service::openapi,
        |vars, shutdown| async move {
            App::build(&Config::from_vars(&vars)?, PRODUCT)
                .await?
                .run(shutdown)
                .await
        },
    )
    .await
}
