//! Rows that were written since the statuses of their campaign were last read.
//!
//! Salesforce does not refuse a status that a campaign lacks: it writes the campaign's default without a word. That one
//! is gone shows when they are read again, or that it was made anew meanwhile, by whomever, as another record. So a row
//! is kept until a reading that was asked for after its answer shows the record that its status had when it was sent.
//! Where it shows another one, or none, the row is sent again, and the committed offset goes back below it until it was.
//!
//! To read the rows from the topic again, once a status is gone, would keep less in memory. But what is read for the second time
//! would have to find its order among what is read for the first, and a member's row is small. No row is kept of which
//! a newer version was read, so that none passes it; none of a partition that is somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::{STATUSES_FRESH_MS, Statuses};
use super::row::{Key, Source, Version};
use super::{Effect, Outbox, RequestId};
use crate::disposition::Retry;
use crate::id::{MemberKey, SalesforceId};
use crate::time::Millis;
use crate::upsert::{Object, Source as ValueSource};

/// Rows that are kept; with as many, the statuses are read ahead of time. Some 25 MB, and a call more for fifty full ones.
/// A job's rows come all at once, and may be three times as many more until that reading.
pub(super) const ROWS_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Written {
    campaigns: BTreeMap<SalesforceId, OfCampaign>,
    /// When the statuses of a campaign are read though no row asks for them.
    due: BTreeSet<(Millis, SalesforceId)>,
    rows: usize,
}

#[derive(Debug)]
struct OfCampaign {
    rows: BTreeMap<Key, Box<Kept>>,
    due: Millis,
}

#[derive(Debug)]
struct Kept {
    source: Source,
    label: Box<str>,
    /// The record of its status when it was sent, where that was told.
    status: Option<SalesforceId>,
    /// The newest call when its answer came.
    newest: RequestId,
}

impl Kept {
    /// Whether the campaign has had the row's status all the time.
    fn stands(&self, statuses: &Statuses) -> bool {
        let same = |record| self.status.is_none_or(|status| status == record);
        statuses.has(&self.label) && statuses.record(&self.label).is_none_or(same)
    }
}

impl Written {
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn keep(&mut self, campaign: SalesforceId, key: Key, kept: Box<Kept>, due: Millis) {
        let of_campaign = self.campaigns.entry(campaign).or_insert_with(|| {
            self.due.insert((due, campaign));
            OfCampaign { rows: BTreeMap::new(), due }
        });
        self.rows += usize::from(of_campaign.rows.insert(key, kept).is_none());
    }

    /// A newer version of the row was read.
    pub fn forget(&mut self, member: &MemberKey, key: &Key) {
        let Some(of_campaign) = self.campaigns.get_mut(&member.campaign) else { return };
        if !has_status(key.object) {
            return;
        }
        self.rows -= usize::from(of_campaign.rows.remove(key).is_some());
        self.let_go_of_empty(member.campaign);
    }

    pub fn drop_partitions(&mut self, leaves: impl Fn(i32) -> bool) {
        for of_campaign in self.campaigns.values_mut() {
            of_campaign.rows.retain(|_, kept| !leaves(kept.source.position.partition));
        }
        self.rows = self.campaigns.values().map(|of_campaign| of_campaign.rows.len()).sum();
        for campaign in self.campaigns.keys().copied().collect::<Vec<_>>() {
            self.let_go_of_empty(campaign);
        }
    }

    fn let_go_of_empty(&mut self, campaign: SalesforceId) {
        if self.campaigns.get(&campaign).is_some_and(|of_campaign| of_campaign.rows.is_empty())
            && let Some(empty) = self.campaigns.remove(&campaign)
        {
            self.due.remove(&(empty.due, campaign));
        }
    }

    /// Campaigns whose statuses are to be read.
    pub fn due(&self, now: Millis) -> impl Iterator<Item = SalesforceId> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, campaign)| *campaign)
    }

    pub fn due_at(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    fn ask_by(&mut self, campaign: SalesforceId, at: Millis) {
        if self.campaigns.get(&campaign).is_some_and(|of_campaign| of_campaign.due > at) {
            self.put_off(campaign, at);
        }
    }

    pub fn put_off(&mut self, campaign: SalesforceId, until: Millis) {
        let Some(of_campaign) = self.campaigns.get_mut(&campaign) else { return };
        self.due.remove(&(of_campaign.due, campaign));
        of_campaign.due = until;
        self.due.insert((until, campaign));
    }

    /// Takes the statuses as the call of this number told them; the rows that are to be sent again.
    fn told(&mut self, campaign: SalesforceId, statuses: &Statuses, asked: RequestId, now: Millis) -> Vec<Source> {
        let Some(mut of_campaign) = self.campaigns.remove(&campaign) else { return Vec::new() };
        self.due.remove(&(of_campaign.due, campaign));
        self.rows -= of_campaign.rows.len();
        if matches!(statuses, Statuses::CampaignMissing | Statuses::CampaignDeleted) {
            // Its members went with it.
            return Vec::new();
        }
        let gone = of_campaign.rows.extract_if(.., |_, kept| !kept.stands(statuses));
        let gone = gone.map(|(_, kept)| kept.source).collect();
        // The newest call may be this very reading, on its way while the row's answer came: it may have read before.
        of_campaign.rows.retain(|_, kept| kept.newest >= asked);
        for (key, kept) in of_campaign.rows {
            self.keep(campaign, key, kept, now + STATUSES_FRESH_MS);
        }
        gone
    }
}

/// Whether rows of the object write a status, which a campaign may lose.
fn has_status(object: Object) -> bool {
    object.def().field_of(ValueSource::Ladder).is_some()
}

impl Outbox {
    /// Keeps a row that was written until it is known that its campaign had the status.
    // Crash here, or a hand-over: of the rows of ten minutes nobody knows any more whether their status was there.
    pub(super) fn keep_written(&mut self, key: &Key, version: Version, now: Millis) {
        let Some(label) = version.status else { return };
        let (campaign, partition) = (version.member.campaign, version.source.position.partition);
        if self.queue.contains(key) || self.leaving.contains(&partition) {
            return;
        }
        let known = self.memory.last_statuses(&campaign);
        let status = version.tries.status.or_else(|| known?.record(&label));
        let kept = Box::new(Kept { source: version.source, label, status, newest: self.counter });
        match known {
            Some(Statuses::CampaignMissing | Statuses::CampaignDeleted) => return,
            // They were read while it was on its way.
            Some(statuses) if !kept.stands(statuses) => return self.send_written(kept.source, now),
            Some(_) | None => {}
        }
        self.written.keep(campaign, key.clone(), kept, now + STATUSES_FRESH_MS);
        if self.written.rows() >= self.settings.written_rows_max {
            self.read_ahead(campaign, now);
        }
    }

    /// Rows wait until the statuses of their campaign are read, so that no more are kept.
    fn read_ahead(&mut self, campaign: SalesforceId, now: Millis) {
        let just_full = self.written.rows() == self.settings.written_rows_max;
        let all = if just_full { self.written.campaigns.keys().copied().collect() } else { vec![campaign] };
        for campaign in all {
            self.memory.doubt_statuses(&campaign, now);
            self.written.ask_by(campaign, now);
        }
    }

    /// A record without a value says that the row is no longer wanted.
    pub(super) fn forget_written(&mut self, record_key: Option<&[u8]>) {
        let parsed = record_key.and_then(|key| {
            let (object, external_id) = std::str::from_utf8(key).ok()?.split_once('/')?;
            let object = Object::from_api_name(object).filter(|object| has_status(*object))?;
            let (campaign, person) = external_id.split_once('_')?;
            let (campaign, person) = (SalesforceId::parse(campaign)?, SalesforceId::parse(person)?);
            Some((MemberKey { campaign, person }, Key::new(object, external_id)))
        });
        if let Some((member, key)) = parsed {
            self.written.forget(&member, &key);
        }
    }

    /// The statuses of a campaign were told, and are remembered.
    pub(super) fn judge_written(&mut self, campaign: SalesforceId, asked: RequestId, now: Millis) {
        let Some(statuses) = self.memory.last_statuses(&campaign) else { return };
        for source in self.written.told(campaign, statuses, asked, now) {
            self.send_written(source, now);
        }
    }

    fn send_written(&mut self, source: Source, now: Millis) {
        let Ok((key, version)) = Version::read(source) else { return };
        if self.queue.contains(&key) {
            return;
        }
        self.effects.push(Effect::Retried(Retry::StatusGone));
        // Crash here, or before the next commit: nobody knows of it any more. Later it is read again.
        self.offsets.reopen(version.source.position);
        self.queue.insert(key.clone(), Version { again: true, ..version });
        self.admit(&key, now);
    }
}
