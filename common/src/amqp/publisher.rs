//! Publishes on one connection, with a line to each destination.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;

use super::{
    Destination, Error,
    connection::Connection,
    frame::Frame,
    line::{Confirms, Line},
};
use crate::{config::Secret, contract::topology};

/// Lines that there are. What others ask for names where its answer goes, so destinations can be any number.
const LINES_MAX: usize = 64;

/// Publishes on a connection of its own.
#[derive(Debug)]
pub(super) struct Publisher {
    connection: Arc<Connection>,
    lines: Mutex<HashMap<Destination, Arc<Line>>>,
}

impl Publisher {
    pub(super) fn new(name: String, nodes: Vec<Secret>) -> Self {
        Self {
            connection: Arc::new(Connection::new(name, nodes)),
            lines: Mutex::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    pub(super) async fn check(&self) -> Result<(), Error> {
        self.connection.check().await
    }

    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// Publishes `frames`, in order for each destination.
    pub(super) async fn publish(&self, frames: Vec<Frame>) -> Vec<Confirms> {
        let mut lines: Vec<(Arc<Line>, Vec<Frame>)> = Vec::new();
        for frame in frames {
            let line = self.line(&frame.line);
            match lines
                .iter_mut()
                .find(|(other, _)| Arc::ptr_eq(other, &line))
            {
                Some((_, frames)) => frames.push(frame),
                None => lines.push((line, vec![frame])),
            }
        }
        let connection = &self.connection;
        let publishing = lines
            .into_iter()
            .map(|(line, frames)| async move { line.publish(connection, frames).await });
        join_all(publishing).await
    }

    /// The line to `destination`, or the one that is shared by all for which there is none.
    pub(super) fn line(&self, destination: &Destination) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(destination) {
            return Arc::clone(line);
        }
        if lines.len() >= LINES_MAX {
            lines.retain(|_, line| line.patience().is_busy());
        }
        let destination = if lines.len() < LINES_MAX {
            destination.clone()
        } else {
            Destination::new(topology::DEFAULT, "")
        };
        let line = lines
            .entry(destination)
            .or_insert_with_key(|destination| Arc::new(Line::new(destination.clone())));
        Arc::clone(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_only_so_many_lines_and_idle_ones_make_room() {
        let publisher = Publisher::new("a test".to_owned(), Vec::new());
        let line = |n: usize| publisher.line(&Destination::new("an exchange", n.to_string()));
        assert!(Arc::ptr_eq(&line(0), &line(0)));
        let busy: Vec<_> = (0..LINES_MAX).map(line).collect();
        let [first, rest @ ..] = &busy[..] else {
            unreachable!("there are many")
        };
        for one in rest {
            assert!(!Arc::ptr_eq(first, one));
        }
        let under_way: Vec<_> = busy.iter().map(|line| line.patience().begin()).collect();
        let shared = line(LINES_MAX);
        let _busy_too = shared.patience().begin();
        assert!(Arc::ptr_eq(&shared, &line(LINES_MAX + 1)));
        assert!(Arc::ptr_eq(first, &line(0)), "what is busy stays");
        drop(under_way);
        assert!(!Arc::ptr_eq(&line(LINES_MAX + 2), &line(LINES_MAX + 3)));
    }
}
