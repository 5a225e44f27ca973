//! Describe results: what clients read to learn which fields exist and what they hold.
//!
//! Every key of a real describe is present, also those that never vary here: clients index them without asking.

use serde_json::{Value, json};

use super::field::{FieldDef, FieldKind};
use super::{ObjectDef, Schema};

/// An entry of `GET /sobjects`; `base` is `/services/data/vNN.0`.
pub fn summary(object: &ObjectDef, base: &str) -> Value {
    let url = format!("{base}/sobjects/{}", object.name);
    json!({
        "activateable": false,
        "associateEntityType": null,
        "associateParentEntity": null,
        "createable": object.createable,
        "custom": object.custom,
        "customSetting": false,
        "deepCloneable": false,
        "deletable": object.deletable,
        "deprecatedAndHidden": false,
        "feedEnabled": false,
        "hasSubtypes": false,
        "isInterface": false,
        "isSubtype": false,
        "keyPrefix": object.key_prefix,
        "label": object.label,
        "labelPlural": object.plural_label,
        "layoutable": true,
        "mergeable": matches!(object.name.as_str(), "Account" | "Contact" | "Lead"),
        "mruEnabled": true,
        "name": object.name,
        "queryable": object.readable,
        "replicateable": true,
        "retrieveable": object.readable,
        "searchable": false,
        "triggerable": true,
        "undeletable": object.deletable,
        "updateable": object.updateable,
        "urls": {
            "describe": format!("{url}/describe"),
            "rowTemplate": format!("{url}/{{ID}}"),
            "sobject": url,
        },
    })
}

/// `GET /sobjects/X/describe`.
pub fn object(schema: &Schema, object: &ObjectDef, base: &str) -> Value {
    let mut described = summary(object, base);
    let fields: Vec<Value> = object.fields.iter().map(field).collect();
    if let Some(map) = described.as_object_mut() {
        map.insert("actionOverrides".to_owned(), json!([]));
        map.insert("childRelationships".to_owned(), children(schema, object));
        map.insert("compactLayoutable".to_owned(), json!(true));
        map.insert("fields".to_owned(), fields.into());
        map.insert("listviewable".to_owned(), Value::Null);
        map.insert("lookupLayoutable".to_owned(), Value::Null);
        map.insert("namedLayoutInfos".to_owned(), json!([]));
        map.insert("networkScopeFieldName".to_owned(), Value::Null);
        map.insert("recordTypeInfos".to_owned(), json!([]));
        map.insert("searchLayoutable".to_owned(), json!(false));
        map.insert("sobjectDescribeOption".to_owned(), json!("FULL"));
        map.insert("supportedScopes".to_owned(), json!([{"label": "All", "name": "everything"}]));
    }
    described
}

fn children(schema: &Schema, parent: &ObjectDef) -> Value {
    let mut children = Vec::new();
    for child in schema.objects() {
        for field in child.fields.iter().filter(|field| field.reference_to.contains(&parent.name)) {
            children.push(json!({
                "cascadeDelete": field.cascade,
                "childSObject": child.name,
                "deprecatedAndHidden": false,
                "field": field.name,
                "junctionIdListNames": [],
                "junctionReferenceTo": [],
                "relationshipName": field.child_relationship,
                "restrictedDelete": false,
            }));
        }
    }
    children.into()
}

/// One field of a describe.
pub fn field(field: &FieldDef) -> Value {
    let mut described = nature(field);
    for part in [access(field), constants()] {
        if let (Some(all), Value::Object(part)) = (described.as_object_mut(), part) {
            all.extend(part);
        }
    }
    described
}

/// What the field holds.
fn nature(field: &FieldDef) -> Value {
    let kind = field.kind;
    let int = kind == FieldKind::Int;
    json!({
        "name": field.name,
        "label": field.label,
        "type": type_name(kind),
        "soapType": soap_type(kind),
        "length": field.length,
        // UTF-8 of the longest text; ids are ASCII.
        "byteLength": if kind.identifier() { field.length } else { field.length * 3 },
        "precision": field.precision(),
        "scale": field.scale(),
        "digits": if int { 9 } else { 0 },
        "picklistValues": field.picklist.iter().map(|value| picklist_value(field, value)).collect::<Vec<_>>(),
        "restrictedPicklist": field.restricted,
        "referenceTo": field.reference_to,
        "relationshipName": field.relationship_name,
        "relationshipOrder": null,
        "referenceTargetField": null,
        "polymorphicForeignKey": field.reference_to.len() > 1,
        "namePointing": field.reference_to.len() > 1,
        "autoNumber": field.auto_number.is_some(),
        "caseSensitive": field.case_sensitive,
        "defaultValue": if kind == FieldKind::Boolean { field.default.clone() } else { None },
        "extraTypeInfo": if kind == FieldKind::TextArea { json!("plaintextarea") } else { Value::Null },
        "nameField": field.name_field,
        "custom": field.custom,
    })
}

/// Who may do what with it.
fn access(field: &FieldDef) -> Value {
    let long = field.kind == FieldKind::TextArea && field.length > 255;
    json!({
        "aggregatable": !long && field.kind != FieldKind::Boolean,
        "createable": field.createable,
        "updateable": field.updateable,
        "cascadeDelete": field.cascade,
        "nillable": field.nillable,
        "unique": field.unique,
        "externalId": field.external_id,
        "idLookup": field.id_lookup,
        "defaultedOnCreate": field.defaulted_on_create() || matches!(field.name.as_str(), "OwnerId" | "CreatedDate"),
        "filterable": !long,
        "groupable": !long && !matches!(field.kind, FieldKind::Number { .. } | FieldKind::DateTime),
        "sortable": !long,
        "permissionable": field.custom && !field.required,
    })
}

/// Keys of features that no field here has.
fn constants() -> Value {
    json!({
        "aiPredictionField": false,
        "calculated": false,
        "calculatedFormula": null,
        "compoundFieldName": null,
        "controllerName": null,
        "defaultValueFormula": null,
        "dependentPicklist": false,
        "deprecatedAndHidden": false,
        "displayLocationInDecimal": false,
        "encrypted": false,
        "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "highScaleNumber": false,
        "htmlFormatted": false,
        "inlineHelpText": null,
        "mask": null,
        "maskType": null,
        "queryByDistance": false,
        "restrictedDelete": false,
        "searchPrefilterable": false,
        "writeRequiresMasterRead": false,
    })
}

fn picklist_value(field: &FieldDef, value: &str) -> Value {
    let default = field.default.as_ref().and_then(Value::as_str) == Some(value);
    json!({"active": true, "defaultValue": default, "label": value, "validFor": null, "value": value})
}

/// `type` of a describe, also `apexType` of a query's column metadata in another spelling.
pub fn type_name(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Id => "id",
        FieldKind::Text => "string",
        FieldKind::TextArea => "textarea",
        FieldKind::Number { .. } => "double",
        FieldKind::Int => "int",
        FieldKind::Boolean => "boolean",
        FieldKind::Date => "date",
        FieldKind::DateTime => "datetime",
        FieldKind::Email => "email",
        FieldKind::Phone => "phone",
        FieldKind::Url => "url",
        FieldKind::Picklist => "picklist",
        FieldKind::Reference => "reference",
    }
}

/// The name of the type in XML, where it has one.
pub fn soap_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Id | FieldKind::Reference => "tns:ID",
        FieldKind::Number { .. } => "xsd:double",
        FieldKind::Int => "xsd:int",
        FieldKind::Boolean => "xsd:boolean",
        FieldKind::Date => "xsd:date",
        FieldKind::DateTime => "xsd:dateTime",
        FieldKind::Text
        | FieldKind::TextArea
        | FieldKind::Email
        | FieldKind::Phone
        | FieldKind::Url
        | FieldKind::Picklist => "xsd:string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the typings of jsforce list them.
    const KEYS: &str = "aggregatable autoNumber byteLength calculated calculatedFormula cascadeDelete caseSensitive \
        compoundFieldName controllerName createable custom defaultValue defaultValueFormula defaultedOnCreate \
        dependentPicklist deprecatedAndHidden digits displayLocationInDecimal encrypted externalId extraTypeInfo \
        filterable filteredLookupInfo groupable highScaleNumber htmlFormatted idLookup inlineHelpText label length mask \
        maskType name nameField namePointing nillable permissionable picklistValues polymorphicForeignKey precision \
        queryByDistance referenceTargetField referenceTo relationshipName relationshipOrder restrictedDelete \
        restrictedPicklist scale searchPrefilterable soapType sortable type unique updateable writeRequiresMasterRead";

    #[test]
    fn a_field_describe_has_every_key() {
        let schema = Schema::load_embedded();
        let member = schema.object("CampaignMember").expect("standard object");
        let described = field(member.field("external_id__c").expect("embedded"));
        for key in KEYS.split_whitespace() {
            assert!(described.get(key).is_some(), "{key}");
        }
        assert_eq!((&described["type"], &described["byteLength"]), (&json!("string"), &json!(300)));
        assert_eq!((&described["unique"], &described["idLookup"]), (&json!(true), &json!(true)));
    }

    #[test]
    fn an_object_describe_lists_what_points_to_it() {
        let schema = Schema::load_embedded();
        let lead = object(&schema, schema.object("Lead").expect("standard object"), "/services/data/v62.0");
        let children = lead["childRelationships"].as_array().expect("a list");
        let polls = children.iter().find(|child| child["childSObject"] == "Kaltura_User_Polls__c").expect("a lookup");
        assert_eq!(polls["relationshipName"], "Kaltura_User_Polls__r");
        assert_eq!(lead["urls"]["rowTemplate"], "/services/data/v62.0/sobjects/Lead/{ID}");
    }
}
