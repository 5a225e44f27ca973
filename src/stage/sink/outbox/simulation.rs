//! Random upserts, random answers, crashes and hand-overs against an org in memory, by seed.
//!
//! The org here is strict where Salesforce is: create-only parents, one member per campaign and person, a lookup for
//! every dependant, leads that are converted or deleted meanwhile. At the end it must hold the newest version of every
//! row.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{NINE, complete, failure, id, member, settings, source, upsert};
use super::*;
use serde_json::{Map, Value as Json};

use crate::disposition::{Disposition, Fault, Retry, Scope, disposition};
use crate::outcome::OutcomeKind;
use crate::upsert::{Object, ReadUpsert, Upsert};

const PARTITIONS: i32 = 2;
const CAMPAIGNS: u32 = 3;
const PEOPLE: u32 = 4;

struct OrgMember {
    record: SalesforceId,
    external_id: Option<String>,
    version: Option<i64>,
}

#[derive(Default)]
struct Org {
    /// By campaign and the person who is a member now.
    members: BTreeMap<MemberKey, OrgMember>,
    /// Leads who are contacts now.
    converted: BTreeMap<SalesforceId, SalesforceId>,
    deleted: BTreeSet<SalesforceId>,
    /// External id to version and campaign_member__c.
    dependants: BTreeMap<String, (i64, String)>,
    records: u32,
}

impl Org {
    fn record(&mut self) -> SalesforceId {
        self.records += 1;
        id("00v", self.records)
    }

    /// Carries the parts out in their order; the rows of a part see the records of those before it.
    fn save(&mut self, call: &Call) -> Vec<Result<Vec<RowResult>, Failure>> {
        let Call::Save { parts } = call else { panic!("a save") };
        assert!(parts.len() <= 5 && parts.iter().all(|part| part.rows.len() <= settings().batch_rows_max));
        let mut answers: Vec<Result<Vec<RowResult>, Failure>> = Vec::new();
        for part in parts {
            let mut rows = part.rows.clone();
            let answer = if rows.iter_mut().all(|row| resolve(row, &answers)) {
                Ok(rows.iter().map(|row| self.save_row(part.class, row)).collect())
            } else {
                Err(failure(Disposition::Retry(Retry::Busy), "PROCESSING_HALTED"))
            };
            answers.push(answer);
        }
        answers
    }

    fn save_row(&mut self, class: Class, row: &Map<String, Json>) -> RowResult {
        match class {
            Class::Adoption => self.adopt(row),
            Class::Row(Object::CampaignMember) => self.upsert_member(row),
            Class::Row(Object::Engagement | Object::Polls) => self.upsert_dependant(row),
        }
    }

    fn upsert_member(&mut self, row: &Map<String, Json>) -> RowResult {
        let external_id = row["external_id__c"].as_str().unwrap();
        let version = row["n__c"].as_i64();
        let found = self.members.values_mut().find(|it| it.external_id.as_deref() == Some(external_id));
        match (found, row.get("CampaignId")) {
            (Some(_), Some(_)) => refused("INVALID_FIELD_FOR_INSERT_UPDATE", "", &["CampaignId", "LeadId"]),
            (Some(found), None) => {
                found.version = version;
                RowResult::Saved { id: found.record, created: false }
            }
            (None, None) => refused("REQUIRED_FIELD_MISSING", "", &["CampaignId"]),
            (None, Some(campaign)) => {
                let person = row.get("LeadId").or_else(|| row.get("ContactId")).unwrap();
                let [campaign, person] =
                    [campaign, person].map(|it| SalesforceId::parse(it.as_str().unwrap()).unwrap());
                if let Some(refused) = self.refuse_person(&person) {
                    return refused;
                }
                let key = MemberKey { campaign, person };
                if self.members.contains_key(&key) {
                    return refused("DUPLICATE_VALUE", "Already a campaign member.", &[]);
                }
                let record = self.record();
                self.members.insert(key, OrgMember { record, external_id: Some(external_id.to_owned()), version });
                RowResult::Saved { id: record, created: true }
            }
        }
    }

    fn upsert_dependant(&mut self, row: &Map<String, Json>) -> RowResult {
        let parent = row["campaign_member__c"].as_str().expect("a dependant is never sent without its member");
        if !self.members.values().any(|it| it.record.as_str() == parent) {
            return refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[]);
        }
        let lead = row["Lead__c"].as_str().and_then(SalesforceId::parse);
        if let Some(refused) = lead.and_then(|lead| self.refuse_person(&lead)) {
            return refused;
        }
        let external_id = row["external_id__c"].as_str().unwrap().to_owned();
        let value = (row["n__c"].as_i64().unwrap(), parent.to_owned());
        let created = self.dependants.insert(external_id, value).is_none();
        RowResult::Saved { id: self.record(), created }
    }

    fn refuse_person(&self, person: &SalesforceId) -> Option<RowResult> {
        if self.converted.contains_key(person) {
            return Some(refused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", &[]));
        }
        self.deleted.contains(person).then(|| refused("ENTITY_IS_DELETED", "entity is deleted", &[]))
    }

    /// The memberships move to the contact, but for those beside one of the contact's.
    fn convert(&mut self, lead: SalesforceId, contact: SalesforceId) {
        if self.deleted.contains(&lead) || self.converted.insert(lead, contact).is_some() {
            return;
        }
        for campaign in 1..=CAMPAIGNS {
            let campaign = id("701", campaign);
            if let Some(moved) = self.members.remove(&MemberKey { campaign, person: lead }) {
                self.members.entry(MemberKey { campaign, person: contact }).or_insert(moved);
            }
        }
    }

    fn delete(&mut self, person: SalesforceId) {
        if !self.converted.contains_key(&person) {
            self.deleted.insert(person);
            self.members.retain(|key, _| key.person != person);
        }
    }

    fn of_external_id(&self, external_id: &str) -> Option<&OrgMember> {
        self.members.values().find(|it| it.external_id.as_deref() == Some(external_id))
    }

    fn parent(&self, id: SalesforceId) -> Parent {
        match self.converted.get(&id) {
            Some(contact) => Parent::Converted(Some(*contact)),
            None if self.deleted.contains(&id) => Parent::Deleted,
            None => Parent::There,
        }
    }

    fn adopt(&mut self, row: &Map<String, Json>) -> RowResult {
        let record = row["id"].as_str().unwrap();
        let Some(found) = self.members.values_mut().find(|it| it.record.as_str() == record) else {
            return refused("ENTITY_IS_DELETED", "", &[]);
        };
        found.external_id = Some(row["external_id__c"].as_str().unwrap().to_owned());
        found.version = row["n__c"].as_i64();
        RowResult::Saved { id: found.record, created: false }
    }

    fn ask(&self, call: &Call) -> Answer {
        match call {
            Call::FindMembers { members } => {
                let found =
                    members.iter().filter_map(|key| Some((*key, self.of_external_id(&key.to_string())?.record)));
                Answer::Members(found.collect())
            }
            Call::FindPeople { campaign, people } => {
                let key = |person: &SalesforceId| MemberKey { campaign: *campaign, person: *person };
                let found = people.iter().filter_map(|person| Some((person, self.members.get(&key(person))?)));
                let found = found.map(|(person, it)| {
                    let external_id = it.external_id.clone();
                    FoundPerson { person: *person, record: it.record, external_id }
                });
                Answer::People(found.collect())
            }
            Call::FindParents { ids } => Answer::Parents(ids.iter().map(|id| (*id, self.parent(*id))).collect()),
            // Whether a campaign lacks any is made up, so that both ways are gone.
            Call::ReadStatuses { campaigns } => {
                Answer::CompleteStatuses(complete(&campaigns[self.records as usize % 2..]))
            }
            Call::EnsureStatuses { .. } => Answer::Statuses {
                statuses: Statuses::Labels(NINE.iter().map(ToString::to_string).collect()),
                complete: true,
            },
            Call::Limits => Answer::Limits(Usage { used: 0, limit: 10_000 }),
            Call::Save { .. } => panic!("a question"),
        }
    }
}

/// Puts record ids in the place of references. False where one has none.
fn resolve(row: &mut Map<String, Json>, answers: &[Result<Vec<RowResult>, Failure>]) -> bool {
    let Some(value) = row.get_mut("campaign_member__c") else { return true };
    let Some(text) = value.as_str().unwrap().strip_prefix("@{part") else { return true };
    let (part, rest) = text.split_once('[').unwrap();
    let place: usize = rest.strip_suffix("].id}").unwrap().parse().unwrap();
    let earlier = answers[part.parse::<usize>().unwrap()].as_ref();
    let Some(RowResult::Saved { id, .. }) = earlier.ok().map(|results| &results[place]) else { return false };
    *value = id.as_str().into();
    true
}

fn refused(code: &str, message: &str, fields: &[&str]) -> RowResult {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let fault = Fault { scope: Scope::Row, status: 200, code, message, fields: &fields, exhausted: None };
    RowResult::Refused(Failure { disposition: disposition(&fault), code: code.to_owned(), fields })
}

/// The upserts topic, the committed offsets and the org outlive the outbox.
struct World {
    random: fastrand::Rng,
    log: Vec<Vec<Upsert>>,
    read: Vec<usize>,
    committed: Vec<usize>,
    recorded: BTreeSet<Position>,
    dead: BTreeMap<Position, String>,
    in_flight: Vec<Request>,
    to_record: Vec<Position>,
    org: Org,
    now: Millis,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut log = vec![Vec::new(); 2];
        let mut org = Org::default();
        for version in 1..=i64::from(random.u32(20..120)) {
            let campaign = random.u32(1..=CAMPAIGNS);
            let key = member(campaign, random.u32(1..=PEOPLE));
            // As the fold does: one partition per member, the member's row before its dependants.
            let partition = usize::try_from(campaign % 2).unwrap();
            let rows: &mut Vec<Upsert> = &mut log[partition];
            let known = rows.iter().any(|it| it.member == key);
            if !known || random.bool() {
                rows.push(upsert(Object::CampaignMember, key, version));
            }
            if random.bool() {
                rows.push(upsert(random.choice([Object::Engagement, Object::Polls]).unwrap(), key, version));
            }
        }
        // Some members were made by people.
        for person in 1..=2 {
            let record = org.record();
            org.members.insert(member(1, person), OrgMember { record, external_id: None, version: None });
        }
        Self {
            random,
            log,
            read: vec![0; 2],
            committed: vec![0; 2],
            recorded: BTreeSet::new(),
            dead: BTreeMap::new(),
            in_flight: Vec::new(),
            to_record: Vec::new(),
            org,
            now: 0,
        }
    }

    fn step(&mut self, outbox: &mut Outbox, faults: bool) {
        match self.random.u32(0..100) {
            0..30 => self.read_one(outbox),
            30..60 => self.answer_one(outbox, faults),
            60..80 => self.record_one(outbox),
            80..90 => self.now += i64::from(self.random.u32(1..50)),
            _ => self.commit(outbox),
        }
        self.plan(outbox);
    }

    fn read_one(&mut self, outbox: &mut Outbox) {
        let partition = self.random.usize(0..2);
        if let Some(upsert) = self.log[partition].get(self.read[partition]) {
            let offset = i64::try_from(self.read[partition]).unwrap();
            outbox.push(source(i32::try_from(partition).unwrap(), offset, upsert), self.now);
            self.read[partition] += 1;
        }
    }

    fn plan(&mut self, outbox: &mut Outbox) {
        while let Some(request) = outbox.next_request(self.now) {
            let parents = parents(&request);
            for other in &self.in_flight {
                assert!(parents.is_disjoint(&self::parents(other)), "one save per campaign and per person");
            }
            self.in_flight.push(request);
        }
        for effect in outbox.take_effects() {
            let Effect::Settled(settled) = effect else { continue };
            let outcome = settled.outcome.unwrap();
            if outcome.kind == OutcomeKind::DeadLettered {
                self.dead.insert(settled.position, outcome.code.unwrap());
            }
            self.to_record.push(settled.position);
        }
    }

    fn answer_one(&mut self, outbox: &mut Outbox, faults: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let request = self.in_flight.swap_remove(self.random.usize(0..self.in_flight.len()));
        let save = matches!(request.call, Call::Save { .. });
        let fate = if faults { self.random.u32(0..20) } else { 20 };
        if faults && self.random.u32(0..40) == 0 {
            // Somebody deletes a member.
            let key = member(self.random.u32(1..=CAMPAIGNS), self.random.u32(1..=PEOPLE));
            if self.org.members.get(&key).is_some_and(|it| it.version.is_some()) {
                self.org.members.remove(&key);
            }
        }
        if faults && self.random.u32(0..40) == 0 {
            // Two leads become one contact, one becomes another, one is deleted.
            match self.random.u32(1..=PEOPLE) {
                lead @ (1 | 2) => self.org.convert(id("00Q", lead), id("003", 1)),
                3 => self.org.convert(id("00Q", 3), id("003", 3)),
                _ if self.random.u32(0..4) == 0 => self.org.delete(id("00Q", PEOPLE)),
                _ => {}
            }
        }
        let wait = |wait, code| Answer::Failed(failure(Disposition::Wait(wait), code));
        let answer = match fate {
            0 => wait(Wait::Outage, "transport"),
            1 if save => {
                // Written, but the answer is lost.
                let _lost = self.org.save(&request.call);
                wait(Wait::Outage, "transport")
            }
            2 => wait(Wait::Quota, "REQUEST_LIMIT_EXCEEDED"),
            3 => wait(Wait::Concurrency, "REQUEST_LIMIT_EXCEEDED"),
            4 if save => Answer::Failed(failure(Disposition::Isolate, "no_code")),
            5..8 if save => self.save_in_part(&request.call, fate),
            8 => {
                // Other applications spend calls, too; they come back with time.
                outbox.tell_usage(Usage { used: self.random.i64(0..10_000), limit: 10_000 }, self.now);
                if save { Answer::Saved(self.org.save(&request.call)) } else { self.org.ask(&request.call) }
            }
            _ if save => Answer::Saved(self.org.save(&request.call)),
            _ => self.org.ask(&request.call),
        };
        outbox.complete(request.id, answer, self.now);
    }

    /// One row meets a lock or a code that nobody knows, or one part is refused as a whole.
    fn save_in_part(&mut self, call: &Call, fate: u32) -> Answer {
        let mut answers = self.org.save(call);
        let part = self.random.usize(0..answers.len());
        match (&mut answers[part], fate) {
            (Ok(results), 5) => results[0] = refused("UNABLE_TO_LOCK_ROW", "", &[]),
            (Ok(results), 6) => results[0] = refused("SOMETHING_NEW", "", &[]),
            (answer, _) => *answer = Err(failure(Disposition::Isolate, "no_code")),
        }
        Answer::Saved(answers)
    }

    fn record_one(&mut self, outbox: &mut Outbox) {
        if !self.to_record.is_empty() {
            let position = self.to_record.swap_remove(self.random.usize(0..self.to_record.len()));
            self.recorded.insert(position);
            outbox.recorded(position);
        }
    }

    fn commit(&mut self, outbox: &mut Outbox) {
        let offsets = outbox.take_committable();
        self.check_and_commit(&offsets);
    }

    fn check_and_commit(&mut self, offsets: &[(i32, i64)]) {
        for (partition, next_offset) in offsets {
            for offset in 0..*next_offset {
                let position = Position { partition: *partition, offset };
                assert!(self.recorded.contains(&position), "{position:?} is passed without an outcome");
            }
            self.committed[usize::try_from(*partition).unwrap()] = usize::try_from(*next_offset).unwrap();
        }
    }

    /// Requests in flight may still be carried out by Salesforce; nobody hears of it.
    fn crash(&mut self) -> Outbox {
        for request in std::mem::take(&mut self.in_flight) {
            if matches!(request.call, Call::Save { .. }) && self.random.bool() {
                let _lost = self.org.save(&request.call);
            }
        }
        self.to_record.clear();
        self.read.clone_from(&self.committed);
        Outbox::new(settings())
    }

    fn hand_over_and_back(&mut self, outbox: &mut Outbox) {
        let all: Vec<i32> = (0..PARTITIONS).collect();
        outbox.revoke(&all);
        for step in 0.. {
            if outbox.quiet(&all) {
                break;
            }
            assert!(step < 10_000, "the partitions do not become quiet: {outbox:?}");
            self.answer_one(outbox, true);
            self.plan(outbox);
            self.record_one(outbox);
        }
        let offsets = outbox.leave(&all);
        self.check_and_commit(&offsets);
        self.read.clone_from(&self.committed);
    }

    fn finish(&mut self, outbox: &mut Outbox) {
        for _ in 0..100_000 {
            self.step(outbox, false);
            self.commit(outbox);
            let read_all = (0..2).all(|it| self.read[it] == self.log[it].len());
            if read_all && outbox.pending() == 0 {
                return;
            }
            // Minutes pass where calls are spread over the day.
            if self.in_flight.is_empty() {
                self.now = outbox.wake_at(self.now).unwrap_or(self.now);
            }
        }
        panic!("the outbox does not come to an end: {outbox:?}");
    }

    fn check_org(&self) {
        let mut newest: BTreeMap<String, (Position, ReadUpsert)> = BTreeMap::new();
        for (partition, rows) in self.log.iter().enumerate() {
            for (offset, row) in rows.iter().enumerate() {
                let position =
                    Position { partition: i32::try_from(partition).unwrap(), offset: i64::try_from(offset).unwrap() };
                assert!(self.recorded.contains(&position), "{position:?} has no outcome");
                newest.insert(
                    String::from_utf8(row.row.key()).unwrap(),
                    (position, ReadUpsert::decode(&row.encode()).unwrap()),
                );
            }
        }
        for (position, row) in newest.values() {
            let person = row.member().unwrap().person;
            let (converted, deleted) = (self.org.converted.contains_key(&person), self.org.deleted.contains(&person));
            match self.dead.get(position).map(String::as_str) {
                Some("contact_taken") => assert!(converted, "{position:?}"),
                Some("person_deleted") => assert!(deleted, "{position:?}"),
                // The member of a dependant was deleted, perhaps twice.
                Some(code) => assert!(["member_missing", "INVALID_CROSS_REFERENCE_KEY"].contains(&code), "{code}"),
                None => {}
            }
        }
        for (position, row) in newest.values().filter(|(position, _)| !self.dead.contains_key(position)) {
            let expected = row.fields.iter().find(|(name, _)| name == "n__c").map(|(_, value)| value.to_json());
            let held = if row.object == "CampaignMember" {
                // Deleted after it was written: that is what the org holds.
                let Some(held) = self.org.of_external_id(&row.external_id) else { continue };
                held.version
            } else {
                self.org.dependants.get(&row.external_id).map(|(version, _)| *version)
            };
            assert_eq!(held.map(Json::from), expected, "{position:?} {}", row.external_id);
        }
    }
}

/// Campaigns and people that a save locks.
fn parents(request: &Request) -> BTreeSet<String> {
    let Call::Save { parts } = &request.call else { return BTreeSet::new() };
    let rows = || parts.iter().flat_map(|part| &part.rows);
    let contacts = rows().filter_map(|row| row.get("ContactId")?.as_str()).map(str::to_owned);
    let ids = rows().map(|row| row["external_id__c"].as_str().unwrap());
    ids.flat_map(|id| [id[..18].to_owned(), id[19..37].to_owned()]).chain(contacts).collect()
}

#[test]
fn the_org_ends_with_the_newest_version_of_every_row_whatever_happens() {
    for seed in 0..400 {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            let mut outbox = Outbox::new(settings());
            for _ in 0..world.random.u32(50..800) {
                world.step(&mut outbox, true);
                match world.random.u32(0..200) {
                    0 => outbox = world.crash(),
                    1 => world.hand_over_and_back(&mut outbox),
                    _ => {}
                }
            }
            world.finish(&mut outbox);
            world.check_org();
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
