//! `payment-service`: see the library.

use std::process::ExitCode;

use payment_service::app::{App, Config};

#[tokio::main]
async fn main() -> ExitCode {
    common::service::main(
        "payment-service",
        ("PAYMENT_HTTP_ADDR", 3002),
        |vars, shutdown| async move {
            let app = App::build(&Config::from_vars(&vars)?).await?;
            app.run(shutdown).await
        },
    )
    .await
}
