//! `payment-service`: see the library.

use std::process::ExitCode;

use common::{fleet, service};
use payment_service::app::{App, Config};

#[tokio::main]
async fn main() -> ExitCode {
    service::main(
        &fleet::PAYMENT.program,
        payment_service::openapi,
        |vars, shutdown| async move {
            let app = App::build(&Config::from_vars(&vars)?).await?;
            app.run(shutdown).await
        },
    )
    .await
}
