//! Members whose rows may have changed though nothing new is known of them: they are derived again, some at a time.
//!
//! However many statements there are, one round goes through the members of a campaign: a statement that comes meanwhile
//! makes the round go on until all have been seen once more, from where it stands. A queue of members for each statement
//! would grow with both, and a round that began anew with each would never see the last of its members.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::event::SessionKey;
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;

/// Members of one campaign that follow each other before it is the next one's turn.
const TOGETHER: usize = 1_000;
/// Entries that are told apart in one round. Of more, all of the campaign are derived again.
const ENTRIES_MAX: usize = 1_000;

/// A member to derive again.
pub struct Stale {
    pub member: MemberKey,
    pub about: Arc<About>,
}

/// What has happened to a campaign since its members were derived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// To the campaign itself.
    all: Option<Cause>,
    entries: BTreeMap<String, Cause>,
}

/// Why something is derived again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Kafka timestamp of the statement.
    pub event_at: Millis,
    /// Nobody has stated anything: a start derives again.
    pub brought: bool,
}

impl Cause {
    /// Of two causes the one that somebody waits for: a statement, and the newer one.
    fn or(self, other: Self) -> Self {
        match (self.brought, other.brought) {
            (true, false) => other,
            (false, true) => self,
            _ => Self { event_at: self.event_at.max(other.event_at), ..self },
        }
    }
}

fn join(ours: &mut Option<Cause>, theirs: Option<Cause>) {
    *ours = ours.map_or(theirs, |ours| Some(theirs.map_or(ours, |theirs| ours.or(theirs))));
}

impl About {
    pub(super) fn of(key: &SessionKey, cause: Cause) -> Self {
        match &key.entry_id {
            Some(entry) => Self { all: None, entries: [(entry.clone(), cause)].into() },
            None => Self::everything(cause),
        }
    }

    pub(super) fn everything(cause: Cause) -> Self {
        Self { all: Some(cause), entries: BTreeMap::new() }
    }

    /// Why the member's own row is derived again.
    pub fn member(&self) -> Option<Cause> {
        let mut cause = self.all;
        self.entries.values().for_each(|of_entry| join(&mut cause, Some(*of_entry)));
        cause
    }

    /// Why the rows of an entry are. None: nothing has happened to it.
    pub fn entry(&self, entry_id: &str) -> Option<Cause> {
        let mut cause = self.all;
        join(&mut cause, self.entries.get(entry_id).copied());
        cause
    }

    pub(super) fn add(&mut self, other: Self) {
        join(&mut self.all, other.all);
        for (entry, cause) in other.entries {
            let known = self.entries.entry(entry).or_insert(cause);
            *known = known.or(cause);
        }
        if self.entries.len() > ENTRIES_MAX {
            self.all = self.member();
            self.entries.clear();
        }
    }
}

/// Members in memory that are to be derived again.
#[derive(Default)]
pub(super) struct Rounds {
    by_campaign: BTreeMap<SalesforceId, Round>,
    /// Whose turn it is, and how many of its members have followed each other.
    turn: Option<(SalesforceId, usize)>,
    /// Found on disk; they go first.
    found: VecDeque<Stale>,
}

struct Round {
    about: Arc<About>,
    members: Vec<SalesforceId>,
    next: usize,
    left: usize,
}

impl Rounds {
    pub fn knows(&self, campaign: SalesforceId) -> bool {
        self.by_campaign.contains_key(&campaign)
    }

    /// All of these are to be derived again; they are all of the campaign's where a round is under way.
    pub fn add(&mut self, campaign: SalesforceId, mut about: About, members: Vec<SalesforceId>) {
        let mut next = 0;
        if let Some(round) = self.by_campaign.remove(&campaign) {
            about.add(Arc::unwrap_or_clone(round.about));
            next = round.next;
        }
        let left = members.len();
        if left > 0 {
            let next = next % left;
            self.by_campaign.insert(campaign, Round { about: Arc::new(about), members, next, left });
        }
    }

    pub fn found(&mut self, stale: Stale) {
        self.found.push_back(stale);
    }

    pub fn next(&mut self) -> Option<Stale> {
        if let Some(found) = self.found.pop_front() {
            return Some(found);
        }
        let campaign = self.whose_turn()?;
        let round = self.by_campaign.get_mut(&campaign)?;
        let person = round.members.get(round.next).copied();
        round.next = (round.next + 1) % round.members.len().max(1);
        round.left = round.left.saturating_sub(1);
        let about = Arc::clone(&round.about);
        if round.left == 0 {
            self.by_campaign.remove(&campaign);
        }
        Some(Stale { member: MemberKey { campaign, person: person? }, about })
    }

    fn whose_turn(&mut self) -> Option<SalesforceId> {
        let (campaign, count) = match self.turn.filter(|(campaign, count)| *count < TOGETHER && self.knows(*campaign)) {
            Some((campaign, count)) => (campaign, count),
            None => (self.next_campaign()?, 0),
        };
        self.turn = Some((campaign, count + 1));
        Some(campaign)
    }

    fn next_campaign(&self) -> Option<SalesforceId> {
        let last = self.turn.map_or(Bound::Unbounded, |(campaign, _)| Bound::Excluded(campaign));
        let behind = self.by_campaign.range((last, Bound::Unbounded)).next();
        behind.or_else(|| self.by_campaign.first_key_value()).map(|(campaign, _)| *campaign)
    }

    pub fn left(&self) -> usize {
        self.found.len() + self.by_campaign.values().map(|round| round.left).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.by_campaign.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Members on disk that are still to be looked for.
pub(super) struct DiskScan {
    /// None: of every campaign.
    pub campaign: Option<SalesforceId>,
    pub about: Arc<About>,
    /// Key of the last member that was looked at.
    pub after: Vec<u8>,
    /// Where the scan began anew: it ends there, once it has come around.
    until: Option<Vec<u8>>,
    around: bool,
}

impl DiskScan {
    pub fn new(campaign: Option<SalesforceId>, about: About) -> Self {
        Self { campaign, about: Arc::new(about), after: Vec::new(), until: None, around: false }
    }

    /// Everything is to be looked at once more, from where it stands.
    pub fn again(&mut self, about: About) {
        Arc::make_mut(&mut self.about).add(about);
        self.around = false;
        self.until = (!self.after.is_empty()).then(|| self.after.clone());
    }

    /// What is left of these keys, which follow the last ones. False where the scan is done with them.
    pub fn look_at(&mut self, keys: &mut Vec<Vec<u8>>) -> bool {
        if let Some(last) = keys.last() {
            self.after.clone_from(last);
            if let Some(until) = self.until.as_ref().filter(|_| self.around) {
                keys.retain(|key| key <= until);
                return self.after < *until;
            }
            return true;
        }
        // The end. What lies before the place where it began anew is still to be looked at.
        self.after.clear();
        !std::mem::replace(&mut self.around, true) && self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const STATED: Cause = Cause { event_at: 5, brought: false };

    fn campaign(number: u8) -> SalesforceId {
        SalesforceId::parse(&format!("70103000000cn{number:02}")).unwrap()
    }

    fn people(count: u32) -> Vec<SalesforceId> {
        (0..count).map(|number| SalesforceId::parse(&format!("00Q{number:012}")).unwrap()).collect()
    }

    fn about(entry: &str) -> About {
        About::of(&SessionKey { campaign: campaign(1), entry_id: Some(entry.to_owned()) }, STATED)
    }

    #[test]
    fn a_hundred_statements_are_one_round() {
        let mut rounds = Rounds::default();
        for number in 0..100 {
            rounds.add(campaign(1), about(&number.to_string()), people(5_000));
            assert_eq!(rounds.left(), 5_000);
        }
        let seen: Vec<Stale> = std::iter::from_fn(|| rounds.next()).collect();
        let members: BTreeSet<MemberKey> = seen.iter().map(|stale| stale.member).collect();
        assert_eq!((seen.len(), members.len()), (5_000, 5_000));
        assert!(seen.iter().all(|stale| stale.about.entry("7").is_some() && stale.about.entry("100").is_none()));
    }

    #[test]
    fn statements_that_never_end_keep_nobody_from_a_turn() {
        let mut rounds = Rounds::default();
        let mut seen = BTreeSet::new();
        // Ten members between two statements, about two campaigns of a thousand and a half each.
        for _ in 0..400 {
            for number in 1..=2 {
                rounds.add(campaign(number), about("1"), people(1_500));
            }
            seen.extend(rounds.next().map(|stale| stale.member));
            seen.extend(std::iter::from_fn(|| rounds.next()).take(9).map(|stale| stale.member));
        }
        assert_eq!(seen.len(), 3_000);
    }

    #[test]
    fn whoever_was_seen_before_the_last_statement_is_seen_again() {
        let mut rounds = Rounds::default();
        rounds.add(campaign(1), about("1"), people(10));
        let first: Vec<MemberKey> = std::iter::from_fn(|| rounds.next()).take(4).map(|stale| stale.member).collect();
        rounds.add(campaign(1), about("2"), people(10));
        let then: Vec<Stale> = std::iter::from_fn(|| rounds.next()).collect();
        assert_eq!(then.len(), 10);
        assert!(then.iter().all(|stale| stale.about.entry("1").is_some() && stale.about.entry("2").is_some()));
        assert!(then[6..].iter().map(|stale| stale.member).eq(first), "those who have waited longest come first");
    }

    #[test]
    fn what_somebody_waits_for_is_the_cause() {
        let brought = Cause { event_at: 9, brought: true };
        let mut both = About::everything(brought);
        both.add(about("1"));
        assert_eq!((both.member(), both.entry("1"), both.entry("2")), (Some(STATED), Some(STATED), Some(brought)));
        let mut many = About::default();
        (0..=ENTRIES_MAX).for_each(|number| many.add(about(&number.to_string())));
        assert_eq!(many, About::everything(STATED), "too many to tell apart");
    }

    #[test]
    fn a_scan_that_begins_anew_goes_around_once() {
        let keys: Vec<Vec<u8>> = (10..30_u8).map(|key| vec![key]).collect();
        let mut scan = DiskScan::new(None, about("1"));
        let (mut seen, mut anew) = (Vec::new(), 0);
        loop {
            let mut next: Vec<_> = keys.iter().filter(|key| **key > scan.after).take(3).cloned().collect();
            let goes_on = scan.look_at(&mut next);
            seen.extend(next);
            assert!(seen.len() < 100, "it ends");
            if !goes_on {
                break;
            }
            if seen.len() == 6 || seen.len() == 24 {
                anew = seen.len();
                scan.again(about("2"));
            }
        }
        let last: BTreeSet<_> = seen[anew..].iter().collect();
        assert_eq!((last.len(), seen.len() - anew), (20, 20), "each once since the last statement: {seen:?}");
    }
}
