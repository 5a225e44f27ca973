//! One story each.

use serde_json::{Map, Value as Json};

use super::memory::Statuses;
use super::*;
use crate::disposition::{Disposition, Retry};
use crate::id::MemberKey;
pub(super) use crate::outcome::OutcomeKind;
use crate::upsert::{Labels, Lane, Object, Row, Upsert, Value};

/// A status of this number. Rows are as the fold writes them, which have no field to spare for a version.
pub(super) fn label(version: i64) -> String {
    let names = ["Registered", "Attended", "Participated"];
    format!("{} {version}", names[usize::try_from(version).unwrap() % names.len()])
}

pub(super) fn labels() -> Labels {
    (0..150).map(|version| (label(version), Some(id("01Y", u32::try_from(version).unwrap())))).collect()
}

/// Which version of a row was sent.
pub(super) fn version_of(row: &Map<String, Json>) -> i64 {
    let fields = ["Status", "clap_clicked_count__c", "poll_1_question__c"];
    let value = fields.into_iter().find_map(|name| row.get(name)).unwrap_or_else(|| panic!("{row:?}"));
    let number = || value.as_str()?.rsplit(' ').next()?.parse().ok();
    value.as_i64().or_else(number).unwrap_or_else(|| panic!("{row:?}"))
}

pub(super) fn settings() -> Settings {
    Settings {
        batch_rows_max: 5,
        requests_in_flight_max: 4,
        attempts_max: 4,
        lock_wait: Duration::from_mins(1),
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        batch_wait: Duration::from_millis(10),
        budget_reserve_percent: 20,
        written_rows_max: 10_000,
        costs: Costs { call_rows: 25, job_calls: 8, job_rows_min: 0, patience: 4 },
    }
}

pub(super) fn id(prefix: &str, number: u32) -> SalesforceId {
    SalesforceId::parse(&format!("{prefix}{number:012}")).unwrap()
}

pub(super) fn member(campaign: u32, person: u32) -> MemberKey {
    MemberKey { campaign: id("701", campaign), person: id("00Q", person) }
}

pub(super) fn upsert(object: Object, member: MemberKey, version: i64) -> Upsert {
    let lead = ("Lead__c", Value::Text(member.person.to_string()));
    let of_entry = || format!("{member}_{}", object.api_name());
    let (external_id, fields) = match object {
        Object::CAMPAIGN_MEMBER => (member.to_string(), vec![("Status", Value::Text(label(version)))]),
        Object::ENGAGEMENT => (of_entry(), vec![lead, ("clap_clicked_count__c", Value::Integer(version))]),
        _ => (of_entry(), vec![lead, ("poll_1_question__c", Value::Text(version.to_string()))]),
    };
    Upsert { row: Row { object, external_id, fields }, member, event_at: 0, lane: Lane::Live }
}

pub(super) fn source(partition: i32, offset: i64, upsert: &Upsert) -> Source {
    Source {
        topic: "rollbook.upserts".into(),
        position: Position { log: 0, partition, offset },
        timestamp: Some(0),
        key: Some(upsert.row.key()),
        value: Some(upsert.encode()),
        headers: Vec::new(),
    }
}

pub(super) fn saved(number: u32, created: bool) -> RowResult {
    RowResult::Saved { id: id("00v", number), created }
}

pub(super) fn refused(disposition: Disposition, code: &str) -> RowResult {
    RowResult::Refused(failure(disposition, code))
}

pub(super) fn failure(disposition: Disposition, code: &str) -> Failure {
    Failure { disposition, code: code.to_owned(), fields: Vec::new() }
}

/// Rows that are held, whatever for.
pub(super) fn held(outbox: &Outbox) -> usize {
    outbox.held().values().sum()
}

/// Answers the calls that prepare the first save: statuses and lookups, of which none is found.
pub(super) fn prepare(outbox: &mut Outbox, now: Millis) -> Option<Request> {
    while let Some(request) = outbox.next_request(now) {
        let answer = match &request.call {
            Call::EnsureStatuses { .. } => Answer::Statuses { statuses: all_statuses(), complete: true },
            Call::FindRecords { .. } => Answer::Records(Vec::new()),
            Call::FindParents { ids } => Answer::Parents(ids.iter().map(|id| (*id, Parent::There)).collect()),
            Call::ReadStatuses { campaigns } => Answer::CompleteStatuses(complete(campaigns)),
            Call::Save { .. } | Call::FindPeople { .. } | Call::Limits | Call::Job(_) => return Some(request),
        };
        outbox.complete(request.id, answer, now);
    }
    None
}

pub(super) fn all_statuses() -> Statuses {
    Statuses::Labels(labels())
}

/// All of the campaigns lack nothing.
pub(super) fn complete(campaigns: &[SalesforceId]) -> Vec<(SalesforceId, Labels)> {
    campaigns.iter().map(|campaign| (*campaign, labels())).collect()
}

pub(super) fn parts(request: &Request) -> &[Part] {
    match &request.call {
        Call::Save { parts } => parts,
        Call::FindRecords { .. }
        | Call::FindPeople { .. }
        | Call::FindParents { .. }
        | Call::ReadStatuses { .. }
        | Call::EnsureStatuses { .. }
        | Call::Limits
        | Call::Job(_) => panic!("{request:?}"),
    }
}

/// The rows of all parts.
pub(super) fn rows(request: &Request) -> Vec<&Map<String, Json>> {
    parts(request).iter().flat_map(|part| &part.rows).collect()
}

/// Answers a save: each row as `judge` says.
pub(super) fn answer_rows(request: &Request, mut judge: impl FnMut(&Map<String, Json>) -> RowResult) -> Answer {
    let part = |part: &Part| Ok(part.rows.iter().map(&mut judge).collect());
    Answer::Saved(parts(request).iter().map(part).collect())
}

/// One row, one result.
fn saved_one(result: RowResult) -> Answer {
    Answer::Saved(vec![Ok(vec![result])])
}

pub(super) fn outcomes(outbox: &mut Outbox) -> Vec<(i64, OutcomeKind, Option<String>)> {
    let effects = outbox.take_effects().into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Settled(settled) => {
                let outcome = settled.outcome.unwrap();
                Some((outcome.upsert_offset, outcome.kind, outcome.code))
            }
            Effect::Tombstone
            | Effect::Retried(_)
            | Effect::Held { .. }
            | Effect::RecordJob { .. }
            | Effect::ForgetJob { .. }
            | Effect::JobEnded { .. } => None,
        })
        .collect()
}

pub(super) fn outbox_with(upserts: &[Upsert]) -> Outbox {
    let mut outbox = Outbox::new(settings());
    for (offset, upsert) in upserts.iter().enumerate() {
        outbox.push(source(0, i64::try_from(offset).unwrap(), upsert), 0);
    }
    outbox
}

#[test]
fn the_newest_version_wins_and_the_older_one_is_superseded_at_once() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1), upsert(Object::CAMPAIGN_MEMBER, key, 2)]);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Superseded, None)]);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(version_of(rows(&request)[0]), 2);
    outbox.complete(request.id, saved_one(saved(7, true)), 0);
    assert_eq!(outcomes(&mut outbox), [(1, OutcomeKind::Created, None)]);
}

#[test]
fn k2_a_new_member_is_sent_with_its_parents_and_an_existing_one_without() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let row = &rows(&request)[0];
    assert_eq!(row["CampaignId"], key.campaign.as_str());
    assert_eq!(row["LeadId"], key.person.as_str());
    assert_eq!(row["external_id__c"], key.to_string());
    outbox.complete(request.id, saved_one(saved(7, true)), 0);
    outbox.push(source(0, 1, &upsert(Object::CAMPAIGN_MEMBER, key, 2)), 0);
    let request = outbox.next_request(0).unwrap();
    assert!(!rows(&request)[0].contains_key("CampaignId") && !rows(&request)[0].contains_key("LeadId"));
}

#[test]
fn k2_a_contact_becomes_a_member_by_contact_id() {
    let key = MemberKey { campaign: id("701", 1), person: id("003", 1) };
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&request)[0]["ContactId"], key.person.as_str());
    assert!(!rows(&request)[0].contains_key("LeadId"));
}

#[test]
fn k3_a_dependant_rides_with_its_member_and_carries_its_record_id_once_it_is_known() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::ENGAGEMENT, key, 1), upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let classes: Vec<Class> = parts(&request).iter().map(|part| part.class).collect();
    assert_eq!(classes, [Class::Row(Object::CAMPAIGN_MEMBER), Class::Row(Object::ENGAGEMENT)]);
    assert_eq!(rows(&request)[1]["campaign_member__c"], format!("@{{{}[0].id}}", reference(0)));
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    outbox.push(source(0, 2, &upsert(Object::ENGAGEMENT, key, 2)), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(rows(&request)[0]["campaign_member__c"], id("00v", 7).as_str());
}

#[test]
fn a_dependant_of_a_refused_member_is_a_dead_letter_and_a_later_one_is_sent() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1), upsert(Object::POLLS, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let dead = Disposition::DeadLetter { reason: "INVALID_CROSS_REFERENCE_KEY" };
    let halted = failure(Disposition::Retry(Retry::Busy), "PROCESSING_HALTED");
    let answer = Answer::Saved(vec![Ok(vec![refused(dead, "INVALID_CROSS_REFERENCE_KEY")]), Err(halted)]);
    outbox.complete(request.id, answer, 0);
    assert!(prepare(&mut outbox, 0).is_none());
    assert_eq!(
        outcomes(&mut outbox),
        [
            (0, OutcomeKind::DeadLettered, Some("INVALID_CROSS_REFERENCE_KEY".into())),
            (1, OutcomeKind::DeadLettered, Some("member_missing".into())),
        ]
    );
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, key, 2)), 0);
    outbox.push(source(0, 3, &upsert(Object::POLLS, key, 2)), 0);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    let kinds: Vec<OutcomeKind> = outcomes(&mut outbox).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, [OutcomeKind::Created; 2]);
}

#[test]
fn k5_a_status_that_the_campaign_lacks_is_never_sent() {
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1)]);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(request.call, Call::EnsureStatuses { campaign: id("701", 1) });
    let statuses = Statuses::Labels([("Sent".into(), None)].into());
    outbox.complete(request.id, Answer::Statuses { statuses, complete: false }, 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::DeadLettered, Some("status_unknown".into()))]);
    outbox.push(source(0, 1, &upsert(Object::CAMPAIGN_MEMBER, member(2, 1), 1)), 0);
    let request = outbox.next_request(0).unwrap();
    let missing = Answer::Statuses { statuses: Statuses::CampaignMissing, complete: false };
    outbox.complete(request.id, missing, 0);
    assert_eq!(outcomes(&mut outbox), [(1, OutcomeKind::DeadLettered, Some("campaign_missing".into()))]);
}

#[test]
fn a_member_made_by_a_person_is_adopted() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let adopt = Disposition::Retry(Retry::Adopt);
    outbox.complete(request.id, saved_one(refused(adopt, "DUPLICATE_VALUE")), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(request.call, Call::FindPeople { campaign: key.campaign, people: vec![key.person] });
    let found = FoundPerson { person: key.person, record: id("00v", 9), external_id: None };
    outbox.complete(request.id, Answer::People(vec![found]), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(parts(&request)[0].class, Class::Adoption);
    let rows = rows(&request);
    assert_eq!((&rows[0]["id"], &rows[0]["external_id__c"]), (&id("00v", 9).as_str().into(), &key.to_string().into()));
    assert!(!rows[0].contains_key("CampaignId"));
    outbox.complete(request.id, saved_one(saved(9, false)), 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Updated, None)]);
}

#[test]
fn a_member_deleted_in_salesforce_is_made_anew_at_once() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(Object::CAMPAIGN_MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, saved_one(saved(7, true)), 0);
    outbox.push(source(0, 1, &upsert(Object::CAMPAIGN_MEMBER, key, 2)), 0);
    let request = outbox.next_request(0).unwrap();
    let absent = Disposition::Retry(Retry::MemberAbsent);
    outbox.complete(request.id, saved_one(refused(absent, "REQUIRED_FIELD_MISSING")), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(rows(&request)[0]["CampaignId"], key.campaign.as_str());
}

#[test]
fn one_bad_row_of_a_refused_request_is_found_by_halving() {
    let upserts: Vec<Upsert> = (1..=5).map(|person| upsert(Object::CAMPAIGN_MEMBER, member(1, person), 1)).collect();
    let mut outbox = outbox_with(&upserts);
    let bad = member(1, 4).to_string();
    let mut calls = 0;
    while let Some(request) = prepare(&mut outbox, 0) {
        calls += 1;
        let sent = rows(&request);
        let answer = if sent.iter().any(|row| row["external_id__c"] == bad.as_str()) {
            Answer::Failed(failure(Disposition::DeadLetter { reason: "JSON_PARSER_ERROR" }, "JSON_PARSER_ERROR"))
        } else {
            answer_rows(&request, |_| saved(7, true))
        };
        outbox.complete(request.id, answer, 0);
    }
    let mut ends = outcomes(&mut outbox);
    ends.sort_by_key(|(offset, ..)| *offset);
    let dead: Vec<i64> =
        ends.iter().filter(|(_, kind, _)| *kind == OutcomeKind::DeadLettered).map(|(offset, ..)| *offset).collect();
    assert_eq!((ends.len(), dead, calls), (5, vec![3], 7));
}

#[test]
fn an_outage_counts_no_attempt_and_is_probed_by_one_request() {
    let upserts: Vec<Upsert> = (1..=4).map(|it| upsert(Object::CAMPAIGN_MEMBER, member(it, 1), 1)).collect();
    let mut outbox = outbox_with(&upserts);
    let mut now = 0;
    for _ in 0..20 {
        let request = outbox.next_request(now).unwrap();
        outbox.complete(request.id, Answer::Failed(failure(Disposition::Wait(Wait::Outage), "transport")), now);
        assert_eq!(outbox.waiting(), Some(Wait::Outage));
        assert!(outbox.next_request(now).is_none(), "nothing is sent during the pause");
        now = outbox.wake_at(now).unwrap();
    }
    assert_eq!(outcomes(&mut outbox), []);
    assert!(outbox.next_request(now).is_some());
    assert!(outbox.next_request(now).is_none(), "one probe at a time");
}

#[test]
fn a_stuck_campaign_does_not_hold_up_another() {
    let mut outbox = outbox_with(&[
        upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1),
        upsert(Object::CAMPAIGN_MEMBER, member(2, 1), 1),
    ]);
    let stuck = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&stuck).len(), 2);
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, member(1, 2), 1)), 0);
    outbox.push(source(0, 3, &upsert(Object::CAMPAIGN_MEMBER, member(3, 3), 1)), 0);
    assert!(prepare(&mut outbox, 0).is_none(), "it waits for company while another save is under way");
    let wait = outbox.wake_at(0).unwrap();
    let other = prepare(&mut outbox, wait).unwrap();
    assert_eq!((rows(&other).len(), &rows(&other)[0]["CampaignId"]), (1, &id("701", 3).as_str().into()));
    assert!(prepare(&mut outbox, 1_000).is_none(), "one save per campaign");
}

#[test]
fn a_revoked_partition_sends_nothing_more_and_keeps_its_offsets() {
    let mut outbox = outbox_with(&[
        upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1),
        upsert(Object::CAMPAIGN_MEMBER, member(2, 1), 1),
    ]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 2, &upsert(Object::CAMPAIGN_MEMBER, member(3, 1), 1)), 0);
    outbox.revoke(&[0], 0);
    assert!(prepare(&mut outbox, 1_000).is_none());
    assert!(!outbox.quiet(&[0]), "a request is in flight");
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    assert!(!outbox.quiet(&[0]), "its outcomes are not recorded");
    for effect in outbox.take_effects() {
        let Effect::Settled(settled) = effect else { panic!("two outcomes") };
        outbox.recorded(settled.position);
    }
    assert!(outbox.quiet(&[0]));
    assert_eq!(outbox.leave(&[0], 0), [(0, 2)]);
    outbox.placed(&Places::default(), 0);
    assert_eq!(outbox.pending(), 0);
}

#[test]
fn a_record_that_is_no_upsert_is_a_dead_letter_whole() {
    let mut outbox = Outbox::new(settings());
    let mut bad = source(0, 5, &upsert(Object::POLLS, member(1, 1), 1));
    bad.value = Some(b"nonsense".to_vec());
    outbox.push(bad, 3);
    let Some(Effect::Settled(settled)) = outbox.take_effects().pop() else { panic!("one dead letter") };
    let dead = settled.dead_letter.unwrap();
    assert_eq!((dead.reason.as_str(), dead.value.as_deref(), dead.offset), ("undecodable", Some(&b"nonsense"[..]), 5));
    outbox.recorded(settled.position);
    assert_eq!(outbox.take_committable(), [(0, 6)]);
}

#[test]
fn a_tombstone_is_passed_and_counted_and_is_no_dead_letter() {
    let mut outbox = Outbox::new(settings());
    let mut tombstone = source(0, 6, &upsert(Object::CAMPAIGN_MEMBER, member(1, 1), 1));
    tombstone.value = None;
    outbox.push(tombstone, 0);
    let effects = outbox.take_effects();
    assert!(matches!(effects.as_slice(), [Effect::Tombstone]), "{effects:?}");
    assert_eq!((outbox.pending(), outbox.take_committable()), (0, vec![(0, 7)]));
    assert!(outbox.next_request(0).is_none(), "nothing is sent for it");
}
