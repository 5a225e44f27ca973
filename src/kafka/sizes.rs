//! Records that are larger than their topics take.
//!
//! Such a record is refused for ever, and everything behind it would wait. Which one it is the broker says of a whole
//! batch: the records of the batch are sent once more, each in a batch of its own, and what is refused then has another
//! one put in its place, a dead letter. Where there can be none, the topic's setting is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use tracing::error;

use super::records::{Outgoing, Records};
use crate::config::Topics;
use crate::time::Millis;
use crate::topic_table::Topic;

/// Pause before the next attempt where nothing was learned of this one.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(200);
/// The same where only a change of a topic's settings helps.
const SETTING_PAUSE: Duration = Duration::from_secs(5);

/// What is written in the place of a record that is too large.
pub struct Substitute {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Option<OwnedHeaders>,
    /// Topic of the record that the letter is about.
    pub about: String,
}

/// Makes the dead letter of a record that is larger than its topic takes. None: there can be none.
pub type Substitutes = dyn Fn(Topic, &Outgoing<'_>, Millis) -> Option<Substitute> + Send;

/// A record that was too large: the topic that it was for, and the topic that its letter is about.
pub type TooLarge = (Topic, String);

/// What is known of the sizes of a transaction's records.
#[derive(Default)]
pub(super) struct Sizes {
    /// Places of records that were in a batch that was too large: they are sent in batches of their own.
    pub apart: BTreeSet<usize>,
    /// What has a letter in its place.
    pub too_large: Vec<TooLarge>,
}

impl Sizes {
    /// Sees to it that the next attempt is another one. Returns how long to wait for it.
    pub fn mend(
        &mut self,
        (topics, records): (&Topics, &mut Records),
        refused: &[usize],
        substitute: impl Fn(Topic, &Outgoing<'_>) -> Option<Substitute>,
    ) -> Duration {
        let mut pause = if refused.is_empty() { UNKNOWN_PAUSE } else { Duration::ZERO };
        for place in refused {
            // It may be another one of its batch.
            if self.apart.insert(*place) {
                continue;
            }
            let Some((topic, record)) = records.get(*place) else { continue };
            let Some(Substitute { key, value, headers, about }) = substitute(topic, &record) else {
                let bytes = record.value.map_or(0, <[u8]>::len);
                error!(
                    topic = topic.name(topics),
                    bytes, "a record is larger than its topic takes, and is waited with; hint: rollbook topics check"
                );
                pause = SETTING_PAUSE;
                continue;
            };
            let letter = Outgoing { key: key.as_deref(), value: Some(&value), headers, ..Outgoing::default() };
            records.replace(*place, Topic::DeadLetters, letter);
            self.too_large.push((topic, about));
        }
        pause
    }
}
