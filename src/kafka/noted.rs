//! What is known of `rollbook.notes`: the newest note of each key, read whole and followed, for every stage.
//!
//! Whoever decides by what stands there must know how new that is: it waits until a note was heard that is to be written, or
//! until all is heard that stood there when it asked. What is known alone is a moment old, in which somebody may have
//! written a note and gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tracing::info;

use super::changelog::{Change, Log};
use super::follower::{Follower, Hears};
use crate::note::{Note, NoteBook};

/// How long one read of the topic may take before a shutdown is noticed, or who wants to catch up.
const READ_FOR: Duration = Duration::from_millis(200);

/// What is known of the topic: None until it was read to its end.
type Known = Option<Arc<NoteBook>>;

/// A note that is to be written, or is being written, and that somebody waits for.
#[derive(Debug)]
pub struct Expected {
    key: String,
    value: Vec<u8>,
    heard: AtomicBool,
}

impl Expected {
    pub fn new(key: &str, value: &[u8]) -> Self {
        Self { key: key.to_owned(), value: value.to_vec(), heard: AtomicBool::new(false) }
    }

    /// Whether it has been heard, be it gone again. If so, what is known from now on is what was said after that.
    pub fn heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// One of the same key is another one, which may have come and gone long ago.
    fn is(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.key.as_bytes() == key && value == Some(self.value.as_slice())
    }
}

/// Somebody wants to know all that stands in the topic now, open transactions included.
#[derive(Debug, Default)]
pub struct CatchUp(AtomicBool);

impl CatchUp {
    /// Whether that is known by now.
    pub fn done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// As long as somebody waits. They are few, whatever is written to the topic: one for each partition that is held, or for
/// each thread that takes partitions over.
#[derive(Debug)]
struct Waiting<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    fn all(&self) -> MutexGuard<'_, Vec<Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, waiting: T) -> Arc<T> {
        let waiting = Arc::new(waiting);
        let mut all = self.all();
        all.retain(|it| it.strong_count() > 0);
        all.push(Arc::downgrade(&waiting));
        waiting
    }
}

/// Everybody's view of the notes.
#[derive(Clone)]
pub struct Noted {
    known: watch::Receiver<Known>,
    expected: Arc<Waiting<Expected>>,
    behind: Arc<Waiting<CatchUp>>,
}

impl Noted {
    /// Every note, as of now. None: the topic has not been read to its end yet, so that nothing is known.
    pub fn known(&self) -> Option<Arc<NoteBook>> {
        self.known.borrow().clone()
    }

    /// Listens for a note that has not been written yet, as it may come and go between two looks at what is known.
    pub fn expect(&self, key: &str, value: &[u8]) -> Arc<Expected> {
        self.expected.add(Expected::new(key, value))
    }

    /// Asks for everything that stands in the topic now.
    pub fn catch_up(&self) -> Arc<CatchUp> {
        self.behind.add(CatchUp::default())
    }

    /// Changes whenever `known` does: for a task that waits. A receiver whose reader has ended is an error to wait for.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<NoteBook>>> {
        self.known.clone()
    }
}

/// Reads the topic for all of them.
pub struct Reader<L> {
    follower: Follower<L>,
    heard: Heard,
}

/// What was heard, for all views.
struct Heard {
    told: watch::Sender<Known>,
    expected: Arc<Waiting<Expected>>,
    behind: Arc<Waiting<CatchUp>>,
}

impl Heard {
    fn new() -> (Noted, Self) {
        let (told, known) = watch::channel(None);
        let (expected, behind) = (Arc::<Waiting<Expected>>::default(), Arc::<Waiting<CatchUp>>::default());
        let noted = Noted { known, expected: Arc::clone(&expected), behind: Arc::clone(&behind) };
        (noted, Self { told, expected, behind })
    }

    /// Those that wait for this record.
    fn awaited(&self, key: &[u8], value: Option<&[u8]>) -> Vec<Arc<Expected>> {
        self.expected.all().iter().filter_map(Weak::upgrade).filter(|expected| expected.is(key, value)).collect()
    }

    /// In this order: for whom a note was heard, or the end, what is known was said with it, or later.
    fn tell(&self, book: &NoteBook, heard: Vec<Arc<Expected>>, caught_up: &[Weak<CatchUp>]) {
        self.told.send_replace(Some(Arc::new(book.clone())));
        for expected in heard {
            expected.heard.store(true, Ordering::Release);
        }
        for asked in caught_up.iter().filter_map(Weak::upgrade) {
            asked.0.store(true, Ordering::Release);
        }
    }
}

impl<L: Log> Reader<L> {
    /// Everybody's view, and what must be run on a thread of its own for it to show anything.
    pub fn new(follower: Follower<L>) -> (Noted, Self) {
        let (noted, heard) = Heard::new();
        (noted, Self { follower, heard })
    }

    /// Follows until it is told to stop. At each turn `beside` does what is to be done, and gets what was lost with a topic
    /// that was made anew, to be written again. Blocks.
    pub fn run(self, stopped: impl Fn() -> bool, mut beside: impl FnMut(NoteBook)) {
        let Self { mut follower, heard } = self;
        let (mut reading, mut behind) = (Reading::new(&heard), Vec::new());
        let mut lost = NoteBook::new();
        while !stopped() {
            beside(std::mem::take(&mut lost));
            let asked = std::mem::take(&mut *heard.behind.all());
            if !asked.is_empty() {
                behind.extend(asked);
                follower.ask_for_end();
            }
            follower.turn(READ_FOR, &mut reading);
            if follower.whole() {
                lost = reading.tell(&mut behind);
            }
        }
    }
}

/// What is read, until it is told.
struct Reading<'a> {
    heard: &'a Heard,
    book: NoteBook,
    /// Those of a topic that is no more, until the new one has said something of them.
    lost: NoteBook,
    expected: Vec<Arc<Expected>>,
    /// Whether there is something to tell. That nothing is noted is news to who knows nothing.
    news: bool,
}

impl<'a> Reading<'a> {
    fn new(heard: &'a Heard) -> Self {
        let (book, lost) = (NoteBook::new(), NoteBook::new());
        Self { heard, book, lost, expected: Vec::new(), news: true }
    }

    /// To be called when the topic was read to its end. Returns what is to be written again: what stood, stands.
    fn tell(&mut self, behind: &mut Vec<Weak<CatchUp>>) -> NoteBook {
        let lost = std::mem::take(&mut self.lost);
        self.book.extend(lost.clone());
        if std::mem::take(&mut self.news) || !behind.is_empty() {
            if self.heard.told.borrow().is_none() {
                info!(notes = self.book.len(), "notes read");
            }
            self.heard.tell(&self.book, std::mem::take(&mut self.expected), &std::mem::take(behind));
        }
        lost
    }
}

impl Hears for Reading<'_> {
    fn record(&mut self, Change { key, value, .. }: &Change<'_>) -> Result<(), &'static str> {
        self.expected.extend(self.heard.awaited(key, *value));
        self.news = true;
        let key = apply(&mut self.book, (key, *value))?;
        self.lost.remove(key);
        Ok(())
    }

    fn anew(&mut self) {
        self.lost.append(&mut self.book);
        self.news = true;
    }
}

/// Returns the key. Or why it is no note.
pub(super) fn apply<'a>(book: &mut NoteBook, (key, value): (&'a [u8], Option<&[u8]>)) -> Result<&'a str, &'static str> {
    let key = std::str::from_utf8(key).map_err(|_| "its key is no text")?;
    match value.map(Note::decode) {
        None => {
            book.remove(key);
        }
        Some(Ok(note)) => {
            book.insert(key.to_owned(), note);
        }
        Some(Err(_)) => return Err("its value is no note of this version"),
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_came_and_went_between_two_looks_was_said() {
        let (noted, heard) = Heard::new();
        let key = "gap/views/1";
        let expected = noted.expect(key, &Note::new("gap", 7).encode());
        drop(noted.expect(key, &Note::new("gap", 9).encode()));
        let mut reading = Reading::new(&heard);
        let mut say = |notes: &[Option<Note>]| {
            for value in notes.iter().map(|note| note.as_ref().map(Note::encode)) {
                reading.record(&change(key, value.as_deref())).unwrap();
            }
            assert_eq!(reading.tell(&mut Vec::new()), NoteBook::new(), "nothing was lost");
        };
        say(&[Some(Note::new("gap", 5)), None]);
        assert!(!expected.heard(), "that was an earlier gap at the same place");
        say(&[Some(Note::new("gap", 7)), None]);
        assert!(expected.heard());
        assert_eq!(noted.known().as_deref(), Some(&NoteBook::new()));
    }

    fn change<'a>(key: &'a str, value: Option<&'a [u8]>) -> Change<'a> {
        Change { partition: 0, offset: 0, key: key.as_bytes(), value, timestamp: None }
    }

    #[test]
    fn notes_of_a_topic_that_was_made_anew_stand_and_are_written_again() {
        let (noted, heard) = Heard::new();
        let mut reading = Reading::new(&heard);
        let note = |at| Note::new("gap", at);
        for (key, at) in [("done", 1), ("said", 2), ("org", 3)] {
            reading.record(&change(key, Some(&note(at).encode()))).unwrap();
        }
        assert_eq!(reading.tell(&mut Vec::new()), NoteBook::new());
        reading.anew();
        // Somebody was quicker, and somebody has seen to what was noted.
        reading.record(&change("said", Some(&note(5).encode()))).unwrap();
        reading.record(&change("done", None)).unwrap();
        assert_eq!(noted.known().unwrap().len(), 3, "until the end is reached nothing has changed");
        assert_eq!(reading.tell(&mut Vec::new()), NoteBook::from([("org".to_owned(), note(3))]));
        let stands = NoteBook::from([("org".to_owned(), note(3)), ("said".to_owned(), note(5))]);
        assert_eq!(noted.known().as_deref(), Some(&stands));
        assert_eq!(reading.tell(&mut Vec::new()), NoteBook::new(), "once");
    }
}
