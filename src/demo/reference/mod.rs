//! What Salesforce must hold, computed a second time: slow, obvious, and sharing nothing with the fold.
//!
//! It takes every accepted event and every catalogue statement at once and looks at them all for each value that it
//! wants. There is no state to keep, nothing is joined, hashed or remembered, time is measured by testing every piece
//! between two end points, and arithmetic is exact. That makes it useless for a stream and good for one purpose: where
//! it and the fold agree on a conference of some thousand members, neither has made the other's mistake.
//!
//! Testing the fold against itself in another order of events would be simpler, and would not notice a rule that is
//! wrong in every order.

mod compare;
mod engagement;
pub mod judge;
mod measure;
mod newest;
mod polls;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use compare::differences;

use crate::event::{Event, MemberKey, Millis, Session, SessionKey};
use crate::upsert::Object;

/// Field values by API name.
pub type Fields = BTreeMap<String, Value>;

/// Rows by object's API name and external id.
pub type Rows = BTreeMap<(String, String), Fields>;

/// A record of the sessions topic, in the order of its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Says(Session),
    /// A tombstone.
    Forgets(SessionKey),
}

/// Longest external id of the two custom objects, in UTF-16 units.
const EXTERNAL_ID_UNITS_MAX: usize = 255;

/// The org after all of these events. `campaign_member__c` holds the member's external id here, in place of the record
/// id that only the org knows; [`differences`] looks it up.
///
/// A member that has no status yet has no `Status` among its fields: whatever the campaign's default is.
pub fn expected(events: &[Event<'_>], sessions: &[Session]) -> Rows {
    let catalogue = Catalogue::of(sessions);
    let mut members: BTreeMap<MemberKey, Vec<&Event<'_>>> = BTreeMap::new();
    for event in events {
        members.entry(event.member).or_default().push(event);
    }
    let mut rows = Rows::new();
    for (member, events) in members {
        insert(&mut rows, Object::CampaignMember, member.to_string(), campaign_member(member, &events, &catalogue));
        let entries: BTreeSet<&str> = events.iter().filter_map(|event| event.entry_id.as_deref()).collect();
        for entry_id in entries {
            let events = events.iter().copied().filter(|event| event.entry_id.as_deref() == Some(entry_id)).collect();
            let entry = Entry { member, id: entry_id, events, session: catalogue.entry(member, entry_id) };
            let external_id = format!("{member}_{entry_id}");
            if external_id.encode_utf16().count() > EXTERNAL_ID_UNITS_MAX {
                continue;
            }
            if let Some(fields) = engagement::fields(&entry) {
                insert(&mut rows, Object::Engagement, external_id.clone(), fields);
            }
            if let Some(fields) = polls::fields(&entry) {
                insert(&mut rows, Object::Polls, external_id, fields);
            }
        }
    }
    rows
}

/// What stands of the statements once tombstones have taken away what came before them.
pub fn standing(statements: &[Statement]) -> Vec<Session> {
    let mut standing: Vec<Session> = Vec::new();
    for statement in statements {
        match statement {
            Statement::Says(session) => standing.push(session.clone()),
            Statement::Forgets(key) => standing.retain(|session| session.key != *key),
        }
    }
    standing
}

/// Everything that one member did in one entry, visits and registrations that name it included.
struct Entry<'e> {
    member: MemberKey,
    /// Whole; the field holds its beginning.
    id: &'e str,
    events: Vec<&'e Event<'e>>,
    session: Option<&'e Session>,
}

/// The newest statement of each entry and campaign.
struct Catalogue<'e>(BTreeMap<SessionKey, &'e Session>);

impl<'e> Catalogue<'e> {
    fn of(sessions: &'e [Session]) -> Self {
        let mut newest: BTreeMap<SessionKey, &Session> = BTreeMap::new();
        for session in sessions {
            let stands = newest.entry(session.key.clone()).or_insert(session);
            if precedence(session) > precedence(stands) {
                *stands = session;
            }
        }
        Self(newest)
    }

    fn entry(&self, member: MemberKey, entry_id: &str) -> Option<&'e Session> {
        let key = SessionKey { campaign: member.campaign, entry_id: Some(entry_id.to_owned()) };
        self.0.get(&key).copied()
    }

    /// The start of the entry, else of the campaign.
    fn start(&self, member: MemberKey, entry_id: Option<&str>) -> Option<Millis> {
        let campaign = self.0.get(&SessionKey { campaign: member.campaign, entry_id: None }).copied();
        let entry = entry_id.and_then(|entry_id| self.entry(member, entry_id));
        [entry, campaign].into_iter().flatten().find_map(|session| session.actual_start.or(session.scheduled_start))
    }
}

/// Newer is greater; on a total tie the greater content.
fn precedence(session: &Session) -> impl Ord + '_ {
    let order = (session.updated_at, session.source.as_str(), session.event_id.as_str());
    let times = (session.scheduled_start, session.scheduled_end, session.actual_start, session.actual_end);
    (order, &session.name, session.channel_id, &session.channel_name, times, session.duration_ms)
}

fn campaign_member(member: MemberKey, events: &[&Event<'_>], catalogue: &Catalogue<'_>) -> Fields {
    let person = Value::from(member.person.as_str());
    let (lead, contact) = if member.person_is_lead() { (person, Value::Null) } else { (Value::Null, person) };
    let mut fields = Fields::from([
        ("CampaignId".to_owned(), member.campaign.as_str().into()),
        ("LeadId".to_owned(), lead),
        ("ContactId".to_owned(), contact),
    ]);
    if let Some(status) = status::status(events, |entry_id| catalogue.start(member, entry_id)) {
        fields.insert("Status".to_owned(), status.into());
    }
    fields
}

fn insert(rows: &mut Rows, object: Object, external_id: String, mut fields: Fields) {
    fields.insert("external_id__c".to_owned(), external_id.clone().into());
    rows.insert((object.api_name().to_owned(), external_id), fields);
}

/// The fields that both custom objects have.
fn common_fields(entry: &Entry<'_>) -> Fields {
    let lead = if entry.member.person_is_lead() { entry.member.person.as_str().into() } else { Value::Null };
    let catalogue_name = entry.session.and_then(|session| session.name.as_deref()).and_then(measure::not_blank);
    let name = catalogue_name.or_else(|| newest::text(&entry.events, |event| event.entry_name.as_deref()));
    let email = newest::of(&entry.events, |event| measure::email(event.email.as_deref()?));
    Fields::from([
        ("campaign_member__c".to_owned(), entry.member.to_string().into()),
        ("Lead__c".to_owned(), lead),
        ("entry_id__c".to_owned(), measure::cut(Some(entry.id), 11)),
        ("entry_name__c".to_owned(), measure::cut(name, 200)),
        ("email__c".to_owned(), measure::cut(email, 80)),
    ])
}
