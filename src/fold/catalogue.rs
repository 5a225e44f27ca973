//! What is known of entries and campaigns: the newest statement about each, whole.
//!
//! A statement that leaves something out clears it; merging statements field by field would keep what the source has
//! taken back.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::event::{Session, SessionKey};
use crate::id::SalesforceId;
use crate::time::Millis;

/// The session catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    campaigns: BTreeMap<SalesforceId, Campaign>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Campaign {
    /// The statement about the campaign itself.
    own: Option<Session>,
    entries: BTreeMap<String, Session>,
}

impl Catalogue {
    /// Takes a statement if it is the newest about its key. Returns whether the catalogue changed.
    pub fn apply(&mut self, session: Session) -> bool {
        let known = self.get(session.key.campaign, session.key.entry_id.as_deref());
        if known.is_some_and(|known| order(known) >= order(&session)) {
            return false;
        }
        let campaign = self.campaigns.entry(session.key.campaign).or_default();
        match session.key.entry_id.clone() {
            Some(entry) => {
                campaign.entries.insert(entry, session);
            }
            None => campaign.own = Some(session),
        }
        true
    }

    /// Entries and campaigns that something is known of.
    pub fn len(&self) -> usize {
        self.campaigns.values().map(|campaign| campaign.entries.len() + usize::from(campaign.own.is_some())).sum()
    }

    /// Equal catalogues have equal digests. Never 0, which stands for "not known".
    pub fn digest(&self) -> u64 {
        let statements = self.campaigns.values().flat_map(|it| it.own.iter().chain(it.entries.values()));
        statements.fold(0, |sum: u64, session| sum.wrapping_add(xxh3_64(&session.encode()))).max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What something is known of.
    pub fn keys(&self) -> impl Iterator<Item = &SessionKey> {
        self.campaigns.values().flat_map(|it| it.own.iter().chain(it.entries.values())).map(|session| &session.key)
    }

    /// Makes the key unknown again. Returns whether it was known.
    pub fn remove(&mut self, key: &SessionKey) -> bool {
        let Some(campaign) = self.campaigns.get_mut(&key.campaign) else { return false };
        let removed = match &key.entry_id {
            Some(entry) => campaign.entries.remove(entry).is_some(),
            None => campaign.own.take().is_some(),
        };
        if campaign.own.is_none() && campaign.entries.is_empty() {
            self.campaigns.remove(&key.campaign);
        }
        removed
    }

    /// The statement about the entry; without an entry, about the campaign itself.
    pub fn get(&self, campaign: SalesforceId, entry: Option<&str>) -> Option<&Session> {
        let campaign = self.campaigns.get(&campaign)?;
        match entry {
            Some(entry) => campaign.entries.get(entry),
            None => campaign.own.as_ref(),
        }
    }

    /// Start of the entry, else of the campaign; each as it happened, else as planned.
    pub fn start(&self, campaign: SalesforceId, entry: Option<&str>) -> Option<Millis> {
        let start = |session: &Session| session.actual_start.or(session.scheduled_start);
        let of_entry = entry.and_then(|entry| self.get(campaign, Some(entry)));
        of_entry.and_then(start).or_else(|| self.get(campaign, None).and_then(start))
    }
}

/// Newest first of all; what the statements say breaks the last tie.
fn order(session: &Session) -> impl Ord + '_ {
    let stamp = (session.updated_at, &session.source, &session.event_id);
    let times = [session.scheduled_start, session.scheduled_end, session.actual_start, session.actual_end];
    (stamp, &session.name, session.channel_id, &session.channel_name, times, session.duration_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(entry: Option<&str>, updated_at: Millis, name: Option<&str>) -> Session {
        let campaign = SalesforceId::parse("70103000000cnFX").expect("an id");
        let key = SessionKey { campaign, entry_id: entry.map(str::to_owned) };
        Session { name: name.map(str::to_owned), ..Session::blank(key, updated_at, "s", "e") }
    }

    #[test]
    fn the_newest_statement_wins_whole() {
        let mut catalogue = Catalogue::default();
        let newest = session(Some("1_a"), 2, None);
        assert!(catalogue.apply(session(Some("1_a"), 1, Some("old"))));
        assert!(catalogue.apply(newest.clone()));
        assert!(!catalogue.apply(session(Some("1_a"), 1, Some("old"))));
        assert_eq!(catalogue.get(newest.key.campaign, Some("1_a")), Some(&newest));
        assert_eq!(catalogue.get(newest.key.campaign, None), None);
    }

    #[test]
    fn a_tie_does_not_depend_on_arrival() {
        let (a, b) = (session(None, 1, Some("a")), session(None, 1, Some("b")));
        let mut first = Catalogue::default();
        first.apply(a.clone());
        first.apply(b.clone());
        let mut second = Catalogue::default();
        second.apply(b);
        assert!(!second.apply(a));
        assert_eq!(first, second);
    }

    #[test]
    fn a_tombstone_makes_it_unknown() {
        let mut catalogue = Catalogue::default();
        let known = session(Some("1_a"), 1, Some("a"));
        catalogue.apply(known.clone());
        assert!(catalogue.remove(&known.key));
        assert!(!catalogue.remove(&known.key));
        assert_eq!(catalogue, Catalogue::default());
    }

    #[test]
    fn an_entry_without_a_start_has_the_campaigns() {
        let mut catalogue = Catalogue::default();
        let entry = session(Some("1_a"), 1, None);
        catalogue.apply(entry.clone());
        catalogue.apply(Session { scheduled_start: Some(7), ..session(None, 1, None) });
        assert_eq!(catalogue.start(entry.key.campaign, Some("1_a")), Some(7));
        catalogue.apply(Session { updated_at: 2, scheduled_start: Some(5), ..entry.clone() });
        assert_eq!(catalogue.start(entry.key.campaign, Some("1_a")), Some(5));
        catalogue.apply(Session { updated_at: 3, scheduled_start: Some(5), actual_start: Some(6), ..entry.clone() });
        assert_eq!(catalogue.start(entry.key.campaign, Some("1_a")), Some(6));
    }
}
