//! `export`: sagas with their logs, as JSON lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use common::http::problem::types;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::{filter::Filter, list::Pages};
use crate::{
    archive::{End, Exported, Header, Line, Lines, redacted},
    context::Context,
    failure::Failure,
    screen::{FAINT, Text},
    service::{Service, read},
};

/// Sagas that are listed, and then read, at a time, ...
const PAGE: usize = 200;
/// ... and that are read at once.
const AT_ONCE: usize = 8;

/// Writes sagas with their logs as JSON lines, for `replay`: nothing of what they are about, and nobody's words.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to write them; standard output without it
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Go on with a file whose export was interrupted
    #[arg(long, requires = "file")]
    resume: bool,
    /// No more sagas than this, the newest
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Leave notes, names and what participants said as they are
    #[arg(long)]
    words: bool,
    #[command(flatten)]
    filter: Filter,
}

/// How far an export is.
#[derive(Debug, Default)]
struct Progress {
    sagas: u64,
    cursor: Option<String>,
}

impl Export {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let header = Header::new(&self.filter.parameters(), self.words);
        let begun = match &self.file {
            Some(file) if self.resume => match begun(file, &header)? {
                Some(begun) => begun,
                None => {
                    let whole = format!("{} is whole already", file.display());
                    context.screen.tell(&Text::plain(whole));
                    return Ok(());
                }
            },
            Some(file) => (create(file)?, Progress::default()),
            None => (
                Sink::new(Box::new(io::stdout()), "the output".to_owned()),
                Progress::default(),
            ),
        };
        let (mut sink, mut progress) = begun;
        if progress.cursor.is_none() {
            sink.write(&Line::Export(header))?;
        }
        let done = self.write(context, &mut sink, &mut progress).await;
        if let (Err(_), Some(file)) = (&done, &self.file) {
            let line = format!(
                "{} has {} sagas so far: --resume goes on with it",
                file.display(),
                progress.sagas
            );
            context.screen.tell(&Text::plain(line));
        }
        done?;
        context
            .screen
            .tell(&Text::styled(FAINT, format!("{} sagas", progress.sagas)));
        Ok(())
    }

    async fn write(
        &self,
        context: &Context,
        sink: &mut Sink,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let orders = &context.orders;
        let mut pages = Pages::new(orders, &self.filter, progress.cursor.take());
        while progress.sagas < limit && pages.goes_on() {
            let room = usize::try_from(limit - progress.sagas).unwrap_or(PAGE);
            let page = pages.next(PAGE.min(room)).await?;
            let mut sagas = stream::iter(page)
                .map(|summary| exported(orders, summary, self.words))
                .buffered(AT_ONCE);
            while let Some(saga) = sagas.next().await {
                if let Some(saga) = saga? {
                    sink.write(&Line::Saga(Box::new(saga)))?;
                    progress.sagas += 1;
                }
            }
            if let Some(cursor) = &pages.cursor {
                sink.write(&Line::Cursor(cursor.clone()))?;
            }
            sink.flush()?;
        }
        let sagas = progress.sagas;
        sink.write(&Line::End(End { sagas }))?;
        sink.flush()
    }
}

/// A saga of a list with its log; none where it is gone by now.
async fn exported(
    orders: &Service,
    summary: Value,
    words: bool,
) -> Result<Option<Exported>, Failure> {
    let id = summary["sagaId"].as_str().unwrap_or_default();
    let saga = match orders.get(&["sagas", id]).json().await {
        Err(failure) if failure.is(&types::NOT_FOUND) => return Ok(None),
        saga => saga?,
    };
    let mut saga: Exported = read(&saga)?;
    if !words {
        for entry in &mut saga.log {
            entry.details = redacted(entry.details.take());
        }
    }
    Ok(Some(saga))
}

/// Where an export is written to.
struct Sink {
    to: BufWriter<Box<dyn Write>>,
    name: String,
}

impl Sink {
    fn new(to: Box<dyn Write>, name: String) -> Self {
        Self {
            to: BufWriter::new(to),
            name,
        }
    }

    fn write(&mut self, line: &Line) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
        text.push(b'\n');
        self.to
            .write_all(&text)
            .map_err(|error| unwritable(&self.name, error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.to
            .flush()
            .map_err(|error| unwritable(&self.name, error))
    }
}

fn unwritable(name: &str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        io::ErrorKind::AlreadyExists => Failure::File(format!(
            "{name} is there already: --resume goes on with it; else choose another name"
        )),
        _ => Failure::File(format!("{name} cannot be written: {error}")),
    }
}

fn create(path: &Path) -> Result<Sink, Failure> {
    let name = path.display().to_string();
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.map_err(|error| unwritable(&name, error))?;
    Ok(Sink::new(Box::new(file), name))
}

/// The file of an export that was interrupted, cut behind the last page that is whole; none where nothing is missing.
fn begun(path: &Path, header: &Header) -> Result<Option<(Sink, Progress)>, Failure> {
    let name = path.display().to_string();
    let mut lines = Lines::open(path)?;
    match lines.next()? {
        Some(Line::Export(before)) if before == *header => {}
        Some(Line::Export(_)) => {
            let why = format!(
                "{name} is an export of other sagas: give the same filters and options, or another file"
            );
            return Err(Failure::File(why));
        }
        Some(_) => return Err(Failure::File(format!("{name} is no export"))),
        // It was interrupted before anything was written.
        None => return reopened(path, &name, 0).map(|sink| Some((sink, Progress::default()))),
    }
    let (mut end, mut progress, mut sagas) = (0, Progress::default(), 0);
    while let Some(line) = lines.next()? {
        match line {
            Line::Saga(_) => sagas += 1,
            Line::Cursor(cursor) => {
                end = lines.bytes;
                progress = Progress {
                    sagas,
                    cursor: Some(cursor),
                };
            }
            Line::End(_) => return Ok(None),
            Line::Export(_) => return Err(Failure::File(format!("{name} has two beginnings"))),
        }
    }
    reopened(path, &name, end).map(|sink| Some((sink, progress)))
}

/// The file, cut behind its first `length` bytes.
fn reopened(path: &Path, name: &str, length: u64) -> Result<Sink, Failure> {
    let cut = || -> io::Result<File> {
        OpenOptions::new().write(true).open(path)?.set_len(length)?;
        OpenOptions::new().append(true).open(path)
    };
    let file = cut().map_err(|error| unwritable(name, error))?;
    Ok(Sink::new(Box::new(file), name.to_owned()))
}
