//! `order-service`: see the library.

use std::process::ExitCode;

use order_service::app::{App, Config, PRODUCT};

#[tokio::main]
async fn main() -> ExitCode {
    common::service::main(
        "order-service",
        ("ORDER_HTTP_ADDR", 3001),
        |vars, shutdown| async move {
            App::build(&Config::from_vars(&vars)?, PRODUCT)
                .await?
                .run(shutdown)
                .await
        },
    )
    .await
}
