//! People of the org: leads that are converted, merged and deleted, members and campaigns that are deleted, while rows
//! for them keep coming. One story for each line of the table in `docs/sink.md`.

use rollbook::emulator::{Access, Person};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::outcome::OutcomeKind;
use rollbook::upsert::{Lane, Object, Row, Upsert, Value};
use serde_json::{Value as Json, json};

use super::stream::{Stream, member_row};
use super::{campaign, lead_in};

/// A member and an engagement, as the fold makes them: the engagement names the lead.
fn rows(member: MemberKey, plays: i64) -> [Upsert; 2] {
    let lead = member.person_is_lead().then(|| Value::Text(member.person.to_string()));
    let fields = vec![("Lead__c", lead.unwrap_or(Value::Null)), ("plays__c", Value::Integer(plays))];
    let row = Row { object: Object::ENGAGEMENT, external_id: format!("{member}_1_abc"), fields };
    [member_row(member, "Participated"), Upsert { row, member, event_at: 0, lane: Lane::Backfill }]
}

fn contact(stream: &Stream, number: usize) -> SalesforceId {
    let email = format!("contact{number}@example.com");
    let person = Person { first_name: "Ann", last_name: "Example", email: &email, company: None };
    stream.org.with_org(|org| org.put_person(&person)).expect("a contact")
}

fn convert(stream: &Stream, member: MemberKey, contact: SalesforceId) {
    let (lead, contact) = (member.person.as_str(), contact.as_str());
    stream.org.with_org(|org| org.convert_lead(lead, contact)).expect("both are there");
}

fn merge(stream: &Stream, winner: SalesforceId, loser: SalesforceId) {
    stream.org.with_org(|org| org.merge(winner.as_str(), loser.as_str())).expect("both are there");
}

fn delete(stream: &Stream, object: &str, id: &str) {
    stream.org.with_org(|org| org.delete(object, id, Access::System)).expect("it is there");
}

fn undelete(stream: &Stream, id: SalesforceId) {
    stream.org.with_org(|org| org.undelete(id.as_str())).expect("it is in the recycle bin");
}

impl Stream {
    /// Sends the rows and waits until all of them have an outcome.
    fn deliver(&mut self, rows: &[Upsert]) {
        let count = self.outcomes.len() + rows.len();
        self.send(rows);
        self.read_outcomes(count);
    }

    /// Sends what ended as dead letters again, as `rollbook dead-letters redrive` does.
    fn redrive(&mut self) {
        let letters = std::mem::take(&mut self.dead_letters);
        let count = self.outcomes.len() + letters.len();
        for letter in letters {
            let key = String::from_utf8(letter.key.expect("a key")).expect("text");
            let member = letter.external_id.expect("a row");
            self.send_bytes(&member[..MemberKey::LEN], &key, &letter.value.expect("a value"));
        }
        self.read_outcomes(count);
    }

    /// Field of the member that has this row's external id.
    fn member_field(&self, member: MemberKey, field: &str) -> Json {
        self.held("CampaignMember").get(&member.to_string()).map_or(json!("no member"), |record| record[field].clone())
    }

    fn engagement(&self, member: MemberKey) -> serde_json::Map<String, Json> {
        self.held("UserSessionEngagement__c").remove(&format!("{member}_1_abc")).expect("an engagement")
    }

    /// The engagement hangs on its member and has these plays.
    #[track_caller]
    fn assert_engagement(&self, member: MemberKey, plays: i64) {
        let engagement = self.engagement(member);
        assert_eq!(engagement["campaign_member__c"], self.member_field(member, "Id"));
        assert_eq!(engagement["plays__c"].as_f64(), json!(plays).as_f64());
    }

    /// Codes of the dead letters since the last time, by object.
    fn take_codes(&mut self) -> Vec<(String, String)> {
        let letters = std::mem::take(&mut self.dead_letters);
        let mut codes: Vec<_> = letters.into_iter().map(|it| (it.object.expect("a row"), it.reason)).collect();
        codes.sort();
        codes
    }
}

/// A dead letter of the member, and of its engagement for want of it.
fn both(code: &str) -> Vec<(String, String)> {
    let pair = |object: &str, code: &str| (object.to_owned(), code.to_owned());
    vec![pair("CampaignMember", code), pair("UserSessionEngagement__c", "member_missing")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_was_there_before_the_conversion_goes_on_being_updated() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let contact = contact(&stream, 1);
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    let record = stream.member_field(member, "Id");
    convert(&stream, member, contact);
    stream.deliver(&rows(member, 2));
    sink.stop().await;
    // A sink that knows nothing of it yet.
    let sink = stream.run();
    stream.deliver(&rows(member, 3));
    sink.stop().await;
    assert!(stream.dead_letters.is_empty(), "{:?}", stream.take_codes());
    assert_eq!(stream.outcomes_of(OutcomeKind::Updated), 4);
    assert_eq!(
        (stream.member_field(member, "Id"), stream.member_field(member, "ContactId")),
        (record, json!(contact.as_str()))
    );
    stream.assert_engagement(member, 3);
    assert_eq!(stream.engagement(member)["Lead__c"], Json::Null, "as for a contact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_converted_lead_becomes_a_member_as_its_contact() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let contact = contact(&stream, 1);
    convert(&stream, member, contact);
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    // In the next campaign it is known.
    let elsewhere = MemberKey { campaign: campaign(&stream.org, "Two"), ..member };
    stream.deliver(&rows(elsewhere, 2));
    sink.stop().await;
    assert!(stream.dead_letters.is_empty(), "{:?}", stream.take_codes());
    for (member, plays) in [(member, 1), (elsewhere, 2)] {
        assert_eq!(stream.member_field(member, "ContactId"), contact.as_str());
        assert_eq!(stream.member_field(member, "LeadId"), Json::Null);
        stream.assert_engagement(member, plays);
        assert_eq!(stream.engagement(member)["Lead__c"], Json::Null);
    }
    assert_eq!(stream.metrics.retries.with_label_values(&["person_changed"]).get(), 1, "asked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_who_is_a_member_by_hand_is_adopted_for_the_lead() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let contact = contact(&stream, 1);
    convert(&stream, member, contact);
    let by_hand = json!({ "CampaignId": member.campaign.as_str(), "ContactId": contact.as_str() });
    let record = stream.org.with_org(|org| org.put("CampaignMember", by_hand)).expect("a member");
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    sink.stop().await;
    assert!(stream.dead_letters.is_empty(), "{:?}", stream.take_codes());
    assert_eq!(stream.member_field(member, "Id"), record.as_str());
    stream.assert_engagement(member, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_leads_of_one_contact_do_not_take_the_member_from_each_other() {
    let mut stream = Stream::start().await;
    let conference = campaign(&stream.org, "One");
    let [first, second] = [1, 2].map(|number| lead_in(&stream.org, conference, number));
    let contact = contact(&stream, 1);
    let sink = stream.run();
    stream.deliver(&rows(first, 1));
    stream.deliver(&rows(second, 1));
    // A campaign has one member for the contact: the second lead's goes.
    convert(&stream, first, contact);
    convert(&stream, second, contact);
    for plays in 2..5 {
        stream.deliver(&rows(second, plays));
        assert_eq!(stream.take_codes(), both("contact_taken"));
        stream.deliver(&rows(first, plays));
        assert_eq!(stream.take_codes(), []);
        stream.assert_engagement(first, plays);
    }
    sink.stop().await;
    assert_eq!(stream.held("CampaignMember").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_under_the_contacts_own_id_take_the_member_over_for_good() {
    let mut stream = Stream::start().await;
    let lead = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let own = MemberKey { person: contact(&stream, 1), ..lead };
    let sink = stream.run();
    stream.deliver(&rows(lead, 1));
    convert(&stream, lead, own.person);
    for plays in 2..4 {
        stream.deliver(&rows(own, plays));
        assert_eq!(stream.take_codes(), []);
        stream.deliver(&[member_row(lead, "Registered")]);
        assert_eq!(stream.take_codes(), both("contact_taken")[..1]);
        stream.assert_engagement(own, plays);
    }
    sink.stop().await;
    assert_eq!(stream.member_field(own, "Status"), "Participated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_lets_converted_leads_be_edited_refuses_nothing() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    convert(&stream, member, contact(&stream, 1));
    stream.org.with_org(|org| org.set_converted_leads_editable(true));
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    sink.stop().await;
    assert!(stream.dead_letters.is_empty());
    assert_eq!(stream.member_field(member, "LeadId"), member.person.as_str());
    assert_eq!(stream.engagement(member)["Lead__c"], member.person.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_person_has_no_new_members_and_those_that_moved_are_updated() {
    let mut stream = Stream::start().await;
    let conference = campaign(&stream.org, "One");
    let of_winner = lead_in(&stream.org, conference, 1);
    let winner = of_winner.person;
    let [moved, new] = [2, 3].map(|number| lead_in(&stream.org, conference, number));
    let [kept, lost] = [1, 2].map(|number| contact(&stream, number));
    let of_contact = MemberKey { campaign: conference, person: lost };
    let sink = stream.run();
    stream.deliver(&rows(moved, 1));
    merge(&stream, winner, moved.person);
    merge(&stream, winner, new.person);
    merge(&stream, kept, lost);
    stream.deliver(&rows(moved, 2));
    assert_eq!(stream.take_codes(), [], "Salesforce moved the member to the winner");
    assert_eq!(stream.member_field(moved, "LeadId"), winner.as_str());
    stream.assert_engagement(moved, 2);
    assert_eq!(stream.engagement(moved)["Lead__c"], winner.as_str(), "where Salesforce had moved it");
    for (member, left) in [(new, winner), (of_contact, kept)] {
        stream.deliver(&rows(member, 1));
        let letter = stream.dead_letters.iter().find(|letter| letter.reason == "person_merged").expect("a dead letter");
        assert!(letter.detail.contains(left.as_str()), "{}", letter.detail);
        assert_eq!(stream.take_codes(), both("person_merged"));
    }
    // The winner's own row takes over what came to it.
    stream.deliver(&rows(of_winner, 3));
    assert_eq!(stream.take_codes(), []);
    stream.assert_engagement(of_winner, 3);
    stream.deliver(&[member_row(moved, "Registered")]);
    assert_eq!(stream.take_codes(), both("person_merged")[..1]);
    sink.stop().await;
    assert_eq!(stream.held("CampaignMember").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_person_is_a_dead_letter_until_they_are_restored() {
    let mut stream = Stream::start().await;
    let conference = campaign(&stream.org, "One");
    let lead = lead_in(&stream.org, conference, 1);
    let of_contact = MemberKey { campaign: conference, person: contact(&stream, 1) };
    let converted = lead_in(&stream.org, conference, 2);
    let gone = contact(&stream, 2);
    convert(&stream, converted, gone);
    delete(&stream, "Lead", lead.person.as_str());
    delete(&stream, "Contact", of_contact.person.as_str());
    delete(&stream, "Contact", gone.as_str());
    let sink = stream.run();
    for member in [lead, of_contact, converted] {
        stream.deliver(&rows(member, 1));
        assert_eq!(stream.take_codes(), both("person_deleted"));
    }
    stream.deliver(&rows(lead, 2));
    let letter = &stream.dead_letters[0];
    assert!(letter.hint.contains("recycle bin") && !letter.detail.contains('@'), "{letter:?}");
    undelete(&stream, lead.person);
    stream.redrive();
    sink.stop().await;
    assert_eq!(stream.take_codes(), []);
    stream.assert_engagement(lead, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_people_cost_a_question_for_each_save_and_not_for_each_row() {
    let mut stream = Stream::start().await;
    let conference = campaign(&stream.org, "One");
    let members: Vec<MemberKey> = (0..100).map(|number| lead_in(&stream.org, conference, number)).collect();
    for member in &members[1..] {
        delete(&stream, "Lead", member.person.as_str());
    }
    let sink = stream.run();
    let rows: Vec<Upsert> = members.iter().map(|member| member_row(*member, "Registered")).collect();
    stream.deliver(&rows);
    sink.stop().await;
    assert_eq!(stream.take_codes(), vec![("CampaignMember".to_owned(), "person_deleted".to_owned()); 99]);
    let calls = |api: &str| stream.metrics.requests.with_label_values(&[api, "ok"]).get();
    let (questions, saves) = (calls("query"), calls("collections") + calls("composite"));
    assert!((1..=saves).contains(&questions), "{questions} questions after {saves} saves");
    assert!(saves < 50, "{saves} saves, so the rows went together");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_may_hold_people_who_were_converted_and_deleted() {
    let mut stream = Stream::start().await;
    let conference = campaign(&stream.org, "One");
    let members: Vec<MemberKey> = (0..240).map(|number| lead_in(&stream.org, conference, number)).collect();
    let (converted, deleted, others) = (&members[..30], &members[30..40], &members[40..]);
    for (number, member) in converted.iter().enumerate() {
        let contact = contact(&stream, number);
        convert(&stream, *member, contact);
    }
    for member in deleted {
        delete(&stream, "Lead", member.person.as_str());
    }
    let all: Vec<Upsert> = members.iter().flat_map(|member| rows(*member, 1)).collect();
    let mut config = stream.config();
    config.sink.batch_rows_max = 1;
    config.sink.bulk_rows_min = 10;
    stream.send(&all);
    let sink = stream.run_with(config);
    stream.read_outcomes(all.len());
    // Those with a contact are known by now: a job writes them as such.
    let again: Vec<Upsert> = members.iter().flat_map(|member| rows(*member, 2)).collect();
    stream.deliver(&again);
    sink.stop().await;
    assert!(stream.metrics.bulk_jobs_ended.with_label_values(&["complete"]).get() >= 2);
    let changed = stream.metrics.retries.with_label_values(&["person_changed"]).get();
    assert_eq!(changed, 30, "each is refused once, its engagement never");
    let codes = stream.take_codes();
    assert_eq!(codes.iter().filter(|(_, code)| code == "person_deleted").count(), 20, "{codes:?}");
    assert_eq!(codes.len(), 40, "and what hangs on them");
    for member in converted {
        assert_eq!(stream.member_field(*member, "LeadId"), Json::Null);
    }
    let (held, engagements) = (stream.held("CampaignMember"), stream.held("UserSessionEngagement__c"));
    assert_eq!((held.len(), engagements.len()), (230, 230));
    for member in converted.iter().chain(others) {
        let engagement = &engagements[&format!("{member}_1_abc")];
        let lead = if converted.contains(member) { Json::Null } else { json!(member.person.as_str()) };
        assert_eq!((&engagement["Lead__c"], engagement["plays__c"].as_f64()), (&lead, Some(2.0)));
        assert_eq!(engagement["campaign_member__c"], held[&member.to_string()]["Id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_member_is_made_anew_and_its_dependants_follow() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    let record = stream.member_field(member, "Id");
    delete(&stream, "CampaignMember", record.as_str().expect("an id"));
    stream.deliver(&rows(member, 2));
    assert_ne!(stream.member_field(member, "Id"), record);
    stream.assert_engagement(member, 2);
    // The same where the sink knows nothing of it.
    sink.stop().await;
    delete(&stream, "CampaignMember", stream.member_field(member, "Id").as_str().expect("an id"));
    let sink = stream.run();
    stream.deliver(&rows(member, 3));
    sink.stop().await;
    stream.assert_engagement(member, 3);
    assert!(stream.dead_letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_campaign_is_told_from_one_that_never_was_and_can_be_restored() {
    let mut stream = Stream::start().await;
    let member = lead_in(&stream.org, campaign(&stream.org, "One"), 1);
    let nowhere = SalesforceId::parse("701000000000zzz").expect("an id");
    let sink = stream.run();
    stream.deliver(&rows(member, 1));
    delete(&stream, "Campaign", member.campaign.as_str());
    stream.deliver(&rows(member, 2));
    assert_eq!(stream.take_codes(), both("campaign_deleted"), "its statuses were still known");
    stream.deliver(&rows(MemberKey { campaign: nowhere, ..member }, 1));
    assert_eq!(stream.take_codes(), both("campaign_missing"));
    stream.deliver(&rows(member, 3));
    undelete(&stream, member.campaign);
    stream.redrive();
    assert_eq!(stream.take_codes(), []);
    stream.assert_engagement(member, 3);
    sink.stop().await;
    // A sink that asks for the statuses first.
    delete(&stream, "Campaign", member.campaign.as_str());
    let sink = stream.run();
    stream.deliver(&rows(member, 4));
    sink.stop().await;
    assert_eq!(stream.take_codes(), both("campaign_deleted"));
}

#[test]
fn every_story_of_the_document_exists() {
    let document = include_str!("../../../docs/sink.md");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sink");
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let names: Vec<&str> = rows.flat_map(|row| row.split('`')).filter(|text| text.contains("::")).collect();
    assert!(names.len() > 10, "the table was read");
    for name in names {
        let (module, test) = name.split_once("::").expect("it has one");
        let text = std::fs::read_to_string(folder.join(format!("{module}.rs"))).expect("a module of the sink's tests");
        assert!(text.contains(&format!("fn {test}(")), "{name}");
    }
}
