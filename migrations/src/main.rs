//! `migrate`: creates the services' databases and brings their schemas up to date. `migrate down` takes the last
//! migration of each back.

use anyhow::Context;
use common::config::Vars;
use migrations::{SCHEMAS, exclusively};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let vars = Vars::from_process();
    let configs = SCHEMAS.iter().map(|schema| schema.database.config(&vars));
    let urls: Vec<_> = configs
        .map(|config| config.map(|config| config.url))
        .collect::<Result<_, _>>()?;
    let down = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "down");
    let work = async {
        for (schema, url) in SCHEMAS.iter().zip(&urls) {
            if down {
                schema.roll_back(url).await?;
            } else {
                schema.migrate(url).await?;
            }
        }
        Ok(())
    };
    let lock_at = urls.first().context("there is a database")?;
    exclusively(lock_at, Box::pin(work)).await?;
    let done = if down {
        "rolled back"
    } else {
        "the schemas are up to date"
    };
    println!("{done}");
    Ok(())
}
