//! Rows that are held until something changes that is not in our hands: together, where one cause holds them all.
//!
//! Each row trying for itself looks simpler. But two hundred thousand rows of a full org then cost a thousand calls every five
//! minutes, to learn one thing. So rows are held by cause. When its pause is over a few of them are let go: a probe. While
//! most of a probe get through, ever more rows follow at once; else the rest waits for the next pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::again::ATTEMPTS_APART;
use super::queue::Place;
use super::row::Key;
use super::{Effect, Outbox, millis};
use crate::disposition::Reach;
use crate::id::SalesforceId;
use crate::time::Millis;
use crate::upsert::Object;

/// So many times as many rows are let go after a probe of which most got through.
const GROWTH: usize = 8;

/// Each refusal halves the company of a row: a probe of rows that met what passes is as large as that has become.
const PASSING_SHARE: usize = 1 << ATTEMPTS_APART;

/// Why rows are held: a code, and whose rows they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    pub code: Arc<str>,
    pub of: Of,
}

/// Whose rows a cause holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Each for itself, though for the same code.
    Rows,
    Campaign(SalesforceId),
    /// Those that have not met it, too.
    Object(Object),
    Org,
}

/// What holds a row: its code, what a person can do, and whom else it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Obstacle<'a> {
    pub code: &'a str,
    pub hint: &'static str,
    pub reach: Reach,
    /// It passes by itself: it is tried with a growing pause, not seldom.
    pub passes: bool,
}

/// A cause that holds rows.
#[derive(Debug)]
pub(super) struct Hold {
    hint: &'static str,
    passes: bool,
    /// When the next rows are let go.
    due: Millis,
    /// How many.
    share: usize,
    /// Fruitless probes in a row.
    failures: u32,
    /// How often the company of the rows of the last one was halved, where the cause passes.
    halved: u32,
    /// How long probes were fruitless, and as of when.
    in_vain: Millis,
    vain_at: Millis,
    probe: Option<Probe>,
}

impl Hold {
    fn since_vain(&self, now: Millis, gap_max: Millis) -> Millis {
        (now - self.vain_at).clamp(0, gap_max)
    }

    /// When there is something to do.
    pub fn at(&self) -> Millis {
        self.probe.as_ref().map_or(self.due, |probe| probe.until)
    }
}

/// Rows that were let go to see whether the cause is gone.
#[derive(Debug)]
struct Probe {
    sent: usize,
    good: usize,
    /// Those of which nothing is known yet.
    out: BTreeSet<Key>,
    /// It says nothing if it takes longer.
    until: Millis,
}

impl Outbox {
    /// Holds a row.
    pub(super) fn hold(&mut self, key: &Key, obstacle: Obstacle<'_>, now: Millis) {
        self.promote(key, now);
        if self.drop_leaving(key) {
            return;
        }
        let Some(campaign) = self.queue.get(key).map(|slot| slot.version.member.campaign) else { return };
        let of = match obstacle.reach {
            Reach::Row => Of::Rows,
            Reach::Campaign => Of::Campaign(campaign),
            Reach::Object => Of::Object(key.object),
            Reach::Org => Of::Org,
        };
        let cause = Cause { code: Arc::from(obstacle.code), of };
        if let Some(tries) = self.queue.tries(key) {
            (tries.held, tries.probe) = (true, false);
        }
        self.queue.put(key, Place::Held(cause.clone()));
        if !self.holds.contains_key(&cause) {
            let hold = Hold {
                hint: obstacle.hint,
                passes: obstacle.passes,
                due: now + self.pause(obstacle.passes, 1),
                share: self.first_share(of, obstacle.passes),
                failures: 1,
                halved: ATTEMPTS_APART,
                in_vain: 0,
                vain_at: now,
                probe: None,
            };
            self.holds.insert(cause, hold);
        }
        let Obstacle { code, hint, passes, .. } = obstacle;
        self.effects.push(Effect::Held { code: code.to_owned(), hint, passes });
    }

    /// The cause that holds all rows of an object, this one not excepted.
    pub(super) fn held_back(&self, key: &Key) -> Option<Cause> {
        if self.holds.is_empty() {
            return None;
        }
        let probe = self.queue.get(key).is_some_and(|slot| slot.version.tries.probe);
        let of_object = |(cause, _): &(&Cause, &Hold)| !probe && cause.of == Of::Object(key.object);
        self.holds.iter().find(of_object).map(|(cause, _)| cause.clone())
    }

    /// A row that was let go is written.
    pub(super) fn got_through(&mut self, key: &Key) {
        for probe in self.holds.values_mut().filter_map(|hold| hold.probe.as_mut()) {
            probe.good += usize::from(probe.out.remove(key));
        }
    }

    /// Lets go of what is due.
    pub(super) fn release(&mut self, now: Millis) {
        for cause in self.holds.keys().cloned().collect::<Vec<_>>() {
            self.judge(&cause, now);
            let Some(hold) = self.holds.get_mut(&cause).filter(|hold| hold.probe.is_none() && hold.due <= now) else {
                continue;
            };
            let keys = self.queue.held(&cause, hold.share);
            if keys.is_empty() {
                self.holds.remove(&cause);
                continue;
            }
            // After a first sign that the cause is gone, rows are what they were: they share full calls.
            let first = hold.failures > 0;
            if first {
                hold.halved = ATTEMPTS_APART.saturating_add(hold.failures - 1);
            }
            let halved = hold.halved;
            let until = now + millis(self.settings.backoff_max) * 10;
            hold.probe = Some(Probe { sent: keys.len(), good: 0, out: keys.iter().cloned().collect(), until });
            for key in keys {
                if let Some(tries) = self.queue.tries(&key) {
                    (tries.held, tries.probe, tries.halved) = (first || tries.apart, true, halved);
                }
                self.admit(&key, now);
            }
        }
    }

    /// What a probe has shown, where that is known.
    fn judge(&mut self, cause: &Cause, now: Millis) {
        let (gap_max, lock_wait) = (self.seldom(), millis(self.settings.lock_wait));
        let Some(hold) = self.holds.get_mut(cause) else { return };
        let Some(probe) = &mut hold.probe else { return };
        probe.out.retain(|key| self.queue.get(key).is_some_and(|slot| slot.version.tries.probe));
        if !probe.out.is_empty() && now < probe.until {
            return;
        }
        let (sent, good) = (probe.sent, probe.good);
        hold.in_vain += if good == 0 { hold.since_vain(now, gap_max) } else { 0 };
        hold.vain_at = now;
        if good * 2 >= sent {
            (hold.share, hold.failures, hold.due) = (hold.share.saturating_mul(GROWTH), 0, now);
        } else {
            hold.failures = hold.failures.saturating_add(1);
        }
        hold.probe = None;
        let (passes, failures, over) = (hold.passes, hold.failures, hold.in_vain >= lock_wait);
        if failures > 0 {
            // One row may fail all that share its request: ever fewer do, so that it holds up none but itself. When the time
            // is over each has its last try.
            let halvings = if passes && !over { (failures - 1).min(16) } else { 0 };
            let share = (self.first_share(cause.of, passes) >> halvings).max(1);
            let due = now + self.pause(passes, failures);
            if let Some(hold) = self.holds.get_mut(cause) {
                (hold.due, hold.share) = (due, share);
            }
        }
    }

    /// How long a cause has been tried in vain; what lies between two tries may have been an outage of hours.
    pub(super) fn in_vain(&self, cause: &Cause, now: Millis) -> Millis {
        let hold = self.holds.get(cause);
        hold.map_or(0, |hold| hold.in_vain + hold.since_vain(now, self.seldom()))
    }

    fn first_share(&self, of: Of, passes: bool) -> usize {
        let collection = self.settings.batch_rows_max;
        match of {
            _ if passes => (collection / PASSING_SHARE).max(1),
            Of::Rows => collection,
            Of::Campaign(_) | Of::Object(_) | Of::Org => 1,
        }
    }

    fn pause(&mut self, passes: bool, failures: u32) -> Millis {
        if passes { self.backoff(failures) } else { self.seldom() }
    }

    /// When rows are to be let go, or a probe is to be judged.
    pub(super) fn holds_at(&self) -> Option<Millis> {
        self.holds.values().map(Hold::at).min()
    }

    /// Rows that are held, and those of them that are just tried, by code.
    pub fn held(&self) -> BTreeMap<Arc<str>, usize> {
        let mut held = BTreeMap::new();
        for (cause, hold) in &self.holds {
            let out = hold.probe.as_ref().map_or(0, |probe| probe.out.len());
            let rows = self.queue.held_rows(cause) + out;
            if rows > 0 {
                *held.entry(Arc::clone(&cause.code)).or_default() += rows;
            }
        }
        held
    }

    /// What a person can do about a code that holds rows.
    pub fn hint_of(&self, code: &str) -> Option<&'static str> {
        self.holds.iter().find(|(cause, _)| &*cause.code == code).map(|(_, hold)| hold.hint)
    }
}
