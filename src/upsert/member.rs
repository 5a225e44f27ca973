//! The row of a CampaignMember.

use crate::avro::Writer;
use crate::fold::{Catalogue, MemberPiece};
use crate::id::MemberKey;

use super::field::CAMPAIGN_MEMBER;
use super::row::{Derived, Raw, Whose, write_row};
use super::status::{Status, status};
use super::{Object, Row};

/// Appends the member's row. Without a status there is no field: a null would be refused, and the campaign's default would
/// say what nobody said.
pub fn write_member(out: &mut Writer, key: &MemberKey, piece: &MemberPiece, catalogue: &Catalogue) -> Derived {
    let status = status(key.campaign, piece, catalogue);
    let values = [Raw::Text(status.map(Status::label))];
    write_row(out, Object::CampaignMember, Whose { member: key, entry_id: None }, &CAMPAIGN_MEMBER, values)
}

/// The same for people and tests.
pub fn member_row(key: &MemberKey, piece: &MemberPiece, catalogue: &Catalogue) -> Row {
    let row = Row::of(|out| write_member(out, key, piece, catalogue));
    row.and_then(Result::ok).expect("every member has a row, and a status fits")
}
