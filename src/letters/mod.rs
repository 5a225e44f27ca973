//! Dead letters as they stand on their topic: which of them are meant, what they hold, and sending that again.
//!
//! The records themselves are of the core (`dead_letter`, `outcome`). What is found here is shown by the command line, and
//! by every tool that sees to what was refused.

pub mod left_out;
mod meant;
pub mod redrive;

use rdkafka::Message;
use tracing::warn;

use crate::config::Config;
use crate::dead_letter::{Cut, DeadLetter};
use crate::kafka::headers_of;
use crate::kafka::scan::{Bound, Next, Range, ScanError, Scanner};
use crate::time::Millis;

pub use meant::{Filter, Position};

/// A letter and an outcome say when they were made, and their record is written after that, by a clock that may differ or
/// be set back by so much.
const CLOCKS_DIFFER: Millis = 60 * 60 * 1_000;

/// A dead letter and where it stands.
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    pub content: DeadLetter,
    /// Why the rest of a cut record cannot be had. None: the record is whole, or nobody has asked for the rest.
    pub lost: Option<&'static str>,
}

/// The letters since a time that `wanted` takes, by partition and offset.
pub fn letters(
    config: &Config,
    since: Option<Millis>,
    wanted: impl Fn(&Letter) -> bool,
) -> Result<Vec<Letter>, ScanError> {
    kept(config, since, |letter| wanted(&letter).then_some(letter))
}

/// The letters that a filter takes, without the records that were refused: as many as there are fit into memory.
pub fn listed(config: &Config, filter: &Filter) -> Result<Vec<Letter>, ScanError> {
    kept(config, filter.since, |letter| filter.takes(&letter).then(|| letter.without_record()))
}

fn kept(
    config: &Config,
    since: Option<Millis>,
    keep: impl Fn(Letter) -> Option<Letter>,
) -> Result<Vec<Letter>, ScanError> {
    let mut letters = Vec::new();
    Scanner::new(config)?.read(&[written_since(&config.topics.dead_letters, since)], |record| {
        let (partition, offset) = (record.partition(), record.offset());
        match DeadLetter::decode(record.payload().unwrap_or_default()) {
            Ok(content) => letters.extend(keep(Letter { partition, offset, content, lost: None })),
            Err(error) => warn!(partition, offset, %error, "not a dead letter of this version"),
        }
        Next::On
    })?;
    letters.sort_by_key(|letter| (letter.partition, letter.offset));
    Ok(letters)
}

/// What was made since a time, and a little of what was made before.
fn written_since(topic: &str, since: Option<Millis>) -> Range {
    Range::of(topic).from(since.map_or(Bound::Open, |since| Bound::Time(since.saturating_sub(CLOCKS_DIFFER))))
}

/// Reads the records whole of which the letters hold the beginning, from where they stand.
fn complete(config: &Config, letters: &mut [Letter]) -> Result<(), ScanError> {
    for letter in letters {
        if let Some(cut) = letter.content.cut.take() {
            letter.lost = read_whole(config, &mut letter.content, &cut)?.err();
        }
    }
    Ok(())
}

fn read_whole(config: &Config, content: &mut DeadLetter, cut: &Cut) -> Result<Result<(), &'static str>, ScanError> {
    const GONE: &str = "the letter holds its beginning alone, and its topic no longer has the record";
    const OTHER: &str =
        "the letter holds its beginning alone, and another record stands in its place: the topic was made anew";
    let scanner = Scanner::new(config)?;
    let (low, high) = scanner.ends(&content.topic, content.partition)?;
    if !(low..high).contains(&content.offset) {
        return Ok(Err(GONE));
    }
    let (from, until) = (Bound::Offset(content.offset), Bound::Offset(content.offset + 1));
    let range = Range::of(&content.topic).partitions([content.partition]).from(from).until(until);
    let mut found = Err(GONE);
    scanner.read(&[range], |record| {
        let value = record.payload().unwrap_or_default();
        found = if Cut::of(value) == *cut { Ok(()) } else { Err(OTHER) };
        if found.is_ok() {
            content.key = record.key().map(<[u8]>::to_vec);
            content.value = record.payload().map(<[u8]>::to_vec);
            content.headers = headers_of(record);
        }
        Next::Enough
    })?;
    Ok(found)
}

impl Letter {
    fn without_record(mut self) -> Self {
        (self.content.key, self.content.value) = (None, None);
        self.content.headers = Vec::new();
        self
    }

    pub fn stage(&self) -> &'static str {
        self.content.stage.name()
    }

    pub fn reason(&self) -> &str {
        &self.content.reason
    }

    pub fn topic(&self) -> &str {
        &self.content.topic
    }

    pub fn at(&self) -> Millis {
        self.content.at
    }

    /// Where the letter stands.
    pub fn position(&self) -> String {
        format!("{}/{}", self.partition, self.offset)
    }

    /// Where the record stood that was refused.
    pub fn source(&self) -> String {
        format!("{}/{}/{}", self.content.topic, self.content.partition, self.content.offset)
    }
}
