//! The row of a CampaignMember.

use crate::avro::Writer;
use crate::fold::{Catalogue, MemberPiece};
use crate::id::MemberKey;
use crate::upsert::def::{Derivation, Derived, ExternalId, ObjectDef, ParentDef, ParentOf, Policy, When};
use crate::upsert::field::{EXTERNAL_ID, FieldDef, FieldKind, Mode, Source};
use crate::upsert::object::Object;
use crate::upsert::row::{Raw, Whose, write_row};
use crate::upsert::status::{Status, status};

impl Object {
    pub const CAMPAIGN_MEMBER: Self = Self::new(1);
}

pub(super) const DEF: ObjectDef = ObjectDef {
    object: Object::CAMPAIGN_MEMBER,
    name: "CampaignMember",
    external_id: ExternalId { name: EXTERNAL_ID, length: MemberKey::LEN },
    level: 0,
    parents: &[
        ParentDef { of: ParentOf::Campaign, field: "CampaignId", when: When::OnCreate },
        ParentDef { of: ParentOf::Lead, field: "LeadId", when: When::OnCreate },
        ParentDef { of: ParentOf::Contact, field: "ContactId", when: When::OnCreate },
    ],
    fields: &FIELDS,
    typed: 1,
    policy: Policy::Upsert,
    derivation: Derivation::Member(write),
};

/// How rows about a member point to it.
pub(super) const MEMBER: ParentDef =
    ParentDef { of: ParentOf::Row(Object::CAMPAIGN_MEMBER), field: "campaign_member__c", when: When::Always };

/// Without a status there is no field: a null would be refused, and the campaign's default would say what nobody said.
const FIELDS: [FieldDef; 1] = [FieldDef {
    name: "Status",
    kind: FieldKind::Picklist,
    optional: false,
    source: Source::Ladder,
    mode: Mode::ReplaceIfAny,
}];

/// Appends the member's row.
fn write(out: &mut Writer, key: &MemberKey, piece: &MemberPiece, catalogue: &Catalogue) -> Derived {
    let status = status(key.campaign, piece, catalogue);
    let values = [Raw::Text(status.map(Status::label))];
    write_row(out, &DEF, Whose { member: key, entry_id: None }, &FIELDS, values)
}
