//! Looking at letters: what is in a queue, and what a redrive would do.

use std::time::Duration;

use super::{
    desk::{Desk, Queue, Reach, Turn},
    error::Error,
    letter::Letter,
    selection::{Refusal, Selection, refuse},
};

/// What a list is made of.
const WINDOW: Reach = Reach {
    letters: 1000,
    bytes: 16 * 1024 * 1024,
    time: Duration::from_secs(3),
};
/// Within what a letter is looked for.
pub(super) const SEARCH: Reach = Reach {
    letters: 100_000,
    bytes: 512 * 1024 * 1024,
    time: Duration::from_secs(6),
};
/// Letters that a preview names, and as many that it refuses.
const NAMED_MAX: usize = 200;

/// The oldest letters of a queue, as it was at one moment.
#[derive(Debug)]
pub(crate) struct Window {
    /// The letters, in the order of the queue.
    pub(crate) letters: Vec<Letter>,
    /// Letters in the queue. There are more than were looked at where it is long, or its letters are large.
    pub(crate) in_queue: u32,
}

/// What a redrive would do.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    /// Letters that were looked at.
    pub(crate) looked_at: u32,
    /// Letters in the queue.
    pub(crate) in_queue: u32,
    /// Letters that would be sent again.
    pub(crate) redriven: usize,
    /// The first of them.
    pub(crate) letters: Vec<String>,
    /// Letters that would stay.
    pub(crate) refused: usize,
    /// The first of them.
    pub(crate) refusals: Vec<Refusal>,
}

impl Window {
    /// Whether all letters of the queue were looked at.
    pub(crate) fn is_complete(&self) -> bool {
        self.letters.len() >= self.in_queue as usize
    }
}

impl Desk {
    /// How many letters are in `queue`.
    ///
    /// # Errors
    /// It is not to be had now.
    pub(crate) async fn count(&self, queue: &Queue) -> Result<u32, Error> {
        let turn = self.turn(queue, WINDOW).await?;
        let letters = turn.left();
        turn.end().await;
        Ok(letters)
    }

    /// The oldest letters of `queue`.
    ///
    /// # Errors
    /// It is not to be had now.
    pub(crate) async fn look(&self, queue: &Queue) -> Result<Window, Error> {
        let mut turn = self.turn(queue, WINDOW).await?;
        let letters = all(&mut turn).await;
        let in_queue = turn.looked_at() + turn.left();
        turn.end().await;
        let mut letters = letters?;
        letters.truncate(WINDOW.letters as usize);
        Ok(Window { letters, in_queue })
    }

    /// The letter `id`; the first of several with this id.
    ///
    /// # Errors
    /// There is none within reach, or the queue is not to be had now.
    pub(crate) async fn find(&self, queue: &Queue, id: &str) -> Result<Letter, Error> {
        let mut turn = self.turn(queue, SEARCH).await?;
        let found = find(&mut turn, queue, id).await;
        turn.end().await;
        found
    }

    /// What would become of the letters that `selection` means, of which no more than `max` would be sent again.
    ///
    /// # Errors
    /// The queue is not to be had now.
    pub(crate) async fn preview(
        &self,
        queue: &Queue,
        selection: &Selection,
        force: bool,
        max: u32,
    ) -> Result<Preview, Error> {
        let mut turn = self.turn(queue, SEARCH).await?;
        let preview = self.preview_in(&mut turn, selection, force, max).await;
        turn.end().await;
        preview
    }

    async fn preview_in(
        &self,
        turn: &mut Turn<'_>,
        selection: &Selection,
        force: bool,
        max: u32,
    ) -> Result<Preview, Error> {
        let (mut preview, max) = (Preview::default(), max as usize);
        loop {
            let letters = turn.next().await?;
            if letters.is_empty() || preview.redriven >= max {
                break;
            }
            let meant = letters.into_iter().filter(|letter| selection.has(letter));
            let (fine, refused) = refuse(self.engine().db(), meant.collect(), force).await?;
            let fine = fine.into_iter().take(max - preview.redriven);
            for letter in fine {
                preview.redriven += 1;
                if preview.letters.len() < NAMED_MAX {
                    preview.letters.push(letter.id);
                }
            }
            preview.refused += refused.len();
            let room = NAMED_MAX - preview.refusals.len();
            preview.refusals.extend(refused.into_iter().take(room));
        }
        preview.looked_at = turn.looked_at();
        preview.in_queue = turn.looked_at() + turn.left();
        Ok(preview)
    }
}

async fn all(turn: &mut Turn<'_>) -> Result<Vec<Letter>, Error> {
    let mut all = Vec::new();
    loop {
        let letters = turn.next().await?;
        if letters.is_empty() {
            return Ok(all);
        }
        all.extend(letters);
    }
}

/// The letter `id` of the queue that `turn` is at; the first of several with this id.
pub(super) async fn find(turn: &mut Turn<'_>, queue: &Queue, id: &str) -> Result<Letter, Error> {
    loop {
        let letters = turn.next().await?;
        if letters.is_empty() {
            let (name, looked_at, left) = (&queue.name, turn.looked_at(), turn.left());
            let behind = match left {
                0 => String::new(),
                left => format!(", and the {left} letters behind them were not looked at"),
            };
            return Err(Error::NoSuchLetter(format!(
                "there is no letter {id:?} among the first {looked_at} of {name}{behind}"
            )));
        }
        if let Some(found) = letters.into_iter().find(|letter| letter.id == id) {
            return Ok(found);
        }
    }
}
