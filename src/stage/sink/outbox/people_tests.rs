//! What became of people: stories of leads converted, merged, deleted, and of who keeps a member.

use super::tests::*;
use super::*;
use crate::disposition::{Disposition, Reach, Retry};
use crate::upsert::{Object, Upsert};

const MEMBER: Object = Object::CAMPAIGN_MEMBER;

/// How Salesforce refuses what a row points to.
fn pointing(code: &'static str) -> RowResult {
    refused(Disposition::DeadLetter { reason: code }, code)
}

fn converted() -> RowResult {
    pointing("CANNOT_UPDATE_CONVERTED_LEAD")
}

/// The next request, which has to ask about these.
#[track_caller]
fn question(outbox: &mut Outbox, now: Millis) -> (RequestId, Vec<SalesforceId>) {
    match outbox.next_request(now) {
        Some(Request { id, call: Call::FindParents { ids } }) => (id, ids),
        other => panic!("{other:?}"),
    }
}

/// Sends what is ready, refuses every row of it, and answers the question that follows.
fn refuse_and_tell(outbox: &mut Outbox, result: &RowResult, parents: &[(SalesforceId, Parent)]) {
    let request = prepare(outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| result.clone()), 0);
    let (id, _) = question(outbox, 0);
    outbox.complete(id, Answer::Parents(parents.to_vec()), 0);
}

fn codes(outbox: &mut Outbox) -> Vec<String> {
    outcomes(outbox).into_iter().filter_map(|(_, _, code)| code).collect()
}

#[test]
fn a_converted_lead_is_written_as_its_contact_from_then_on() {
    let (key, contact) = (member(1, 1), id("003", 7));
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| converted()), 0);
    let (question, ids) = question(&mut outbox, 0);
    assert_eq!(ids, [key.person, key.campaign]);
    let parents = vec![(key.person, Parent::Converted(Some(contact))), (key.campaign, Parent::There)];
    outbox.complete(question, Answer::Parents(parents), 0);
    let request = prepare(&mut outbox, 0).unwrap();
    let row = rows(&request)[0];
    assert_eq!((&row["ContactId"], row.get("LeadId")), (&contact.as_str().into(), None));
    assert_eq!(row["external_id__c"], key.to_string(), "the key stays the lead's");
    outbox.complete(request.id, answer_rows(&request, |_| saved(1, true)), 0);
    assert_eq!(outcomes(&mut outbox), [(0, OutcomeKind::Created, None)]);
    // In another campaign nothing has to be refused first.
    let elsewhere = member(2, 1);
    outbox.push(source(0, 1, &upsert(MEMBER, elsewhere, 1)), 0);
    outbox.push(source(0, 2, &upsert(Object::POLLS, elsewhere, 1)), 0);
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&request)[0]["ContactId"], contact.as_str());
    assert_eq!(rows(&request)[1]["Lead__c"], serde_json::Value::Null, "as for a contact");
}

#[test]
fn a_member_whose_parents_may_have_been_sent_by_a_job_of_before_is_asked_about_once() {
    let (key, contact) = (member(1, 1), id("003", 7));
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| saved(1, true)), 0);
    outcomes(&mut outbox);
    outbox.push(source(0, 1, &upsert(MEMBER, key, 2)), 0);
    let parents =
        [(key.person, Parent::Converted(Some(contact))), (contact, Parent::There), (key.campaign, Parent::There)];
    refuse_and_tell(&mut outbox, &converted(), &parents);
    assert_eq!(codes(&mut outbox), Vec::<String>::new());
    // Whatever refuses it now, it is not the lead.
    refuse_and_tell(&mut outbox, &converted(), &parents);
    assert_eq!(codes(&mut outbox), ["CANNOT_UPDATE_CONVERTED_LEAD"]);
}

#[test]
fn a_dependant_of_a_merged_lead_leaves_its_lookup_alone() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| saved(1, false)), 0);
    outbox.push(source(0, 1, &upsert(Object::ENGAGEMENT, key, 1)), 0);
    let merged = [(key.person, Parent::Merged(id("00Q", 9))), (key.campaign, Parent::There)];
    refuse_and_tell(&mut outbox, &pointing("ENTITY_IS_DELETED"), &merged);
    let request = prepare(&mut outbox, 0).unwrap();
    let row = rows(&request)[0];
    assert_eq!((row.get("Lead__c"), &row["campaign_member__c"]), (None, &id("00v", 1).as_str().into()));
    outbox.complete(request.id, answer_rows(&request, |_| saved(2, false)), 0);
    assert_eq!(codes(&mut outbox), Vec::<String>::new());
}

/// Two leads became one contact, who is a member as another tool or person has it.
fn contact_who_is_a_member(external_id: Option<String>) -> (Outbox, Option<Request>) {
    let (key, contact) = (member(1, 1), id("003", 7));
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    let parents = [(key.person, Parent::Converted(Some(contact))), (key.campaign, Parent::There)];
    refuse_and_tell(&mut outbox, &converted(), &parents);
    let request = prepare(&mut outbox, 0).unwrap();
    let there = refused(Disposition::Retry(Retry::Adopt), "DUPLICATE_VALUE");
    outbox.complete(request.id, answer_rows(&request, |_| there.clone()), 0);
    let request = outbox.next_request(0).unwrap();
    assert_eq!(request.call, Call::FindPeople { campaign: key.campaign, people: vec![contact] });
    let found = FoundPerson { person: contact, record: id("00v", 3), external_id };
    outbox.complete(request.id, Answer::People(vec![found]), 0);
    let next = prepare(&mut outbox, 0);
    (outbox, next)
}

#[test]
fn a_member_of_the_contact_is_adopted_unless_another_row_of_ours_keeps_it() {
    for of_somebody in [None, Some("by hand".to_owned()), Some(member(1, 1).to_string())] {
        let (_, request) = contact_who_is_a_member(of_somebody);
        let request = request.expect("it is stamped");
        assert_eq!(
            (parts(&request)[0].class, &rows(&request)[0]["id"]),
            (Class::Adoption, &id("00v", 3).as_str().into())
        );
    }
    let (mut outbox, request) = contact_who_is_a_member(Some(member(1, 2).to_string()));
    assert!(request.is_none(), "nothing is taken away");
    let Some(Effect::Settled(settled)) = outbox.take_effects().pop() else { panic!("a dead letter") };
    let letter = settled.dead_letter.unwrap();
    assert_eq!(letter.reason, "contact_taken");
    assert!(letter.detail.contains(&member(1, 2).to_string()), "{}", letter.detail);
    // What hangs on the row ends with it.
    outbox.push(source(0, 1, &upsert(Object::POLLS, member(1, 1), 1)), 0);
    assert_eq!(codes(&mut outbox), ["member_missing"]);
}

#[test]
fn a_member_by_hand_goes_to_the_first_of_two_leads_who_are_one_contact() {
    let (leads, contact, campaign) = ([id("00Q", 1), id("00Q", 2)], id("003", 7), id("701", 1));
    let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1), upsert(MEMBER, member(1, 2), 1)]);
    let parents = leads.map(|lead| (lead, Parent::Converted(Some(contact))));
    refuse_and_tell(&mut outbox, &converted(), &parents);
    let mut stamps = Vec::new();
    while let Some(request) = prepare(&mut outbox, 0) {
        let answer = if let Call::FindPeople { campaign: asked, .. } = request.call {
            assert_eq!(asked, campaign);
            Answer::People(vec![FoundPerson { person: contact, record: id("00v", 3), external_id: None }])
        } else {
            answer_rows(&request, |row| {
                if row.contains_key("id") {
                    stamps.push(row["external_id__c"].as_str().unwrap().to_owned());
                    saved(3, false)
                } else {
                    refused(Disposition::Retry(Retry::Adopt), "DUPLICATE_VALUE")
                }
            })
        };
        outbox.complete(request.id, answer, 0);
    }
    assert_eq!(stamps, [member(1, 1).to_string()]);
    let ends = outcomes(&mut outbox);
    assert_eq!(ends, [(1, OutcomeKind::DeadLettered, Some("contact_taken".into())), (0, OutcomeKind::Updated, None)]);
}

#[test]
fn a_row_whose_person_or_campaign_is_gone_ends_with_a_code_that_says_so() {
    use Parent::{Converted, Deleted, Merged, There};
    let (lead, contact, campaign) = (id("00Q", 1), id("003", 7), id("701", 1));
    let refuse = "INVALID_CROSS_REFERENCE_KEY";
    let cases: [(&[(SalesforceId, Parent)], &str); 8] = [
        (&[(campaign, There)], "person_missing"),
        (&[(campaign, There), (lead, Deleted)], "person_deleted"),
        (&[(campaign, There), (lead, Converted(None))], "person_deleted"),
        (&[(campaign, There), (lead, Merged(id("00Q", 9)))], "person_merged"),
        (&[(lead, There)], "campaign_missing"),
        (&[(lead, There), (campaign, Deleted)], "campaign_deleted"),
        (&[(lead, There), (campaign, There)], refuse),
        (&[(contact, There)], "person_missing"),
    ];
    let listed = include_str!("../../../../docs/reason-codes.md");
    for (parents, code) in cases {
        let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1)]);
        refuse_and_tell(&mut outbox, &pointing(refuse), parents);
        assert_eq!(codes(&mut outbox), [code], "{parents:?}");
        assert!(listed.contains(&format!("| `{code}` |")), "docs/reason-codes.md lacks {code}");
    }
    // The contact that a lead became may be gone, too.
    for (parent, code) in [(Deleted, "person_deleted"), (Merged(id("003", 8)), "person_merged")] {
        let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1)]);
        let of_lead = [(campaign, There), (lead, Converted(Some(contact)))];
        refuse_and_tell(&mut outbox, &converted(), &of_lead);
        let both = [of_lead[0], of_lead[1], (contact, parent)];
        refuse_and_tell(&mut outbox, &pointing("ENTITY_IS_DELETED"), &both);
        assert_eq!(codes(&mut outbox), [code]);
    }
}

#[test]
fn one_question_is_asked_for_all_rows_of_an_answer() {
    let settings = Settings { batch_rows_max: 200, ..settings() };
    let mut outbox = Outbox::new(settings);
    for (offset, person) in (0..).zip(0..700) {
        outbox.push(source(0, offset, &upsert(MEMBER, member(1, person), 1)), 0);
    }
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| pointing("ENTITY_IS_DELETED")), 0);
    let mut asked = Vec::new();
    while let Some(Request { id, call: Call::FindParents { ids } }) = outbox.next_request(0) {
        asked.push(ids.len());
        outbox.complete(id, Answer::Parents(ids.iter().map(|id| (*id, Parent::Deleted)).collect()), 0);
    }
    assert_eq!(asked, [598, 104], "597 and 103 people, and their campaign: five queries at most");
    assert_eq!(codes(&mut outbox), vec!["person_deleted"; 700]);
}

#[test]
fn a_question_that_fails_is_asked_again_unless_nobody_may_ask_it() {
    let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| converted()), 0);
    let (id, _) = question(&mut outbox, 0);
    outbox.complete(id, Answer::Failed(failure(Disposition::Wait(Wait::Outage), "transport")), 0);
    assert_eq!(outbox.waiting(), Some(Wait::Outage));
    let now = outbox.wake_at(0).unwrap();
    let (id, _) = question(&mut outbox, now);
    let hidden = failure(Disposition::Hold { hint: "", reach: Reach::Object }, "INVALID_FIELD");
    outbox.complete(id, Answer::Failed(hidden), now);
    assert_eq!(codes(&mut outbox), ["CANNOT_UPDATE_CONVERTED_LEAD"]);
}

#[test]
fn two_leads_of_one_contact_are_in_one_save_at_a_time() {
    let contact = id("003", 7);
    let mut outbox = outbox_with(&[upsert(MEMBER, member(1, 1), 1), upsert(MEMBER, member(2, 2), 1)]);
    let parents = [1, 2].map(|number| (id("00Q", number), Parent::Converted(Some(contact))));
    refuse_and_tell(&mut outbox, &converted(), &parents);
    let both = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&both).len(), 2, "in one save they cannot wait for each other");
    outbox.complete(both.id, answer_rows(&both, |_| saved(1, true)), 0);
    outbox.push(source(0, 2, &upsert(MEMBER, member(1, 1), 2)), 0);
    let one = prepare(&mut outbox, 0).unwrap();
    outbox.push(source(0, 3, &upsert(MEMBER, member(2, 2), 2)), 0);
    assert!(prepare(&mut outbox, 1_000).is_none(), "the contact is locked");
    outbox.complete(one.id, answer_rows(&one, |_| saved(1, false)), 1_000);
    assert!(prepare(&mut outbox, 2_000).is_some());
}

#[test]
fn a_dependant_that_was_written_with_a_deleted_member_is_written_again_with_the_new_one() {
    let key = member(1, 1);
    let both = |version| -> [Upsert; 2] { [upsert(MEMBER, key, version), upsert(Object::POLLS, key, version)] };
    let mut outbox = outbox_with(&both(1));
    let request = prepare(&mut outbox, 0).unwrap();
    outbox.complete(request.id, answer_rows(&request, |_| saved(7, true)), 0);
    outcomes(&mut outbox);
    for (offset, upsert) in (2..).zip(both(2)) {
        outbox.push(source(0, offset, &upsert), 0);
    }
    let request = prepare(&mut outbox, 0).unwrap();
    assert_eq!(rows(&request)[1]["campaign_member__c"], id("00v", 7).as_str());
    let absent = refused(Disposition::Retry(Retry::MemberAbsent), "REQUIRED_FIELD_MISSING");
    let answer = Answer::Saved(vec![Ok(vec![absent]), Ok(vec![saved(20, false)])]);
    outbox.complete(request.id, answer, 0);
    assert_eq!(outcomes(&mut outbox), []);
    let request = prepare(&mut outbox, 0).unwrap();
    let reference = format!("@{{{}[0].id}}", reference(0));
    assert_eq!((rows(&request).len(), &rows(&request)[1]["campaign_member__c"]), (2, &reference.into()));
    outbox.complete(request.id, answer_rows(&request, |_| saved(8, true)), 0);
    assert_eq!(outcomes(&mut outbox).len(), 2);
}

#[test]
fn versions_that_come_while_a_question_fails_keep_their_order() {
    let key = member(1, 1);
    let mut outbox = outbox_with(&[upsert(MEMBER, key, 1)]);
    let request = prepare(&mut outbox, 0).unwrap();
    let there = refused(Disposition::Retry(Retry::Adopt), "DUPLICATE_VALUE");
    outbox.complete(request.id, answer_rows(&request, |_| there.clone()), 0);
    let question = outbox.next_request(0).unwrap();
    outbox.push(source(0, 1, &upsert(MEMBER, key, 2)), 0);
    let away = failure(Disposition::Wait(Wait::Outage), "transport");
    outbox.complete(question.id, Answer::Failed(away), 0);
    outbox.push(source(0, 2, &upsert(MEMBER, key, 3)), 0);
    let now = outbox.wake_at(0).unwrap();
    let question = outbox.next_request(now).unwrap();
    let found = FoundPerson { person: key.person, record: id("00v", 3), external_id: None };
    outbox.complete(question.id, Answer::People(vec![found]), now);
    let request = prepare(&mut outbox, now).unwrap();
    assert_eq!(version_of(rows(&request)[0]), 3, "the newest");
    outbox.complete(request.id, answer_rows(&request, |_| saved(3, false)), now);
    let kinds: Vec<_> = outcomes(&mut outbox).into_iter().map(|(offset, kind, _)| (offset, kind)).collect();
    let superseded = |offset| (offset, OutcomeKind::Superseded);
    assert_eq!(kinds, [superseded(0), superseded(1), (2, OutcomeKind::Updated)]);
}
