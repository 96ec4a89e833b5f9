//! Waiting for what a service does in the background, and telling how far it is.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{context::Context, failure::Failure, screen::Text, service::read};

/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(500);

/// What is done in the background.
pub(crate) trait Job: serde::de::DeserializeOwned {
    /// Whether nothing more is done of it.
    fn has_ended(&self) -> bool;
    /// How far it is, in a line.
    fn progress(&self) -> Text;
}

/// The job at `path` as soon as it has ended, or after so many seconds as it is then.
pub(crate) async fn until_ended<J: Job>(
    context: &Context,
    path: &[&str],
    mut answer: Value,
    seconds: u32,
) -> Result<Value, Failure> {
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let mut told = String::new();
    loop {
        let job: J = read(&answer)?;
        let progress = job.progress();
        if job.has_ended() {
            return Ok(answer);
        }
        if progress.to_string() != told {
            context.screen.tell(&progress);
            told = progress.to_string();
        }
        if Instant::now() >= end {
            if seconds > 0 {
                let path = path.join(" ");
                let line = format!("it goes on in the background: look at {path} later");
                context.screen.tell(&Text::plain(line));
            }
            return Ok(answer);
        }
        sleep(PAUSE).await;
        answer = context.orders.get(path).json().await?;
    }
}
