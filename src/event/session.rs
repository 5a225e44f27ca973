//! The session catalogue's records: what is known of an entry, or of a campaign.

use crate::avro::{self, Writer};

use super::Refusal;
use crate::id::SalesforceId;
use crate::time::Millis;

/// What a statement is about. Without an entry: the campaign itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    pub campaign: SalesforceId,
    pub entry_id: Option<String>,
}

/// One statement, whole: what it does not say is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub key: SessionKey,
    pub updated_at: Millis,
    pub source: String,
    pub event_id: String,
    /// Texts are trimmed; None where blank.
    pub name: Option<String>,
    pub channel_id: Option<i64>,
    pub channel_name: Option<String>,
    pub scheduled_start: Option<Millis>,
    pub scheduled_end: Option<Millis>,
    pub actual_start: Option<Millis>,
    pub actual_end: Option<Millis>,
    pub duration_ms: Option<i64>,
}

impl SessionKey {
    /// `{campaign_id}_{entry_id}`, or `{campaign_id}`.
    pub fn to_text(&self) -> String {
        match &self.entry_id {
            Some(entry_id) => format!("{}_{entry_id}", self.campaign),
            None => self.campaign.to_string(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (campaign, entry) = text.split_once('_').unwrap_or((text, ""));
        let entry = entry.trim();
        let entry_id = (!entry.is_empty()).then(|| entry.to_owned());
        let campaign = SalesforceId::parse(campaign).filter(|id| id.has_prefix("701"))?;
        Some(Self { campaign, entry_id })
    }
}

impl Session {
    /// A statement that says nothing yet.
    pub fn blank(key: SessionKey, updated_at: Millis, source: &str, event_id: &str) -> Self {
        Self {
            key,
            updated_at,
            source: source.to_owned(),
            event_id: event_id.to_owned(),
            name: None,
            channel_id: None,
            channel_name: None,
            scheduled_start: None,
            scheduled_end: None,
            actual_start: None,
            actual_end: None,
            duration_ms: None,
        }
    }

    /// Whether it says the same as another, whenever and by whomever.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { updated_at: _, source: _, event_id: _, key, name, channel_name, .. } = self;
        let texts = (key, name, channel_name) == (&other.key, &other.name, &other.channel_name);
        let numbers = |it: &Self| {
            let times = [it.scheduled_start, it.scheduled_end, it.actual_start, it.actual_end, it.duration_ms];
            (it.channel_id, times)
        };
        texts && numbers(self) == numbers(other)
    }

    /// As the schema `session` has it, single-object encoded.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::object(&avro::SESSION);
        out.option(Some(self.event_id.as_str()), Writer::text);
        out.option(Some(self.source.as_str()), Writer::text);
        out.option(Some(self.updated_at), Writer::long);
        out.option(Some(self.key.campaign.as_str()), Writer::text);
        out.option(self.key.entry_id.as_deref(), Writer::text);
        out.option(self.name.as_deref(), Writer::text);
        out.option(self.channel_id, Writer::long);
        out.option(self.channel_name.as_deref(), Writer::text);
        for time in [self.scheduled_start, self.scheduled_end, self.actual_start, self.actual_end, self.duration_ms] {
            out.option(time, Writer::long);
        }
        // `fields`: the catalogue keeps none.
        out.long(0);
        out.0
    }
}

/// What decoding makes of one record of the sessions topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodedSession {
    Session(Session),
    /// A record without value: nothing is known any more.
    Tombstone(SessionKey),
    /// A dead letter.
    Refused(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_something_and_when_is_nothing_that_it_says() {
        let campaign = SalesforceId::parse("70103000000cnFX").unwrap();
        let session = Session::blank(SessionKey { campaign, entry_id: None }, 1, "s", "e");
        let later = Session { updated_at: 2, source: "t".to_owned(), event_id: "f".to_owned(), ..session.clone() };
        assert!(session.says_the_same(&later));
        let text = || Some("a".to_owned());
        let other_key = SessionKey { campaign, entry_id: text() };
        for other in [
            Session { key: other_key, ..session.clone() },
            Session { name: text(), ..session.clone() },
            Session { channel_id: Some(1), ..session.clone() },
            Session { channel_name: text(), ..session.clone() },
            Session { scheduled_start: Some(1), ..session.clone() },
            Session { scheduled_end: Some(1), ..session.clone() },
            Session { actual_start: Some(1), ..session.clone() },
            Session { actual_end: Some(1), ..session.clone() },
            Session { duration_ms: Some(1), ..session.clone() },
        ] {
            assert!(!session.says_the_same(&other), "{other:?}");
        }
    }
}
