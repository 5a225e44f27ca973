//! What the outbox remembers of the org: which members exist, which statuses campaigns have, who is somebody else now.
//!
//! All are caches of answers that Salesforce gave. Losing an entry costs a query, a wrong one costs a retry: every
//! error that shows an entry to be wrong makes the outbox forget it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use hashbrown::HashMap;

use super::people::Became;
use super::row::Key;
use crate::id::SalesforceId;
use crate::time::Millis;
use crate::upsert::{Labels, Object};

/// Records of one generation, people, and values that were refused. An entry takes some 80, 60 and 40 bytes, two
/// generations are kept: at most 36 MB.
const GENERATION_MAX: usize = 100_000;

/// Campaigns whose statuses are remembered: more than are ever active at once; nine labels each, some 5 MB.
const CAMPAIGNS_MAX: usize = 10_000;

/// Somebody may delete a status, after which Salesforce would write the campaign's default without a word.
pub(super) const STATUSES_FRESH_MS: Millis = 600_000;

/// A missing campaign or status may be mended at any time; until then a burst of rows asks once.
const STATUSES_LACKING_FRESH_MS: Millis = 30_000;

/// What is known of a row's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Present(SalesforceId),
    /// There, under a record id that nobody has told yet.
    Exists,
    /// Looked up and not found.
    Absent,
    /// Not found, and Salesforce refused to make it.
    Refused,
}

/// What is known of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statuses {
    CampaignMissing,
    CampaignDeleted,
    Labels(Labels),
    /// Those that the campaign has. The others may not be made: a right is missing.
    Forbidden(Labels),
}

impl Statuses {
    pub fn has(&self, label: &str) -> bool {
        self.find(label).is_some()
    }

    /// The record of a status, where the campaign has it and Salesforce told.
    pub fn record(&self, label: &str) -> Option<SalesforceId> {
        self.find(label).and_then(|(_, record)| *record)
    }

    fn find(&self, label: &str) -> Option<(&String, &Option<SalesforceId>)> {
        match self {
            Self::CampaignMissing | Self::CampaignDeleted => None,
            Self::Labels(labels) | Self::Forbidden(labels) => {
                labels.iter().find(|(other, _)| other.eq_ignore_ascii_case(label))
            }
        }
    }
}

/// A bounded map: the whole older generation goes when the younger is full. No list of uses to keep, never more than
/// twice the bound.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V: Copy> Generations<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[derive(Debug, Default)]
pub struct Memory {
    /// Of rows that others have for parents, and of those that are sent otherwise as long as they are new.
    records: Generations<(Object, u128), Known>,
    /// People who are written as somebody else.
    people: Generations<SalesforceId, Became>,
    campaigns: BTreeMap<SalesforceId, (Statuses, Millis)>,
    /// Values that the org did not take, by a hash of row, field and value, with Salesforce's code.
    values: Generations<u64, &'static str>,
    /// Campaigns whose unknown members were there the last time that one was taken for new.
    populated: BTreeSet<SalesforceId>,
}

impl Memory {
    pub fn known(&self, key: &Key) -> Option<Known> {
        self.records.get(&key.print())
    }

    /// The id of a row's record, where it is known.
    pub fn record(&self, key: &Key) -> Option<SalesforceId> {
        match self.known(key) {
            Some(Known::Present(record)) => Some(record),
            Some(Known::Exists | Known::Absent | Known::Refused) | None => None,
        }
    }

    pub fn remember(&mut self, key: &Key, known: Known) {
        self.records.insert(key.print(), known);
    }

    pub fn forget(&mut self, key: &Key) {
        self.records.remove(&key.print());
    }

    pub fn became(&self, person: &SalesforceId) -> Option<Became> {
        self.people.get(person)
    }

    pub fn remember_person(&mut self, person: SalesforceId, became: Became) {
        self.people.insert(person, became);
    }

    pub fn refuse_value(&mut self, value: u64, code: &'static str) {
        self.values.insert(value, code);
    }

    pub fn refused_value(&self, value: u64) -> Option<&'static str> {
        self.values.get(&value)
    }

    /// Whether any value was refused.
    pub fn refuses_values(&self) -> bool {
        !self.values.young.is_empty()
    }

    /// Whether to send a member as a new one. Of one that is not known this is a guess, which costs a refusal where it is
    /// wrong: half of what asking costs always. Members of one campaign are mostly alike, so the last answer is the guess.
    pub fn takes_for_new(&self, key: &Key, campaign: &SalesforceId) -> bool {
        match self.known(key) {
            Some(Known::Absent | Known::Refused) => true,
            Some(Known::Present(_) | Known::Exists) => false,
            None => !self.populated.contains(campaign),
        }
    }

    /// A guess was wrong: the member is there, or is not.
    pub fn correct(&mut self, key: &Key, campaign: SalesforceId, exists: bool) {
        self.remember(key, if exists { Known::Exists } else { Known::Absent });
        if !exists {
            self.populated.remove(&campaign);
        } else if self.populated.len() < CAMPAIGNS_MAX {
            self.populated.insert(campaign);
        }
    }

    pub fn statuses(&self, campaign: &SalesforceId, now: Millis) -> Option<&Statuses> {
        self.campaigns.get(campaign).filter(|(_, fresh_until)| now < *fresh_until).map(|(statuses, _)| statuses)
    }

    /// What was last told of a campaign, however long ago.
    pub fn last_statuses(&self, campaign: &SalesforceId) -> Option<&Statuses> {
        self.campaigns.get(campaign).map(|(statuses, _)| statuses)
    }

    /// What is known of the campaign is to be asked for again.
    pub fn doubt_statuses(&mut self, campaign: &SalesforceId, now: Millis) {
        if let Some((_, fresh_until)) = self.campaigns.get_mut(campaign) {
            *fresh_until = now.min(*fresh_until);
        }
    }

    pub fn remember_statuses(&mut self, campaign: SalesforceId, statuses: Statuses, complete: bool, now: Millis) {
        if self.campaigns.len() >= CAMPAIGNS_MAX {
            self.campaigns.clear();
        }
        let fresh = if complete { STATUSES_FRESH_MS } else { STATUSES_LACKING_FRESH_MS };
        self.campaigns.insert(campaign, (statuses, now + fresh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_are_complete_are_read_again_after_ten_minutes() {
        let campaign = SalesforceId::parse("701000000000001").unwrap();
        let mut memory = Memory::default();
        memory.remember_statuses(campaign, Statuses::Labels([("Registered".into(), None)].into()), true, 0);
        assert!(memory.statuses(&campaign, 599_999).is_some());
        assert_eq!(memory.statuses(&campaign, 600_000), None, "somebody may have deleted one");
    }

    #[test]
    fn a_missing_status_is_asked_for_again_sooner() {
        let campaign = SalesforceId::parse("701000000000001").unwrap();
        let mut memory = Memory::default();
        memory.remember_statuses(campaign, Statuses::Labels([("Registered".into(), None)].into()), false, 0);
        assert!(memory.statuses(&campaign, STATUSES_LACKING_FRESH_MS - 1).is_some_and(|it| it.has("registered")));
        assert_eq!(memory.statuses(&campaign, STATUSES_LACKING_FRESH_MS), None);
    }
}
