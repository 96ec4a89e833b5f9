//! A stream of events that goes on behind an interruption where it was.

use std::{collections::VecDeque, time::Duration};

use hyper::header::CONTENT_TYPE;
use tokio::time::{sleep, timeout};

use super::sse::{Event, Parser};
use crate::{
    failure::Failure,
    http::{self, Answer},
    screen::{FAINT, Screen, Text},
    service::Service,
};

/// The server says something every 15 s; when it has not for so long, the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// How long to wait before connecting again, at first and at most, ...
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// ... and how often without hearing anything: four minutes in all.
const TRIES: u32 = 20;

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Live<'a> {
    service: &'a Service,
    screen: &'a Screen,
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    /// The id of the last event.
    last: Option<String>,
    open: Option<Answer>,
    parser: Parser,
    ready: VecDeque<Event>,
    /// Connections in a row that brought nothing.
    in_vain: u32,
    was_open: bool,
}

impl<'a> Live<'a> {
    /// The stream at `path`, behind the event with the id `last`.
    pub(crate) fn new(
        service: &'a Service,
        screen: &'a Screen,
        path: &[&'a str],
        query: Vec<(&'static str, String)>,
        last: Option<String>,
    ) -> Self {
        Self {
            service,
            screen,
            path: path.to_vec(),
            query,
            last,
            open: None,
            parser: Parser::default(),
            ready: VecDeque::new(),
            in_vain: 0,
            was_open: false,
        }
    }

    /// The next event, however long it takes.
    ///
    /// # Errors
    /// The service refuses, or cannot be reached for minutes.
    pub(crate) async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last.clone_from(&event.id);
                return Ok(event);
            }
            let Some(open) = &mut self.open else {
                self.open = Some(self.connected().await?);
                self.parser = Parser::default();
                self.was_open = true;
                continue;
            };
            let said = match timeout(SILENCE, http::next(open)).await {
                Ok(Ok(Some(bytes))) => {
                    self.in_vain = 0;
                    let events = self.parser.feed(&bytes);
                    self.ready
                        .extend(events.map_err(|error| Failure::Away(error.to_string()))?);
                    continue;
                }
                Ok(Ok(None)) => "has ended".to_owned(),
                Ok(Err(error)) => format!("broke: {error}"),
                Err(_) => format!("was silent for {} s", SILENCE.as_secs()),
            };
            self.open = None;
            let line = format!("the stream {said}; connecting again");
            self.screen.tell(&Text::styled(FAINT, line));
        }
    }

    async fn connected(&mut self) -> Result<Answer, Failure> {
        loop {
            if self.was_open {
                let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.in_vain));
                sleep(pause.min(PAUSE_MAX)).await;
            }
            self.in_vain += 1;
            match self.connect().await {
                Err(Failure::Away(_)) if self.was_open && self.in_vain < TRIES => {}
                done => return done,
            }
        }
    }

    async fn connect(&self) -> Result<Answer, Failure> {
        let request = self.service.get(&self.path).query(self.query.clone());
        let mut request = request.accept("text/event-stream")?;
        if let Some(last) = self.last.as_ref().filter(|last| !last.is_empty()) {
            request = request.header("last-event-id", last)?;
        }
        let answer = request.stream().await?;
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return Ok(answer);
        }
        let name = self.service.name();
        Err(Failure::Away(format!(
            "{name} did not answer with a stream of events: is it of an earlier release?"
        )))
    }
}
