//! The same bytes, read and folded by the reference: it shares no code with the fold, so that a rule that is wrong in
//! every history is seen, too.

use std::collections::BTreeSet;

use crate::config::Topics;
use crate::demo::conference::Feed;
use crate::demo::reference::{self, Judgement, Reference, Rows, differences, unexpected_fields};
use crate::id::MemberKey;
use crate::topic_table::Topic;
use crate::upsert::{Object, ReadUpsert, Value};

use super::log::{Entry, Logs};

/// The first difference, if there is one: of the records that are refused, or of the rows that stand in the end.
pub fn agrees<'u>(
    logs: &Logs,
    topics: &Topics,
    (refused, taken): (&BTreeSet<(String, i32, i64)>, &[MemberKey]),
    upserts: impl Iterator<Item = &'u [u8]>,
) -> Result<(), String> {
    let reference = Reference::default();
    let (mut records, mut found) = (Vec::new(), BTreeSet::new());
    for input in Topic::CONSUMED.into_iter().filter(|input| *input != Topic::Resolved) {
        let feed = input.events().map_or(Feed::Sessions, Feed::Events);
        for (partition, log) in logs.topic(input.name(topics)) {
            for (offset, entry) in log.all() {
                let record = record(feed, entry);
                if matches!(reference.judge(&record), Some(Judgement::Refused(_))) {
                    found.insert((input.name(topics).to_owned(), partition, offset));
                }
                records.push(record);
            }
        }
    }
    if let Some(place) = found.symmetric_difference(refused).next() {
        return Err(format!("{place:?} is refused by one of the fold and the reference"));
    }
    let mut rows = Rows::new();
    for upsert in upserts {
        let read = ReadUpsert::decode(upsert).map_err(|it| it.to_string())?;
        rows.insert((read.object.clone(), read.external_id.clone()), in_the_org(read));
    }
    let mut expected = reference.expected(records);
    // It knows nothing of what is taken back.
    let of_others = |external_id: &str| !taken.iter().any(|member| external_id.starts_with(&member.to_string()));
    expected.retain(|(_, external_id), _| of_others(external_id));
    rows.retain(|(_, external_id), _| of_others(external_id));
    let mut found = differences(&expected, &rows);
    found.extend(unexpected_fields(&expected, &rows));
    match found.first() {
        None => Ok(()),
        Some(difference) => Err(format!("the reference fold: {difference}")),
    }
}

fn record(feed: Feed, entry: &Entry) -> reference::Record<'_> {
    let (key, value) = (entry.key.as_deref(), entry.value.as_deref());
    reference::Record { feed, key, value, timestamp: Some(entry.timestamp), headers: Vec::new() }
}

/// With what only the sink knows.
fn in_the_org(upsert: ReadUpsert) -> reference::Fields {
    let member = format!("{}_{}", upsert.campaign_id, upsert.lead_id);
    let record_id = format!("record of {member}").into();
    let told = upsert.fields.iter().map(|(name, value): &(_, Value)| (name.to_string(), value.to_json()));
    let mut fields: reference::Fields = told.collect();
    fields.insert("external_id__c".to_owned(), upsert.external_id.into());
    if upsert.object == Object::CAMPAIGN_MEMBER.api_name() {
        fields.insert("Id".to_owned(), record_id);
        fields.insert("CampaignId".to_owned(), upsert.campaign_id.into());
        // People of the simulation are leads.
        fields.insert("LeadId".to_owned(), upsert.lead_id.into());
    } else {
        fields.insert("campaign_member__c".to_owned(), record_id);
    }
    fields
}
