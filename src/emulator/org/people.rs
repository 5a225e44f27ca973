//! What becomes of people: leads turn into contacts, duplicates are merged, deleted records come back.
//!
//! Nobody writes any of this by REST: people do it in the user interface, so it comes by the control surface. What they
//! leave behind is what a writer runs into: read-only leads, and ids that mean nobody any more.

use serde_json::{Value, json};

use super::Org;
use super::draft::{Access, Body, Draft};
use super::table::{Cell, Record};
use super::time::{now, timestamp_now};
use crate::emulator::schema::{FieldDef, FieldKind, ObjectDef};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

const MEMBER: &str = "CampaignMember";

impl Org {
    /// Converts a lead as the user interface does: its memberships move to the contact, the lead turns read-only. Of a
    /// campaign that the contact is in already, the contact's membership stays.
    pub fn convert_lead(&mut self, lead: &str, contact: &str) -> Result<(), Refusal> {
        let today = timestamp_now();
        let converted = json!({
            "IsConverted": true, "ConvertedContactId": contact, "ConvertedDate": today.get(..10),
            "Status": "Closed - Converted",
        });
        self.set("Lead", lead, &converted)?;
        let members = self.find(MEMBER, "LeadId", lead).unwrap_or_default();
        let members: Vec<Record> = members.into_iter().cloned().collect();
        for member in members {
            if self.member_beside(&member, "ContactId", contact) {
                self.delete(MEMBER, member.id.as_str(), Access::System)?;
            } else {
                self.set(MEMBER, member.id.as_str(), &json!({ "ContactId": contact }))?;
            }
        }
        Ok(())
    }

    /// Whether the integration user may view and edit converted leads: then nothing refuses them.
    pub fn set_converted_leads_editable(&mut self, editable: bool) {
        self.converted_leads_editable = editable;
    }

    /// Merges two leads or two contacts: what points to the loser points to the winner, and the loser is deleted.
    pub fn merge(&mut self, winner: &str, loser: &str) -> Result<(), Refusal> {
        let schema = self.schema();
        let person = |object: &&ObjectDef| matches!(object.name.as_str(), "Lead" | "Contact");
        let object = schema.object_of_id(winner).filter(person).ok_or_else(Refusal::no_record)?;
        for id in [winner, loser] {
            let (table, row) = self.locate(object, id)?;
            if object.name == "Lead" {
                self.lead_rules(object, self.tables.get(table).and_then(|table| table.row(row)))?;
            }
        }
        if SalesforceId::parse(winner) == SalesforceId::parse(loser) {
            return Err(Refusal::bad("INVALID_ID_FIELD", "a record cannot be merged with itself"));
        }
        self.set(&object.name, loser, &json!({ "MasterRecordId": winner }))?;
        for child in schema.objects() {
            for field in child.fields.iter().filter(|field| points_to(field, object)) {
                self.repoint(child, field, loser, winner)?;
            }
        }
        self.delete(&object.name, loser, Access::System)?;
        Ok(())
    }

    /// Takes a record out of the recycle bin, with what its delete took along. Lookups that it emptied stay empty.
    pub fn undelete(&mut self, id: &str) -> Result<(), Refusal> {
        let schema = self.schema();
        let object = schema.object_of_id(id).filter(|object| object.name != MEMBER).ok_or_else(Refusal::no_record)?;
        let deleted = self.record(&object.name, id).filter(|record| record.deleted).ok_or_else(Refusal::no_record)?;
        self.bring_back(deleted.id)
    }

    fn bring_back(&mut self, id: SalesforceId) -> Result<(), Refusal> {
        let schema = self.schema();
        let object = schema.object_of_id(id.as_str()).ok_or_else(Refusal::not_found)?;
        let table = self.table_index(&object.name).ok_or_else(Refusal::not_found)?;
        let rows = self.tables.get(table).ok_or_else(Refusal::not_found)?;
        let row = rows.position(id).ok_or_else(Refusal::no_record)?;
        let mut record = rows.row(row).ok_or_else(Refusal::no_record)?.clone();
        (record.deleted, record.taken_by, record.modified) = (false, None, now());
        if let Some(column) = rows.column("MasterRecordId") {
            record.set(column, Cell::Null);
        }
        let draft = Draft { record, changed: Vec::new() };
        self.check_unique(object, &draft, Some(row))?;
        self.table_replace(table, row, draft.record);
        let taken = |record: &&Record| record.taken_by == Some(id);
        let along: Vec<SalesforceId> =
            self.tables.iter().flat_map(|table| table.rows().iter().filter(taken)).map(|record| record.id).collect();
        along.into_iter().try_for_each(|child| self.bring_back(child))
    }

    /// Lets what points to one person point to another. A membership beside one of the other's stays, and goes with its
    /// person.
    fn repoint(&mut self, child: &ObjectDef, field: &FieldDef, from: &str, to: &str) -> Result<(), Refusal> {
        let found = self.find(&child.name, &field.name, from).unwrap_or_default();
        let found: Vec<Record> = found.into_iter().cloned().collect();
        for record in found {
            if child.name != MEMBER || !self.member_beside(&record, &field.name, to) {
                self.point(child, record.id, &field.name, Cell::text(to))?;
            }
        }
        Ok(())
    }

    /// Whether the person is a member of this member's campaign, by a record of its own.
    fn member_beside(&self, member: &Record, field: &str, person: &str) -> bool {
        let Some(object) = self.schema.object(MEMBER) else { return false };
        let campaign = self.text(member, object, "CampaignId");
        let of_person = self.find(MEMBER, field, person).unwrap_or_default();
        of_person.into_iter().any(|other| other.id != member.id && self.text(other, object, "CampaignId") == campaign)
    }

    fn set(&mut self, object: &str, id: &str, fields: &Value) -> Result<(), Refusal> {
        let fields: Body = fields.as_object().cloned().unwrap_or_default();
        self.update(object, id, &fields, Access::System).map(drop)
    }
}

/// Whether a field of a record can hold the id of one of this object.
pub(super) fn points_to(field: &FieldDef, parent: &ObjectDef) -> bool {
    field.kind == FieldKind::Reference && field.reference_to.contains(&parent.name) && field.derived.is_none()
}
