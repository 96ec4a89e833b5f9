//! `dlq edit` and `dlq rm`: one letter, replaced or taken away. The original is kept.

use std::{
    future::ready,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::act::Why;
use crate::{
    context::Context,
    failure::Failure,
    input,
    screen::{Text, when},
    service::{Request, read},
};

/// The largest body that the service takes, in bytes.
const BODY_MAX: u64 = 256 << 10;

/// A letter.
#[derive(Clone, Debug, Args)]
pub(crate) struct Letter {
    /// The dead-letter queue
    #[arg(value_name = "QUEUE")]
    pub(crate) queue: String,
    /// The message's id, as the list shows it
    #[arg(value_name = "MESSAGE")]
    pub(crate) message: String,
}

/// What goes out instead of a letter.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    letter: Letter,
    /// The whole message, as a CloudEvent in JSON: a file, or - for standard input. `dlq show -o json` has the body of the letter
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// Also where its saga has ended
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    why: Why,
}

/// A letter that is taken away.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    letter: Letter,
    #[command(flatten)]
    why: Why,
}

/// A letter that is out of its queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    kept_id: Uuid,
    queue: String,
    message_id: String,
    edited_as: Option<Uuid>,
    at: chrono::DateTime<chrono::Utc>,
}

impl Edit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let event = event(&self.body)?;
        let Letter { queue, message } = &self.letter;
        let seen = look(context, &self.letter).await?;
        let would = json!({ "instead": seen["body"], "sent": event });
        let question = format!("send this instead of {message}?");
        let body = json!({ "reason": self.why.reason, "body": event, "force": self.force });
        let path = ["dead-letters", queue, message, "redrive"];
        let request = context.orders.post(&path, &body);
        once_agreed(context, &self.why, would, question, request).await
    }
}

impl Remove {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Letter { queue, message } = &self.letter;
        let seen = look(context, &self.letter).await?;
        let would = json!({ "removed": seen });
        let question = format!("take {message} out of {queue} for good?");
        let body = json!({ "reason": self.why.reason });
        let path = ["dead-letters", queue, message];
        let request = context.orders.delete(&path, &body);
        once_agreed(context, &self.why, would, question, request).await
    }
}

async fn look(context: &Context, letter: &Letter) -> Result<Value, Failure> {
    let path = ["dead-letters", &letter.queue, &letter.message];
    context.orders.get(&path).json().await
}

/// Shows as JSON what would be done, and does it if somebody wants that.
async fn once_agreed(
    context: &Context,
    why: &Why,
    would: Value,
    question: String,
    request: Request<'_>,
) -> Result<(), Failure> {
    let screen = &context.screen;
    let show = |aside, would: &Value| match aside {
        true => screen.tell_json(would),
        false => screen.json(would),
    };
    let would = ready(Ok(would));
    if !why.agreed(context, would, show, |_| question).await? {
        return Ok(());
    }
    let answer = request.by_actor()?.once(Uuid::new_v4())?.json().await?;
    if screen.is_json() {
        return screen.json(&answer);
    }
    let kept: Kept = read(&answer)?;
    let mut facts = vec![
        ("message", Text::plain(&kept.message_id)),
        ("taken from", Text::plain(&kept.queue)),
        ("kept as", Text::plain(kept.kept_id.to_string())),
        ("at", when(kept.at)),
    ];
    let edited = kept.edited_as.map(|id| Text::plain(id.to_string()));
    facts.extend(edited.map(|id| ("sent as", id)));
    screen.facts(facts)
}

/// The message in a file, or on standard input.
fn event(path: &Path) -> Result<Map<String, Value>, Failure> {
    let name = path.display();
    let wrong = |why: &dyn std::fmt::Display| Failure::File(format!("{name}: {why}"));
    let mut text = Vec::new();
    let from = input::open(path).map_err(|error| wrong(&error))?;
    let mut from = from.take(BODY_MAX + 1);
    from.read_to_end(&mut text).map_err(|error| wrong(&error))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > BODY_MAX {
        return Err(wrong(&format!("a message has at most {BODY_MAX} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(&format!("it is no JSON object: {error}")))
}
