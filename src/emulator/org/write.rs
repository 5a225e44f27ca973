//! Inserts and updates: from a JSON body to a stored row, through every rule on the way.
//!
//! The order of the checks is the order in which Salesforce reports: the body's shape, who may write what, the values,
//! what they refer to, the object's own rules, and uniqueness last.

use super::Org;
use super::check::cell_of;
use super::draft::{Access, Body, Draft, allow, required};
use super::number::{auto_number, numbered_id};
use super::table::{Cell, Record};
use super::time::now;
use crate::emulator::schema::{FieldDef, FieldKind, ObjectDef};
use crate::emulator::wire::Refusal;
use crate::id::SalesforceId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Update,
}

impl Org {
    pub fn insert(&mut self, object: &str, body: &Body, access: Access) -> Result<SalesforceId, Refusal> {
        let schema = self.schema();
        let object = schema.object(object).ok_or_else(Refusal::not_found)?;
        allow(object.createable, access)?;
        let cells = self.cells(object, body, Operation::Create, access)?;
        let table = self.table_index(&object.name).ok_or_else(Refusal::not_found)?;
        let number = self.tables.get(table).map_or(1, |table| table.next);
        let organization = object.name == "Organization";
        let id = if organization { self.organization } else { numbered_id(&object.key_prefix, number) };
        let mut draft = Draft { record: Record::new(id, now()), changed: Vec::new() };
        self.complete(object, &mut draft.record, number);
        draft.take(cells);
        self.check_required(object, &draft.record, access)?;
        self.check_references(object, &draft)?;
        self.lock(object, &draft.record)?;
        self.object_rules(object, &mut draft, None)?;
        if access == Access::User {
            self.check_rules(object, &draft, true)?;
        }
        self.check_unique(object, &draft, None)?;
        let id = draft.record.id;
        self.table_push(table, draft.record);
        if let Some(table) = self.tables.get_mut(table) {
            table.next = number + 1;
        }
        self.after_write(object, id)?;
        Ok(id)
    }

    pub fn update(&mut self, object: &str, id: &str, body: &Body, access: Access) -> Result<SalesforceId, Refusal> {
        let schema = self.schema();
        let object = schema.object(object).ok_or_else(Refusal::not_found)?;
        let (table, row) = self.locate(object, id)?;
        allow(object.updateable, access)?;
        let cells = self.cells(object, body, Operation::Update, access)?;
        let before = self.tables.get(table).and_then(|table| table.row(row)).ok_or_else(Refusal::no_record)?.clone();
        let mut draft = Draft { record: before.clone(), changed: Vec::new() };
        draft.record.modified = now();
        draft.take(cells);
        self.check_required(object, &draft.record, access)?;
        self.check_references(object, &draft)?;
        self.lock(object, &draft.record)?;
        self.object_rules(object, &mut draft, Some(&before))?;
        if access == Access::User {
            self.check_rules(object, &draft, false)?;
        }
        self.check_unique(object, &draft, Some(row))?;
        self.table_replace(table, row, draft.record);
        self.after_write(object, before.id)?;
        Ok(before.id)
    }

    /// Table and row of a live record that a call addresses.
    pub(super) fn locate(&self, object: &ObjectDef, id: &str) -> Result<(usize, usize), Refusal> {
        let parsed = SalesforceId::parse(id).filter(|id| id.has_prefix(&object.key_prefix));
        let parsed = parsed.ok_or_else(|| {
            Refusal::bad("MALFORMED_ID", format!("{} ID: id value of incorrect type: {id}", object.label)).on("Id")
        })?;
        let table = self.table_index(&object.name).ok_or_else(Refusal::not_found)?;
        let rows = self.tables.get(table).ok_or_else(Refusal::not_found)?;
        let row = rows.position(parsed).ok_or_else(Refusal::no_record)?;
        if rows.row(row).is_some_and(|record| record.deleted) {
            return Err(Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted"));
        }
        Ok((table, row))
    }

    /// What the body asks for, by column.
    fn cells(
        &self,
        object: &ObjectDef,
        body: &Body,
        operation: Operation,
        access: Access,
    ) -> Result<Vec<(usize, Cell)>, Refusal> {
        let mut cells = Vec::with_capacity(body.len());
        let mut refused = Vec::new();
        for (name, value) in body.iter().filter(|(name, _)| *name != "attributes") {
            if name.eq_ignore_ascii_case("id") {
                return Err(Refusal::bad("INVALID_FIELD", "The Id field should not be specified in the sobject data."));
            }
            let nested = value.as_object();
            let field = match nested {
                Some(_) => object.relationship(name),
                None => object.field(name),
            };
            let field = field.ok_or_else(|| Refusal::no_column(name, &object.name))?;
            let writable = match operation {
                Operation::Create => field.createable,
                Operation::Update => field.updateable,
            };
            if access == Access::User && !writable || field.derived.is_some() {
                refused.push(field.name.clone());
                continue;
            }
            let cell = match nested {
                Some(parent) => self.nested_reference(field, name, parent)?,
                None => cell_of(field, value)?,
            };
            if let Some(column) = self.table(&object.name).and_then(|table| table.column(&field.name)) {
                cells.push((column, cell));
            }
        }
        if refused.is_empty() { Ok(cells) } else { Err(Refusal::read_only(refused)) }
    }

    /// `"Lead__r": {"Key__c": "x"}`: a parent by its external id.
    fn nested_reference(&self, field: &FieldDef, name: &str, parent: &Body) -> Result<Cell, Refusal> {
        let key = parent.iter().find(|(name, _)| *name != "attributes");
        let (key, value) = key.ok_or_else(|| Refusal::no_column("null", name))?;
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for target in field.reference_to.iter().filter_map(|target| self.schema.object(target)) {
            let Some(key) = target.field(key).filter(|key| key.external_id || key.id_lookup) else { continue };
            return match self.find(&target.name, &key.name, &shown).as_deref() {
                Some([record]) => Ok(Cell::text(record.id.as_str())),
                _ => Err(Refusal::bad(
                    "INVALID_FIELD",
                    format!(
                        "Foreign key external ID: {shown} not found for field {} in entity {}",
                        key.name, target.name
                    ),
                )),
            };
        }
        Err(Refusal::no_column(key, name))
    }

    /// What a new row has before anybody sets anything.
    fn complete(&self, object: &ObjectDef, record: &mut Record, number: u64) {
        let Some(table) = self.table(&object.name) else { return };
        for field in &object.fields {
            let Some(column) = table.column(&field.name) else { continue };
            let cell = match (&field.auto_number, &field.default) {
                (Some(format), _) => Cell::text(&auto_number(format, number)),
                (None, Some(default)) => cell_of(field, default).unwrap_or(Cell::Null),
                (None, None) if field.name == "OwnerId" => Cell::text(self.user.as_str()),
                (None, None) => continue,
            };
            record.set(column, cell);
        }
    }

    /// The org itself may leave custom fields empty: its rows can be older than the field.
    fn check_required(&self, object: &ObjectDef, record: &Record, access: Access) -> Result<(), Refusal> {
        let missing = |field: &&FieldDef| {
            let required = field.required && !(field.custom && access == Access::System);
            required && self.cell(record, object, &field.name).is_some_and(Cell::is_null)
        };
        let missing: Vec<String> = object.fields.iter().filter(missing).map(|field| field.name.clone()).collect();
        if missing.is_empty() { Ok(()) } else { Err(required(missing)) }
    }

    fn check_references(&self, object: &ObjectDef, draft: &Draft) -> Result<(), Refusal> {
        let table = self.table(&object.name).ok_or_else(Refusal::not_found)?;
        for field in object.fields.iter().filter(|field| field.kind == FieldKind::Reference) {
            let Some(column) = table.column(&field.name).filter(|column| draft.changed.contains(column)) else {
                continue;
            };
            let Some(id) = draft.record.cell(column).as_str() else { continue };
            self.check_reference(field, id)?;
            // A member may name its lead beside its contact.
            if object.name != "CampaignMember" {
                self.check_lead(id)?;
            }
        }
        Ok(())
    }

    fn check_reference(&self, field: &FieldDef, id: &str) -> Result<(), Refusal> {
        let parent = self.schema.object_of_id(id).filter(|parent| field.reference_to.contains(&parent.name));
        let Some(parent) = parent else {
            let message = format!("{}: id value of incorrect type: {id}", field.label);
            return Err(Refusal::bad("MALFORMED_ID", message).on(&field.name));
        };
        match self.record(&parent.name, id) {
            None => Err(Refusal::bad("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").on(&field.name)),
            Some(parent) if parent.deleted => {
                Err(Refusal::bad("ENTITY_IS_DELETED", "entity is deleted").on(&field.name))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn check_unique(&self, object: &ObjectDef, draft: &Draft, own: Option<usize>) -> Result<(), Refusal> {
        let table = self.table(&object.name).ok_or_else(Refusal::not_found)?;
        for field in object.fields.iter().filter(|field| field.unique) {
            let Some(column) = table.column(&field.name) else { continue };
            let Some(value) = draft.record.cell(column).as_str() else { continue };
            let other = table.find(column, value).and_then(|rows| rows.iter().find(|row| Some(**row) != own));
            if let Some(other) = other.and_then(|row| table.row(*row)) {
                return Err(Refusal::bad(
                    "DUPLICATE_VALUE",
                    format!("duplicate value found: {} duplicates value on record with id: {}", field.name, other.id),
                ));
            }
        }
        Ok(())
    }

    /// Rules that one object has and others have not.
    fn object_rules(&self, object: &ObjectDef, draft: &mut Draft, before: Option<&Record>) -> Result<(), Refusal> {
        match object.name.as_str() {
            "CampaignMember" => self.member_rules(object, draft, before),
            "CampaignMemberStatus" => self.status_rules(object, draft, before),
            "Lead" => self.lead_rules(object, before),
            _ => Ok(()),
        }
    }

    fn after_write(&mut self, object: &ObjectDef, id: SalesforceId) -> Result<(), Refusal> {
        match object.name.as_str() {
            "Campaign" => self.give_statuses(id),
            "CampaignMemberStatus" => self.settle_statuses(id),
            _ => Ok(()),
        }
    }
}
