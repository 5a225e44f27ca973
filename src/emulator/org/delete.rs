//! Deletes: the row stays, flagged, and what hangs on it goes along or lets go of it.

use super::Org;
use super::draft::{Access, allow};
use super::people::points_to;
use super::table::{Cell, Record};
use super::time::now;
use crate::emulator::schema::ObjectDef;
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

impl Org {
    pub fn delete(&mut self, object: &str, id: &str, access: Access) -> Result<SalesforceId, Refusal> {
        self.delete_with(object, id, access, None)
    }

    fn delete_with(
        &mut self,
        object: &str,
        id: &str,
        access: Access,
        taken_by: Option<SalesforceId>,
    ) -> Result<SalesforceId, Refusal> {
        let schema = self.schema();
        let object = schema.object(object).ok_or_else(Refusal::not_found)?;
        let (table, row) = self.locate(object, id)?;
        allow(object.deletable, access)?;
        let record = self.tables.get(table).and_then(|table| table.row(row)).cloned();
        let mut record = record.ok_or_else(Refusal::no_record)?;
        self.lock(object, &record)?;
        let id = record.id;
        let campaign = self.text(&record, object, "CampaignId").map(str::to_owned);
        (record.deleted, record.taken_by, record.modified) = (true, taken_by, now());
        self.table_replace(table, row, record);
        for child in schema.objects() {
            self.release(child, object, id)?;
        }
        match campaign.filter(|_| object.name == "CampaignMemberStatus") {
            // The campaign's own end takes all of its statuses.
            Some(campaign) if self.record("Campaign", &campaign).is_some_and(|record| !record.deleted) => {
                self.check_statuses(&campaign)?;
            }
            _ => {}
        }
        Ok(id)
    }

    /// Members and statuses die with their campaign, members with their person; other lookups become null. A member that
    /// has moved to a contact is no longer its lead's.
    fn release(&mut self, child: &ObjectDef, parent: &ObjectDef, id: SalesforceId) -> Result<(), Refusal> {
        for field in child.fields.iter().filter(|field| points_to(field, parent)) {
            let cascades = field.cascade || matches!(child.name.as_str(), "CampaignMember" | "CampaignMemberStatus");
            let found = self.find(&child.name, &field.name, id.as_str()).unwrap_or_default();
            let moved = |record: &Record| field.name == "LeadId" && self.text(record, child, "ContactId").is_some();
            let children: Vec<(SalesforceId, bool)> =
                found.into_iter().map(|record| (record.id, cascades && !moved(record))).collect();
            for (child_id, goes) in children {
                if goes {
                    self.delete_with(&child.name, child_id.as_str(), Access::System, Some(id))?;
                } else {
                    self.point(child, child_id, &field.name, Cell::Null)?;
                }
            }
        }
        Ok(())
    }

    /// Sets a lookup as the org itself, whatever the rules for writers.
    pub(super) fn point(
        &mut self,
        object: &ObjectDef,
        id: SalesforceId,
        field: &str,
        target: Cell,
    ) -> Result<(), Refusal> {
        let column = self.column(object, field)?;
        let (table, row) = self.locate(object, id.as_str())?;
        if let Some(mut record) = self.tables.get(table).and_then(|table| table.row(row)).cloned() {
            record.set(column, target);
            self.table_replace(table, row, record);
        }
        Ok(())
    }
}
