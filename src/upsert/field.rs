//! The fields that are written, object by object: names, kinds and lengths in one place.
//!
//! Rows are made of this table, and what deploys to an org can be compared with it.

use super::Object;

/// One field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// API name.
    pub name: &'static str,
    pub kind: FieldKind,
    /// Its value comes from people or from a measurement: where the org does not take it, the row is written without it.
    /// Without the others a row would be about nobody, or about nothing.
    pub optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// At most so many UTF-16 units.
    Text(usize),
    /// Number(18, 0).
    Integer,
    /// Number(16, 2): 16 digits before the point, 2 after it.
    Decimal,
    /// Email, at most 80 characters.
    Email,
    /// Lookup(Lead); empty for a Contact.
    LeadLookup,
    /// A picklist whose values Rollbook makes.
    Picklist,
}

/// Length of an Email field.
pub const EMAIL_LENGTH: usize = 80;

/// Length of the external id of both custom objects.
pub const EXTERNAL_ID_LENGTH: usize = 255;

/// Polls that a row holds.
pub const POLLS_MAX: usize = 10;

/// Every field of the object that Rollbook writes, in the order in which a row has them. The parents of a
/// CampaignMember and `campaign_member__c` are the sink's.
pub fn fields(object: Object) -> &'static [FieldDef] {
    match object {
        Object::CampaignMember => &CAMPAIGN_MEMBER,
        Object::Engagement => &ENGAGEMENT,
        Object::Polls => &POLLS,
    }
}

/// The field of this name, if a row may go without it. Salesforce compares names without regard to case.
pub fn optional_field(object: Object, name: &str) -> Option<&'static FieldDef> {
    fields(object).iter().find(|field| field.optional && field.name.eq_ignore_ascii_case(name))
}

const fn text(name: &'static str, length: usize) -> FieldDef {
    FieldDef { name, kind: FieldKind::Text(length), optional: true }
}

const fn integer(name: &'static str) -> FieldDef {
    FieldDef { name, kind: FieldKind::Integer, optional: true }
}

const fn decimal(name: &'static str) -> FieldDef {
    FieldDef { name, kind: FieldKind::Decimal, optional: true }
}

const LEAD: FieldDef = FieldDef { name: "Lead__c", kind: FieldKind::LeadLookup, optional: false };
const ENTRY_ID: FieldDef = FieldDef { optional: false, ..text("entry_id__c", 11) };
const ENTRY_NAME: FieldDef = text("entry_name__c", 200);
const EMAIL: FieldDef = FieldDef { name: "email__c", kind: FieldKind::Email, optional: true };

pub(super) const CAMPAIGN_MEMBER: [FieldDef; 1] =
    [FieldDef { name: "Status", kind: FieldKind::Picklist, optional: false }];

pub(super) const ENGAGEMENT: [FieldDef; 30] = [
    LEAD,
    ENTRY_ID,
    ENTRY_NAME,
    EMAIL,
    text("user__c", 200),
    integer("channel_id__c"),
    text("channel_name__c", 200),
    integer("plays__c"),
    decimal("vod_minutes_viewed__c"),
    decimal("live_minutes_viewed__c"),
    decimal("total_vod_completion_rate__c"),
    decimal("no_live_engagement_rate__c"),
    decimal("low_live_engagement_rate__c"),
    decimal("fair_live_engagement_rate__c"),
    decimal("good_live_engagement_rate__c"),
    decimal("high_live_engagement_rate__c"),
    integer("clap_clicked_count__c"),
    integer("heart_clicked_count__c"),
    integer("think_clicked_count__c"),
    integer("wow_clicked_count__c"),
    integer("smile_clicked_count__c"),
    integer("answered_polls__c"),
    integer("messages_sent_group__c"),
    integer("qna_threads__c"),
    decimal("combined_live_engaged_users_play_time_ratio__c"),
    integer("add_to_calendar__c"),
    decimal("mic_on__c"),
    decimal("cam_on__c"),
    integer("total_reactions_activity__c"),
    integer("raise_hand__c"),
];

pub(super) const POLLS: [FieldDef; 4 + 3 * POLLS_MAX] = [
    LEAD,
    ENTRY_ID,
    ENTRY_NAME,
    EMAIL,
    text("poll_1_type__c", 255),
    text("poll_1_answer__c", 255),
    text("poll_1_question__c", 255),
    text("poll_2_type__c", 255),
    text("poll_2_answer__c", 255),
    text("poll_2_question__c", 255),
    text("poll_3_type__c", 255),
    text("poll_3_answer__c", 255),
    text("poll_3_question__c", 255),
    text("poll_4_type__c", 255),
    text("poll_4_answer__c", 255),
    text("poll_4_question__c", 255),
    text("poll_5_type__c", 255),
    text("poll_5_answer__c", 255),
    text("poll_5_question__c", 255),
    text("poll_6_type__c", 255),
    text("poll_6_answer__c", 255),
    text("poll_6_question__c", 255),
    text("poll_7_type__c", 255),
    text("poll_7_answer__c", 255),
    text("poll_7_question__c", 255),
    text("poll_8_type__c", 255),
    text("poll_8_answer__c", 255),
    text("poll_8_question__c", 255),
    text("poll_9_type__c", 255),
    text("poll_9_answer__c", 255),
    text("poll_9_question__c", 255),
    text("poll_10_type__c", 255),
    text("poll_10_answer__c", 255),
    text("poll_10_question__c", 255),
];
