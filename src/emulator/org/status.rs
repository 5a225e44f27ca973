//! The statuses a campaign offers its members: a new campaign has two, one is always the default, one always counts
//! as a response.

use serde_json::json;

use super::Org;
use super::draft::{Access, Draft};
use super::table::{Cell, Record};
use crate::emulator::schema::ObjectDef;
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

const OBJECT: &str = "CampaignMemberStatus";

/// One status of a campaign.
pub(super) struct MemberStatus {
    pub id: SalesforceId,
    pub label: String,
    pub default: bool,
    pub responded: bool,
    sort_order: f64,
}

impl Org {
    pub(super) fn member_statuses(&self, campaign: &str) -> Vec<MemberStatus> {
        let Some(object) = self.schema.object(OBJECT) else { return Vec::new() };
        let flag = |record: &Record, field: &str| self.cell(record, object, field) == Some(&Cell::Bool(true));
        let status = |record: &Record| MemberStatus {
            id: record.id,
            label: self.text(record, object, "Label").unwrap_or_default().to_owned(),
            default: flag(record, "IsDefault"),
            responded: flag(record, "HasResponded"),
            sort_order: match self.cell(record, object, "SortOrder") {
                Some(Cell::Number(order)) => *order,
                _ => 0.0,
            },
        };
        let records = self.find(OBJECT, "CampaignId", campaign).unwrap_or_default();
        records.into_iter().map(status).collect()
    }

    pub(super) fn status_rules(
        &self,
        object: &ObjectDef,
        draft: &mut Draft,
        before: Option<&Record>,
    ) -> Result<(), Refusal> {
        let campaign = self.text(&draft.record, object, "CampaignId").unwrap_or_default();
        let others: Vec<MemberStatus> =
            self.member_statuses(campaign).into_iter().filter(|status| status.id != draft.record.id).collect();
        let order = self.column(object, "SortOrder")?;
        if before.is_none() && draft.record.cell(order).is_null() {
            let last = others.iter().map(|status| status.sort_order).fold(0.0, f64::max);
            draft.record.set(order, Cell::Number(last + 1.0));
        }
        let label = self.text(&draft.record, object, "Label").unwrap_or_default();
        let same_label = others.iter().find(|status| status.label.eq_ignore_ascii_case(label));
        let same_order = others.iter().find(|status| *draft.record.cell(order) == Cell::Number(status.sort_order));
        match (same_label, same_order) {
            (Some(other), _) => Err(duplicate("Label", other.id)),
            (None, Some(other)) => Err(duplicate("SortOrder", other.id)),
            (None, None) => Ok(()),
        }
    }

    /// A new campaign begins with the statuses Sent and Responded.
    pub(super) fn give_statuses(&mut self, campaign: SalesforceId) -> Result<(), Refusal> {
        if !self.member_statuses(campaign.as_str()).is_empty() {
            return Ok(());
        }
        for (label, sort_order, default) in [("Sent", 1, true), ("Responded", 2, false)] {
            let status = json!({
                "CampaignId": campaign.as_str(), "Label": label, "SortOrder": sort_order,
                "IsDefault": default, "HasResponded": !default,
            });
            let body = status.as_object().cloned().unwrap_or_default();
            self.insert(OBJECT, &body, Access::System)?;
        }
        Ok(())
    }

    /// A status that becomes the default takes that from the others; the last default and the last response stay.
    pub(super) fn settle_statuses(&mut self, written: SalesforceId) -> Result<(), Refusal> {
        let schema = self.schema();
        let object = schema.object(OBJECT).ok_or_else(Refusal::not_found)?;
        let record = self.record(OBJECT, written.as_str()).ok_or_else(Refusal::no_record)?;
        let campaign = self.text(record, object, "CampaignId").unwrap_or_default().to_owned();
        let statuses = self.member_statuses(&campaign);
        let is_default = statuses.iter().any(|status| status.id == written && status.default);
        if is_default {
            for other in statuses.iter().filter(|status| status.default && status.id != written) {
                self.set_flag(object, other.id, "IsDefault", false)?;
            }
        }
        self.carry_response(object, written, &campaign)?;
        // The first of the two that a new campaign gets stands alone for a moment.
        if statuses.len() > 1 { self.check_statuses(&campaign) } else { Ok(()) }
    }

    /// Members that have the status follow its HasResponded.
    fn carry_response(&mut self, object: &ObjectDef, status: SalesforceId, campaign: &str) -> Result<(), Refusal> {
        let schema = self.schema();
        let member = schema.object("CampaignMember").ok_or_else(Refusal::not_found)?;
        let record = self.record(OBJECT, status.as_str()).ok_or_else(Refusal::no_record)?;
        let responded = self.cell(record, object, "HasResponded").cloned().unwrap_or(Cell::Bool(false));
        let label = self.text(record, object, "Label");
        let stale = |found: &&Record| {
            self.text(found, member, "Status") == label && self.cell(found, member, "HasResponded") != Some(&responded)
        };
        let members = self.find("CampaignMember", "CampaignId", campaign).unwrap_or_default();
        let stale: Vec<SalesforceId> = members.into_iter().filter(stale).map(|found| found.id).collect();
        for id in stale {
            self.set_flag(member, id, "HasResponded", responded == Cell::Bool(true))?;
        }
        Ok(())
    }

    pub(super) fn check_statuses(&self, campaign: &str) -> Result<(), Refusal> {
        let statuses = self.member_statuses(campaign);
        if statuses.iter().any(|status| status.default) && statuses.iter().any(|status| status.responded) {
            return Ok(());
        }
        Err(Refusal::bad(
            "FIELD_INTEGRITY_EXCEPTION",
            "a campaign needs a default member status and one that counts as responded",
        ))
    }

    fn set_flag(&mut self, object: &ObjectDef, id: SalesforceId, field: &str, value: bool) -> Result<(), Refusal> {
        let column = self.column(object, field)?;
        let (table, row) = self.locate(object, id.as_str())?;
        let record = self.tables.get(table).and_then(|table| table.row(row)).cloned();
        if let Some(mut record) = record {
            record.set(column, Cell::Bool(value));
            self.table_replace(table, row, record);
        }
        Ok(())
    }
}

fn duplicate(field: &str, other: SalesforceId) -> Refusal {
    let message = format!("duplicate value found: {field} duplicates value on record with id: {other}");
    Refusal::bad("DUPLICATE_VALUE", message)
}
