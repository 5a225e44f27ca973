//! How an upsert ends: superseded, or as a dead letter.

use super::memory::Known;
use super::plan::Refusal;
use super::queue::Slot;
use super::row::{Key, Unreadable, Version};
use super::{Effect, Outbox, Settled, Source};
use crate::dead_letter::{DeadLetter, Stage};
use crate::outcome::OutcomeKind;
use crate::time::Millis;
use crate::upsert::Object;

/// Why a row is a dead letter: the parts of the record that differ.
pub(super) struct Reason<'a> {
    pub code: &'a str,
    pub detail: &'a str,
    pub hint: &'a str,
    pub fields: Vec<String>,
}

impl Outbox {
    pub(super) fn supersede(&mut self, version: &Version, now: Millis) {
        // It has been written before, and said so.
        if version.again {
            return self.offsets.recorded(version.source.position);
        }
        let outcome = version.outcome(OutcomeKind::Superseded, None, now);
        self.settle(Settled {
            position: version.source.position,
            object: version.upsert.object(),
            outcome: Some(outcome),
            dead_letter: None,
            event_at: Some(version.upsert.event_at),
        });
    }

    pub(super) fn refuse_row(&mut self, key: &Key, refusal: Refusal, now: Millis) {
        let (code, detail) = of_row(refusal);
        self.dead_letter(key, Reason { code, detail, hint: hint(code), fields: Vec::new() }, now);
    }

    /// Ends a row that Salesforce will not take; where a newer version waits, that one is tried instead.
    pub(super) fn dead_letter(&mut self, key: &Key, reason: Reason<'_>, now: Millis) {
        if self.queue.get(key).is_some_and(Slot::newer) {
            return self.send_again(key, now);
        }
        let Some(version) = self.queue.finish(key) else { return };
        // Refused as a new one, so it is not there. Of one that was sent as known, nothing new is known.
        if version.tries.as_new && self.memory.takes_for_new(key, &version.member.campaign) {
            self.memory.remember(key, Known::Refused);
        }
        self.bury(key.object, version, reason, now);
        self.go_on(key, now);
    }

    /// A version that is no row any more ends as a dead letter.
    pub(super) fn bury(&mut self, object: Object, version: Version, reason: Reason<'_>, now: Millis) {
        let mut outcome = version.outcome(OutcomeKind::DeadLettered, None, now);
        outcome.code = Some(reason.code.to_owned());
        let (name, external_id) = (version.upsert.object.clone(), version.upsert.external_id.clone());
        let (event_at, attempts) = (version.upsert.event_at, version.attempts());
        let position = version.source.position;
        let mut dead_letter = dead_letter(version.source, reason, now);
        dead_letter.object = Some(name);
        dead_letter.external_id = Some(external_id);
        dead_letter.attempts = attempts;
        self.settle(Settled {
            position,
            object: Some(object),
            outcome: Some(outcome),
            dead_letter: Some(dead_letter),
            event_at: Some(event_at),
        });
    }

    pub(super) fn refuse_record(&mut self, source: Source, why: Unreadable, now: Millis) {
        let (code, detail) = of_record(why);
        let position = source.position;
        let reason = Reason { code, detail, hint: "only Rollbook writes this topic", fields: Vec::new() };
        let dead_letter = Some(dead_letter(source, reason, now));
        self.settle(Settled { position, object: None, outcome: None, dead_letter, event_at: None });
    }

    pub(super) fn settle(&mut self, settled: Settled) {
        self.unrecorded.insert(settled.position);
        self.effects.push(Effect::Settled(Box::new(settled)));
    }
}

/// Code and detail of a row that we refuse ourselves.
fn of_row(refusal: Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::ParentMissing => ("member_missing", "the campaign member of this row does not exist"),
        Refusal::CampaignMissing => ("campaign_missing", "the campaign of this member does not exist"),
        Refusal::CampaignDeleted => ("campaign_deleted", "the campaign of this member is deleted"),
        Refusal::StatusUnknown => ("status_unknown", "the campaign has no such member status"),
    }
}

/// Code and detail of a record that is no row.
fn of_record(why: Unreadable) -> (&'static str, &'static str) {
    match why {
        Unreadable::Undecodable => ("undecodable", "the record is no upsert of this version"),
        Unreadable::Invalid => ("upsert_invalid", "the upsert names no object or member that can be written"),
    }
}

fn dead_letter(source: Source, reason: Reason<'_>, now: Millis) -> DeadLetter {
    DeadLetter {
        stage: Stage::Sink,
        reason: reason.code.to_owned(),
        detail: reason.detail.to_owned(),
        hint: reason.hint.to_owned(),
        topic: source.topic.to_string(),
        partition: source.position.partition,
        offset: source.position.offset,
        timestamp: source.timestamp,
        key: source.key,
        value: source.value,
        headers: source.headers,
        object: None,
        external_id: None,
        fields: reason.fields,
        attempts: 1,
        at: now,
        cut: None,
    }
}

/// What a person can do about a dead letter.
pub(super) fn hint(code: &str) -> &'static str {
    match code {
        "member_missing" => "see the dead letter of the member, mend that one, then redrive both",
        "campaign_missing" => "check the campaign's id, and that the integration user may see it, then redrive",
        "campaign_deleted" => "restore the campaign from the recycle bin, then redrive",
        "contact_taken" => {
            "two leads became one contact, and a campaign has one member for it: send events of one alone"
        }
        "person_deleted" => "restore the lead or contact from the recycle bin, then redrive",
        "person_merged" => "send events under the id of the one that is left",
        "person_missing" => "check the id, and that the integration user may see the lead or contact, then redrive",
        "statuses_forbidden" => "give the integration user the right to make member statuses, or run `rollbook setup`",
        "status_unknown" => "run `rollbook setup --campaign ID`, then redrive",
        "CANNOT_UPDATE_CONVERTED_LEAD" => "let the integration user see IsConverted and ConvertedContactId of leads",
        "INVALID_CROSS_REFERENCE_KEY" | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY" => {
            "share the campaign, lead or contact with the integration user, then redrive"
        }
        "UNABLE_TO_LOCK_ROW" | "TooManyLockFailure" | "ENTITY_IS_LOCKED" | "RECORD_IN_USE_BY_WORKFLOW" => {
            "another integration, automation or approval holds the campaign or person: see which, then redrive"
        }
        "DUPLICATE_EXTERNAL_ID" => "several records have this external id: keep one, then redrive",
        "DUPLICATES_DETECTED" => "a duplicate rule of the org stands against it: exempt the integration user",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION" => {
            "a validation rule of the org stands against it: exempt the integration user"
        }
        "STRING_TOO_LONG" | "NUMBER_OUTSIDE_VALID_RANGE" => "the field is smaller than shipped: run `rollbook doctor`",
        _ => "mend it in Salesforce, then redrive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::LOG_GONE;

    #[test]
    fn every_code_of_our_own_stands_in_the_list_of_reason_codes() {
        let listed = include_str!("../../../../docs/reason-codes.md");
        let of_rows =
            [Refusal::ParentMissing, Refusal::CampaignMissing, Refusal::CampaignDeleted, Refusal::StatusUnknown];
        let of_rows = of_rows.map(of_row);
        let of_records = [Unreadable::Undecodable, Unreadable::Invalid].map(of_record);
        for (code, _) in of_rows.into_iter().chain(of_records) {
            assert!(listed.contains(&format!("| `{code}` |")), "docs/reason-codes.md lacks {code}");
        }
        assert!(listed.contains(&format!("| `{LOG_GONE}` |")), "docs/reason-codes.md lacks {LOG_GONE}");
    }
}
