//! `inventory-service`: see the library.

use std::process::ExitCode;

use inventory_service::app::{App, Config};

#[tokio::main]
async fn main() -> ExitCode {
    common::service::main(
        "inventory-service",
        ("INVENTORY_HTTP_ADDR", 3003),
        |vars, shutdown| async move {
            App::build(&Config::from_vars(&vars)?)
                .await?
                .run(shutdown)
                .await
        },
    )
    .await
}
