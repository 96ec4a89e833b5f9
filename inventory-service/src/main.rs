//! `inventory-service`: see the library.

use std::process::ExitCode;

use common::{fleet, service};
use inventory_service::app::{App, Config};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(
        &fleet::INVENTORY.program,
        inventory_service::openapi,
        |vars, shutdown| async move {
            App::build(&Config::from_vars(&vars)?)
                .await?
                .run(shutdown)
                .await
        },
    )
    .await
}
