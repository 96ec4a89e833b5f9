//! `migrate`: creates the services' databases, brings their schemas up to date, and makes the role that the audit reads
//! them with. `migrate down` takes the last migration of each back.

use anyhow::Context;
use common::config::{Secret, Vars};
use migrations::{
    SCHEMAS, Schema,
    auditor::{self, Granted},
    exclusively,
};

/// A database, its URL, and that of the audit's role, if one is to be made.
type Place = (&'static Schema, Secret, Option<Secret>);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let vars = Vars::from_process();
    let mut places: Vec<Place> = Vec::new();
    for schema in &SCHEMAS {
        let url = schema.database.config(&vars)?.url;
        places.push((schema, url, schema.database.audit_role(&vars)?));
    }
    let down = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "down");
    let work = async {
        for (schema, url, reader) in &places {
            if down {
                schema.roll_back(url).await?;
            } else {
                schema.migrate(url).await?;
                grant(schema, url, reader.as_ref()).await?;
            }
        }
        Ok(())
    };
    let (_, lock_at, _) = places.first().context("there is a database")?;
    let waiting = || println!("another migration is running on this server: waiting for its end");
    exclusively(lock_at, waiting, Box::pin(work)).await?;
    let done = if down {
        "rolled back"
    } else {
        "the schemas are up to date"
    };
    println!("{done}");
    Ok(())
}

/// Lets the audit read, or says who has to do that.
async fn grant(schema: &Schema, url: &Secret, reader: Option<&Secret>) -> anyhow::Result<()> {
    let (name, variable) = (schema.database.name, schema.database.audit_variable);
    let Some(reader) = reader else {
        println!("{name}: no role for the audit is made, for {variable} is not set");
        return Ok(());
    };
    let granted = auditor::grant(url, reader).await;
    match granted.with_context(|| format!("{name}: the role for the audit ({variable})"))? {
        Granted::Yes => {}
        Granted::IsOwner => {
            println!("{name}: the audit reads as the service's own role, for {variable} names it");
        }
        Granted::No { reason, by_hand } => eprintln!(
            "{name}: the role for the audit could not be made ({reason}).\n\
             The services work without it. For the audit, have a superuser run this in {name}, \
             with the password of {variable}:\n{by_hand}"
        ),
    }
    Ok(())
}
