//! The row of a CampaignMember.

use crate::event::MemberKey;
use crate::fold::{Catalogue, MemberPiece};

use super::field::STATUS;
use super::status::status;
use super::{Object, Row, Value};

/// The member's row. Without a status there is no field: a null would be refused, and the campaign's default would say
/// what nobody said.
pub fn member_row(key: &MemberKey, piece: &MemberPiece, catalogue: &Catalogue) -> Row {
    let status = status(key.campaign, piece, catalogue);
    let fields = status.map(|status| (STATUS, Value::Text(status.label().to_owned())));
    Row { object: Object::CampaignMember, external_id: key.text(), fields: fields.into_iter().collect() }
}
