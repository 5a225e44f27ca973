//! Rules that an admin of a real org adds: validation rules and duplicate rules.
//!
//! A validation rule here is a comparison of one field, set over the control surface: formulas are not evaluated, and a
//! rule that only pretended to understand one would refuse the wrong rows. A duplicate rule compares fields with those of
//! the rows that are there, without regard to case. Both apply to what users write, not to the org's own changes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Org;
use super::draft::Draft;
use super::table::{Cell, Record};
use crate::emulator::schema::{FieldDef, ObjectDef};
use crate::emulator::wire::Refusal;

/// A row for which the condition holds is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRule {
    field: String,
    refuse_if: Condition,
    message: String,
    /// Shows the error at the field, not at the top of the page.
    #[serde(default)]
    at_field: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Blank,
    Equals(Value),
    Above(f64),
    Below(f64),
    Contains(String),
}

/// A row that is like another one in all of these fields is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateRule {
    fields: Vec<String>,
    #[serde(default = "use_one")]
    message: String,
    /// Whether the caller may save all the same: the rule's action is "Allow", not "Block".
    #[serde(default = "allow")]
    allow_save: bool,
}

/// By name, so that a rule can be changed and taken away.
#[derive(Default)]
pub(super) struct Rules {
    validation: Vec<(Place, ValidationRule)>,
    duplicate: Vec<(Place, DuplicateRule)>,
    /// The caller of the transaction under way saves duplicates where that is allowed.
    save_duplicates: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Place {
    object: String,
    name: String,
}

fn use_one() -> String {
    "Use one of these records?".to_owned()
}

fn allow() -> bool {
    true
}

impl Org {
    /// Adds a rule, or changes the one of that name.
    pub fn put_validation_rule(&mut self, object: &str, name: &str, rule: ValidationRule) -> Result<(), Refusal> {
        let place = self.place(object, name, std::slice::from_ref(&rule.field))?;
        self.rules.validation.retain(|(known, _)| *known != place);
        self.rules.validation.push((place, rule));
        Ok(())
    }

    pub fn put_duplicate_rule(&mut self, object: &str, name: &str, mut rule: DuplicateRule) -> Result<(), Refusal> {
        if rule.fields.is_empty() {
            return Err(Refusal::bad("MISSING_ARGUMENT", "a duplicate rule compares at least one field"));
        }
        let place = self.place(object, name, &rule.fields)?;
        let schema = self.schema();
        let object = schema.object(object).ok_or_else(Refusal::not_found)?;
        for name in &mut rule.fields {
            object.field(name).map_or("", |field| &field.name).clone_into(name);
            // What follows from other rows is not compared.
            self.column(object, name)?;
        }
        self.rules.duplicate.retain(|(known, _)| *known != place);
        self.rules.duplicate.push((place, rule));
        Ok(())
    }

    /// Whether there was a rule of that name, of either kind.
    pub fn remove_rule(&mut self, object: &str, name: &str) -> bool {
        let other = |place: &Place| !(place.object.eq_ignore_ascii_case(object) && place.name == name);
        let rules = &mut self.rules;
        let before = rules.validation.len() + rules.duplicate.len();
        rules.validation.retain(|(place, _)| other(place));
        rules.duplicate.retain(|(place, _)| other(place));
        before > rules.validation.len() + rules.duplicate.len()
    }

    /// What `Sforce-Duplicate-Rule-Header` of the call says: `allowSave=true; includeRecordDetails=true`.
    pub fn set_duplicate_rule_header(&mut self, header: &str) {
        let mut options = header.split([';', ',']).map(|option| option.trim().to_ascii_lowercase());
        self.rules.save_duplicates = options.any(|option| option == "allowsave=true");
    }

    fn place(&self, object: &str, name: &str, fields: &[String]) -> Result<Place, Refusal> {
        let object = self.schema.object(object).ok_or_else(Refusal::not_found)?;
        match fields.iter().find(|field| object.field(field).is_none()) {
            Some(unknown) => Err(Refusal::no_column(unknown, &object.name)),
            None => Ok(Place { object: object.name.clone(), name: name.to_owned() }),
        }
    }

    /// In Salesforce's order: validation first, then duplicates.
    pub(super) fn check_rules(&self, object: &ObjectDef, draft: &Draft, new: bool) -> Result<(), Refusal> {
        for (_, rule) in self.rules.validation.iter().filter(|(place, _)| place.object == object.name) {
            if let Some(field) = object.field(&rule.field).filter(|field| self.breaks(object, draft, field, rule)) {
                let refusal = Refusal::bad("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone());
                return Err(if rule.at_field { refusal.on(&field.name) } else { refusal });
            }
        }
        for (place, rule) in self.rules.duplicate.iter().filter(|(place, _)| place.object == object.name) {
            if !(rule.allow_save && self.rules.save_duplicates) {
                self.check_duplicates(object, draft, new, (place, rule))?;
            }
        }
        Ok(())
    }

    fn breaks(&self, object: &ObjectDef, draft: &Draft, field: &FieldDef, rule: &ValidationRule) -> bool {
        let value = self.value(object, &draft.record, field);
        match &rule.refuse_if {
            Condition::Blank => value.is_null() || value == "",
            // `2` and `2.0` are the same number.
            Condition::Equals(wanted) => match (value.as_f64(), wanted.as_f64()) {
                (Some(value), Some(wanted)) => value.total_cmp(&wanted).is_eq(),
                _ => value == *wanted,
            },
            Condition::Above(limit) => value.as_f64().is_some_and(|value| value > *limit),
            Condition::Below(limit) => value.as_f64().is_some_and(|value| value < *limit),
            Condition::Contains(part) => value.as_str().is_some_and(|value| value.contains(part.as_str())),
        }
    }

    fn check_duplicates(
        &self,
        object: &ObjectDef,
        draft: &Draft,
        new: bool,
        (place, rule): (&Place, &DuplicateRule),
    ) -> Result<(), Refusal> {
        let columns: Vec<usize> =
            rule.fields.iter().map(|field| self.column(object, field)).collect::<Result<_, _>>()?;
        if !new && !columns.iter().any(|column| draft.changed.contains(column)) {
            return Ok(());
        }
        let like = |other: &&Record| {
            let same = |column: &usize| alike(draft.record.cell(*column), other.cell(*column));
            !other.deleted && other.id != draft.record.id && columns.iter().all(same)
        };
        let found: Vec<&Record> = self.rows(&object.name).iter().filter(like).collect();
        if found.is_empty() {
            return Ok(());
        }
        let records: Vec<Value> = found
            .iter()
            .map(|record| {
                json!({
                    "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
                    "record": { "attributes": { "type": object.name }, "Id": record.id.as_str() },
                })
            })
            .collect();
        let mut refusal = Refusal::bad("DUPLICATES_DETECTED", rule.message.clone());
        refusal.duplicates = Some(Box::new(json!({
            "allowSave": rule.allow_save, "duplicateRule": place.name, "duplicateRuleEntityType": object.name,
            "errorMessage": rule.message,
            "matchResults": [{
                "entityType": object.name, "errors": [], "matchEngine": "ExactMatchEngine", "matchRecords": records,
                "rule": place.name, "size": found.len(), "success": true,
            }],
        })));
        Err(refusal)
    }
}

/// Blank fields are like nothing.
fn alike(one: &Cell, other: &Cell) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one.trim().to_lowercase() == other.trim().to_lowercase(),
        _ => !one.is_null() && one == other,
    }
}
