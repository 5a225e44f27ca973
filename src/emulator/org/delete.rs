//! Deletes: the row stays, flagged, and what hangs on it goes along or lets go of it.

use super::table::Cell;
use super::write::{Access, allow};
use super::{Org, now};
use crate::emulator::schema::{FieldKind, ObjectDef};
use crate::emulator::wire::Refusal;
use crate::event::SalesforceId;

impl Org {
    pub fn delete(&mut self, object: &str, id: &str, access: Access) -> Result<SalesforceId, Refusal> {
        let schema = self.schema();
        let object = schema.object(object).ok_or_else(Refusal::not_found)?;
        let (table, row) = self.locate(object, id)?;
        allow(object.deletable, access)?;
        let record = self.tables.get(table).and_then(|table| table.row(row)).cloned();
        let mut record = record.ok_or_else(Refusal::no_record)?;
        self.lock(object, &record)?;
        let id = record.id;
        let campaign = self.text(&record, object, "CampaignId").map(str::to_owned);
        record.deleted = true;
        record.modified = now();
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

    /// Members and statuses die with their campaign, members with their person; other lookups become null.
    fn release(&mut self, child: &ObjectDef, parent: &ObjectDef, id: SalesforceId) -> Result<(), Refusal> {
        let points_here = |field: &&_| {
            let field: &crate::emulator::schema::FieldDef = field;
            field.kind == FieldKind::Reference && field.reference_to.contains(&parent.name) && field.derived.is_none()
        };
        for field in child.fields.iter().filter(points_here) {
            let found = self.find(&child.name, &field.name, id.as_str()).unwrap_or_default();
            let children: Vec<SalesforceId> = found.into_iter().map(|record| record.id).collect();
            let cascades = field.cascade || matches!(child.name.as_str(), "CampaignMember" | "CampaignMemberStatus");
            for child_id in children {
                if cascades {
                    self.delete(&child.name, child_id.as_str(), Access::System)?;
                } else {
                    self.clear(child, child_id, &field.name)?;
                }
            }
        }
        Ok(())
    }

    fn clear(&mut self, object: &ObjectDef, id: SalesforceId, field: &str) -> Result<(), Refusal> {
        let column = self.column(object, field)?;
        let (table, row) = self.locate(object, id.as_str())?;
        if let Some(mut record) = self.tables.get(table).and_then(|table| table.row(row)).cloned() {
            record.set(column, Cell::Null);
            self.table_replace(table, row, record);
        }
        Ok(())
    }
}
