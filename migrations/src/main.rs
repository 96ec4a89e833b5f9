//! `migrate`: creates the services' databases and brings their schemas up to date. `migrate down` takes the last
//! migration of each back.

use anyhow::Context;
use common::config::{DatabaseConfig, Vars};
use migrations::{Inventory, Order, Payment, exclusively, migrate, roll_back};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let vars = Vars::from_process();
    let url = |variable, database| {
        DatabaseConfig::from_vars(&vars, variable, database).map(|config| config.url)
    };
    let order = url("ORDER_DATABASE_URL", "order_db")?;
    let payment = url("PAYMENT_DATABASE_URL", "payment_db")?;
    let inventory = url("INVENTORY_DATABASE_URL", "inventory_db")?;
    let down = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "down");
    let work = async {
        if down {
            roll_back::<Order>(&order).await.context("order database")?;
            roll_back::<Payment>(&payment)
                .await
                .context("payment database")?;
            roll_back::<Inventory>(&inventory)
                .await
                .context("inventory database")
        } else {
            migrate::<Order>(&order).await.context("order database")?;
            migrate::<Payment>(&payment)
                .await
                .context("payment database")?;
            migrate::<Inventory>(&inventory)
                .await
                .context("inventory database")
        }
    };
    exclusively(&order, Box::pin(work)).await?;
    println!(
        "{}",
        if down {
            "rolled back"
        } else {
            "the schemas are up to date"
        }
    );
    Ok(())
}
