//! A dead letter as it stands on its topic, and reading them all.

use rdkafka::Message;
use serde_json::{Value, json};
use tracing::warn;

use crate::cli::time;
use crate::config::Config;
use crate::dead_letter::{Cut, DeadLetter};
use crate::kafka::headers_of;
use crate::kafka::scan::{Bound, Next, Range, ScanError, Scanner};
use crate::time::Millis;

/// A dead letter and where it stands.
pub(super) struct Letter {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) content: DeadLetter,
    /// Why the rest of a cut record cannot be had. None: the record is whole, or nobody has asked for the rest.
    pub(super) lost: Option<&'static str>,
}

/// The letters that `wanted` takes, by partition and offset.
pub(super) fn letters(config: &Config, wanted: impl Fn(&Letter) -> bool) -> Result<Vec<Letter>, ScanError> {
    let mut letters = Vec::new();
    Scanner::new(config)?.read(&[Range::of(&config.topics.dead_letters)], |record| {
        let (partition, offset) = (record.partition(), record.offset());
        match DeadLetter::decode(record.payload().unwrap_or_default()) {
            Ok(content) => {
                let letter = Letter { partition, offset, content, lost: None };
                if wanted(&letter) {
                    letters.push(letter);
                }
            }
            Err(error) => warn!(partition, offset, %error, "not a dead letter of this version"),
        }
        Next::On
    })?;
    letters.sort_by_key(|letter| (letter.partition, letter.offset));
    Ok(letters)
}

/// Reads the records whole of which the letters hold the beginning, from where they stand.
pub(super) fn complete(config: &Config, letters: &mut [Letter]) -> Result<(), ScanError> {
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
    pub(super) fn stage(&self) -> &'static str {
        self.content.stage.name()
    }

    pub(super) fn reason(&self) -> &str {
        &self.content.reason
    }

    pub(super) fn topic(&self) -> &str {
        &self.content.topic
    }

    pub(super) fn at(&self) -> Millis {
        self.content.at
    }

    /// Where the letter stands.
    pub(super) fn position(&self) -> String {
        format!("{}/{}", self.partition, self.offset)
    }

    /// Where the record stood that was refused.
    pub(super) fn source(&self) -> String {
        format!("{}/{}/{}", self.content.topic, self.content.partition, self.content.offset)
    }

    /// Without key, value, headers and detail: nothing personal.
    pub(super) fn to_line_json(&self) -> Value {
        json!({
            "position": self.position(),
            "at": time(self.at()),
            "stage": self.stage(),
            "reason": self.reason(),
            "source": self.source(),
            "object": self.content.object,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let content = &self.content;
        let headers =
            content.headers.iter().map(|(key, value)| (key.clone(), value.as_deref().map_or(Value::Null, bytes)));
        json!({
            "position": self.position(),
            "at": time(self.at()),
            "stage": self.stage(),
            "reason": self.reason(),
            "detail": content.detail,
            "hint": content.hint,
            "attempts": content.attempts,
            "object": content.object,
            "external_id": content.external_id,
            "fields": content.fields,
            "cut": content.cut.as_ref().map(|cut| json!({ "value_bytes": cut.value_bytes, "xxh3": cut.digest })),
            "source": {
                "topic": content.topic,
                "partition": content.partition,
                "offset": content.offset,
                "timestamp": content.timestamp.map(time),
                "key": content.key.as_deref().map(bytes),
                "headers": headers.map(|(key, value)| json!([key, value])).collect::<Value>(),
                "value": content.value.as_deref().map(bytes),
            },
        })
    }
}

/// Text where it is one, as JSON where it is that; base64 otherwise.
fn bytes(bytes: &[u8]) -> Value {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let object = serde_json::from_str(text).ok().filter(Value::is_object);
            object.unwrap_or_else(|| text.into())
        }
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}
