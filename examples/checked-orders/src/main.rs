//! The order service of the product, with the sagas of this example.

use std::process::ExitCode;

use checked_orders::checked_order::SAGAS;
use common::{fleet, service};
use order_service::app::{App, Config};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(
        &fleet::ORDER.program,
        order_service::openapi,
        |vars, shutdown| async move {
            App::build(&Config::from_vars(&vars)?, SAGAS)
                .await?
                .run(shutdown)
                .await
        },
    )
    .await
}
