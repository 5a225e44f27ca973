//! What is known of `rollbook.notes`: the newest note of each key, read whole and followed, for every stage.
//!
//! Whoever decides by what stands there must know how new that is: it waits until a note was heard that is to be written, or
//! until all is heard that stood there when it asked. What is known alone is a moment old, in which somebody may have
//! written a note and gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdkafka::error::KafkaResult;
use tokio::sync::watch;
use tracing::{info, warn};

use super::changelog::{Changelog, Log};
use super::foreign::Foreign;
use crate::note::{Note, NoteBook};

/// How long one read of the topic may take before a shutdown is noticed, or who wants to catch up.
const READ_FOR: Duration = Duration::from_millis(200);
/// A broker that is away is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);

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

    /// Changes whenever `known` does: for a task that waits. A receiver whose follower has ended is an error to wait for.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<NoteBook>>> {
        self.known.clone()
    }
}

/// Reads the topic for all of them.
pub struct Follower<L> {
    topic: String,
    /// Makes another client.
    log: Box<dyn Fn() -> KafkaResult<L> + Send>,
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

impl<L: Log> Follower<L> {
    /// Everybody's view, and what must be run on a thread of its own for it to show anything.
    pub fn new(topic: &str, log: impl Fn() -> KafkaResult<L> + Send + 'static) -> (Noted, Self) {
        let (noted, heard) = Heard::new();
        (noted, Self { topic: topic.to_owned(), log: Box::new(log), heard })
    }

    /// Follows until it is told to stop; does what is to be done `beside` at each turn. Blocks.
    pub fn run(self, stopped: impl Fn() -> bool, mut beside: impl FnMut()) {
        let Some(mut changelog) = self.open(&stopped) else { return };
        let (mut book, mut heard, mut foreign) = (NoteBook::new(), Vec::new(), Foreign::default());
        let (mut news, mut behind) = (true, Vec::new());
        while !stopped() {
            beside();
            let asked = std::mem::take(&mut *self.heard.behind.all());
            if !asked.is_empty() {
                behind.extend(asked);
                changelog.to_the_end_again();
            }
            let read = changelog.read(READ_FOR, |change| {
                apply(&mut book, (change.key, change.value))
                    .unwrap_or_else(|why| foreign.add(change.partition, change.offset, why));
                heard.extend(self.heard.awaited(change.key, change.value));
                news = true;
            });
            if read.is_err() || changelog.stalled() {
                let error = read.err().map_or_else(|| "it does not get on".to_owned(), |error| error.to_string());
                warn!(error, "the notes cannot be read; reading them anew");
                changelog.pause(PAUSE);
                let Some(anew) = self.open(&stopped) else { return };
                (changelog, book, news) = (anew, NoteBook::new(), true);
                continue;
            }
            if changelog.finished() {
                foreign.tell(&self.topic);
            }
            if changelog.finished() && (news || !behind.is_empty()) {
                if self.heard.told.borrow().is_none() {
                    info!(notes = book.len(), "notes read");
                }
                news = false;
                self.heard.tell(&book, std::mem::take(&mut heard), &std::mem::take(&mut behind));
            }
        }
    }

    fn open(&self, stopped: &impl Fn() -> bool) -> Option<Changelog<L>> {
        let mut told = false;
        while !stopped() {
            match (self.log)() {
                Ok(log) => {
                    if let Some(changelog) = Changelog::open_whole(log, &self.topic, PAUSE) {
                        return Some(changelog);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(%error, "no client for the notes; trying again");
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
        None
    }
}

/// Or why it is no note.
pub(super) fn apply(book: &mut NoteBook, (key, value): (&[u8], Option<&[u8]>)) -> Result<(), &'static str> {
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
    Ok(())
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
        let say = |notes: &[Option<Note>]| {
            let (mut book, mut found) = (NoteBook::new(), Vec::new());
            for value in notes.iter().map(|note| note.as_ref().map(Note::encode)) {
                apply(&mut book, (key.as_bytes(), value.as_deref())).unwrap();
                found.extend(heard.awaited(key.as_bytes(), value.as_deref()));
            }
            heard.tell(&book, found, &[]);
        };
        say(&[Some(Note::new("gap", 5)), None]);
        assert!(!expected.heard(), "that was an earlier gap at the same place");
        say(&[Some(Note::new("gap", 7)), None]);
        assert!(expected.heard());
        assert_eq!(noted.known().as_deref(), Some(&NoteBook::new()));
    }
}
