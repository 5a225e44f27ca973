//! The rules of CampaignMember, which decide whether a sink works: parents that cannot change, one membership per
//! person, and a status that silently becomes another.

use super::Org;
use super::draft::{Draft, required};
use super::table::{Cell, Record};
use super::time::timestamp;
use crate::emulator::schema::ObjectDef;
use crate::emulator::wire::Refusal;

impl Org {
    pub(super) fn member_rules(
        &self,
        object: &ObjectDef,
        draft: &mut Draft,
        before: Option<&Record>,
    ) -> Result<(), Refusal> {
        if before.is_none() {
            self.settle_person(object, draft)?;
        }
        let status = self.column(object, "Status")?;
        if before.is_none() || draft.changed.contains(&status) {
            self.settle_status(object, draft, status)?;
        }
        Ok(())
    }

    /// A converted lead is read-only.
    pub(super) fn lead_rules(&self, object: &ObjectDef, before: Option<&Record>) -> Result<(), Refusal> {
        let converted = before.and_then(|record| self.cell(record, object, "IsConverted"));
        if converted == Some(&Cell::Bool(true)) && !self.converted_leads_editable {
            Err(Refusal::bad("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead"))
        } else {
            Ok(())
        }
    }

    /// Nothing new may point to a lead that is read-only.
    pub(super) fn check_lead(&self, id: &str) -> Result<(), Refusal> {
        let Some(object) = self.schema.object("Lead") else { return Ok(()) };
        self.lead_rules(object, self.record("Lead", id))
    }

    fn settle_person(&self, object: &ObjectDef, draft: &mut Draft) -> Result<(), Refusal> {
        let (lead, contact) = (self.column(object, "LeadId")?, self.column(object, "ContactId")?);
        let person = match (draft.record.cell(lead).is_null(), draft.record.cell(contact).is_null()) {
            (true, true) => return Err(required(vec!["LeadId".into(), "ContactId".into()])),
            (false, true) => lead,
            (_, false) => {
                // Both given: the insert succeeds, with the contact alone.
                draft.record.set(lead, Cell::Null);
                contact
            }
        };
        let person_id = draft.record.cell(person).as_str().unwrap_or_default();
        if person == lead {
            self.check_lead(person_id)?;
        }
        let campaign = self.text(&draft.record, object, "CampaignId");
        let table = self.table(&object.name).ok_or_else(Refusal::not_found)?;
        // A person is in few campaigns, a campaign has many members: so look from the person.
        let memberships = table.find(person, person_id).unwrap_or_default();
        let again = memberships
            .iter()
            .filter_map(|at| table.row(*at))
            .any(|member| self.text(member, object, "CampaignId") == campaign);
        if again { Err(Refusal::bad("DUPLICATE_VALUE", "Already a campaign member.")) } else { Ok(()) }
    }

    /// A label that the campaign lacks becomes its default status, without a word.
    fn settle_status(&self, object: &ObjectDef, draft: &mut Draft, status: usize) -> Result<(), Refusal> {
        let campaign = self.text(&draft.record, object, "CampaignId").unwrap_or_default().to_owned();
        let choices = self.member_statuses(&campaign);
        let asked = draft.record.cell(status).as_str();
        let known = choices.iter().find(|choice| asked.is_some_and(|asked| asked.eq_ignore_ascii_case(&choice.label)));
        let chosen = known.or_else(|| choices.iter().find(|choice| choice.default));
        let responded = chosen.is_some_and(|choice| choice.responded);
        if let Some(choice) = chosen {
            draft.record.set(status, Cell::text(&choice.label));
        }
        draft.record.set(self.column(object, "HasResponded")?, Cell::Bool(responded));
        let first = self.column(object, "FirstRespondedDate")?;
        if responded && draft.record.cell(first).is_null() {
            let today = timestamp(draft.record.modified);
            draft.record.set(first, Cell::text(today.get(..10).unwrap_or_default()));
        }
        Ok(())
    }

    pub(super) fn column(&self, object: &ObjectDef, field: &str) -> Result<usize, Refusal> {
        let column = self.table(&object.name).and_then(|table| table.column(field));
        column.ok_or_else(|| Refusal::no_column(field, &object.name))
    }
}
