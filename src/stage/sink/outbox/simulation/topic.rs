//! The simulation's topic of upserts: how it is read on, how it is made anew, and what must have become of its rows.

use super::*;

impl World {
    pub(super) fn restore(&self, outbox: &mut Outbox, partitions: &[usize]) {
        let records = self.job_records.iter().map(|((partition, _), record)| (*partition, record.clone()));
        let committed = (0..).zip(&self.committed).map(|(partition, next)| (partition, i64::try_from(*next).unwrap()));
        outbox.restore_jobs(records.collect(), &committed.collect(), self.now);
        outbox.placed(&self.places(partitions), self.now);
    }

    pub(super) fn places(&self, partitions: &[usize]) -> Places {
        let read_from =
            |it: &usize| ReadFrom { offset: i64::try_from(self.committed[*it]).unwrap(), unread: self.unread[*it] };
        let partitions = partitions.iter().map(|it| (i32::try_from(*it).unwrap(), Some(read_from(it)))).collect();
        Places { log: self.number, partitions }
    }

    /// Nobody can describe the topic for a while, and then not say where its partitions are read on.
    pub(super) fn tell_late(&self, outbox: &mut Outbox) {
        outbox.check_liveness(self.now);
        let nobody_knows = (0..PARTITIONS).map(|partition| (partition, None));
        outbox.placed(&Places { log: self.number, partitions: nobody_knows.collect() }, self.now);
        outbox.check_liveness(self.now);
        assert!(outbox.has_room(1), "what waits takes no room from what can be read");
    }

    /// Somebody deletes the topic and makes it anew: what was not read is gone.
    pub(super) fn remake_topic(&mut self) {
        for (partition, rows) in (0..).zip(&mut self.log) {
            let read = rows.drain(..).take(self.read[usize::try_from(partition).unwrap()]);
            let at = |offset| Position { log: self.number, partition, offset };
            self.gone.extend((0..).zip(read).map(|(offset, row)| (at(offset), row)));
        }
        self.number += 1;
        (self.now, self.made_at) = (self.now + 1, self.now + 1);
        (self.unread, self.furthest) = ([true; 2], [0; 2]);
        self.committed.fill(0);
        self.log = new_log(&mut self.random, 120..145);
    }

    /// Rows of logs that are gone live in the memory of one process.
    pub(super) fn may_crash(&self) -> bool {
        self.gone.iter().all(|(position, _)| self.recorded.contains(position))
    }

    pub(super) fn check_org(&self) {
        let mut newest: BTreeMap<String, (Position, ReadUpsert)> = BTreeMap::new();
        let of = |partition, rows| (0..).zip(rows).map(move |(offset, row)| (partition, offset, row));
        let log = (0..).zip(&self.log).flat_map(|(partition, rows)| of(partition, rows));
        let log = log.map(|(partition, offset, row)| (Position { log: self.number, partition, offset }, row));
        for (position, row) in self.gone.iter().map(|(position, row)| (*position, row)).chain(log) {
            assert!(self.recorded.contains(&position), "{position:?} has no outcome");
            newest.insert(
                String::from_utf8(row.row.key()).unwrap(),
                (position, ReadUpsert::decode(&row.encode()).unwrap()),
            );
        }
        for (position, row) in newest.values() {
            let person = row.member().unwrap().person;
            let (converted, deleted) = (self.org.converted.contains_key(&person), self.org.deleted.contains(&person));
            match self.dead.get(position).map(String::as_str) {
                Some("contact_taken") => assert!(converted, "{position:?}"),
                Some("person_deleted") => assert!(deleted, "{position:?}"),
                Some("UNKNOWN_EXCEPTION") => assert_eq!(Some(&row.external_id), self.poisoned.as_ref()),
                // The member of a dependant was deleted, perhaps twice.
                Some(code) => {
                    let codes = ["member_missing", "INVALID_CROSS_REFERENCE_KEY", "log_gone"];
                    assert!(codes.contains(&code), "{code}");
                }
                None => {}
            }
        }
        for (position, row) in newest.values().filter(|(position, _)| !self.dead.contains_key(position)) {
            let fields = row.fields.iter().map(|(name, value)| (name.to_string(), value.to_json()));
            let expected = Some(version_of(&fields.collect()));
            let held = if row.object == "CampaignMember" {
                // Deleted after it was written: that is what the org holds.
                let Some(held) = self.org.of_external_id(&row.external_id) else { continue };
                // Nobody knows any more what an outbox before this one has written.
                if held.defaulted.is_some_and(|life| life < self.org.life) {
                    continue;
                }
                held.version
            } else {
                self.org.dependants.get(&row.external_id).map(|(version, _)| *version)
            };
            assert_eq!(held, expected, "{position:?} {}", row.external_id);
        }
    }
}

pub(super) fn new_log(random: &mut fastrand::Rng, versions: impl Iterator<Item = i64>) -> Vec<Vec<Upsert>> {
    let mut log = vec![Vec::new(); 2];
    for version in versions {
        let campaign = random.u32(1..=CAMPAIGNS);
        let key = member(campaign, random.u32(1..=PEOPLE));
        // As the fold does: one partition per member, the member's row before its dependants.
        let partition = usize::try_from(campaign % 2).unwrap();
        let rows: &mut Vec<Upsert> = &mut log[partition];
        let known = rows.iter().any(|it| it.member == key);
        // Rows change their lanes while they wait.
        let lane = random.choice([Lane::Live, Lane::Live, Lane::Backfill]).unwrap();
        if !known || random.bool() {
            rows.push(Upsert { lane, ..upsert(Object::CAMPAIGN_MEMBER, key, version) });
        }
        if random.bool() {
            let object = random.choice([Object::ENGAGEMENT, Object::POLLS]).unwrap();
            rows.push(Upsert { lane, ..upsert(object, key, version) });
        }
    }
    log
}
