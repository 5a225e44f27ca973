//! Objects and fields out of SFDX source files (`objects/X/X.object-meta.xml`, `objects/X/fields/Y.field-meta.xml`) or
//! their form in a deployment package (`objects/X.object`, fields inside).
//!
//! Strict about what it reads: a field type that the emulator could only pretend to support is an error, not a text
//! field. Files of other kinds, and standard objects that the emulator does not have, are passed over: nothing can be
//! asked about them.

use std::collections::HashSet;

use roxmltree::{Document, Node};

use super::component::Component;
use super::element::Element;
use super::field::{FieldDef, FieldKind};
use super::object::ObjectDef;
use super::source::{Error, Source};
use super::standard;

const OBJECT_FILES: [&str; 2] = [".object-meta.xml", ".object"];
const FIELD_FILE: &str = ".field-meta.xml";
/// The enum `FieldType` of the Metadata API. A file with another type cannot be read at all.
const FIELD_TYPES: [&str; 29] = [
    "Address",
    "Array",
    "AutoNumber",
    "Checkbox",
    "Currency",
    "Date",
    "DateTime",
    "Email",
    "EncryptedText",
    "ExternalLookup",
    "File",
    "Hierarchy",
    "Html",
    "IndirectLookup",
    "Location",
    "LongTextArea",
    "Lookup",
    "MasterDetail",
    "MetadataRelationship",
    "MultiselectPicklist",
    "Number",
    "Percent",
    "Phone",
    "Picklist",
    "Summary",
    "Text",
    "TextArea",
    "Time",
    "Url",
];

/// Adds objects first, then fields, which may look up any of them. What is wrong is left out.
pub(super) fn declare(objects: &mut Vec<ObjectDef>, sources: &[Source]) -> Vec<Component> {
    let mut components = Vec::new();
    let mut documents = Vec::new();
    for source in sources {
        let Some(component) = component(source) else { continue };
        match definition(source) {
            Ok(document) => documents.push((source, document)),
            Err(error) => components.push(component.failed(error)),
        }
    }
    for (source, document) in &documents {
        let root = Element { source, node: document.root_element() };
        if let Some(name) = source.stem(&OBJECT_FILES).filter(|name| name.ends_with("__c")) {
            components.extend(declare_object(objects, name, &root));
        }
    }
    let mut seen = HashSet::new();
    for (source, document) in &documents {
        let root = Element { source, node: document.root_element() };
        let (object, fields) = match source.stem(&OBJECT_FILES) {
            Some(object) => (object, root.children("fields").collect()),
            None => (source.object_folder().unwrap_or_default(), vec![root]),
        };
        for field in fields {
            // Files of standard fields only carry labels, help texts and history settings.
            let name = field.text("fullName").unwrap_or_default();
            if !name.is_empty() && !name.ends_with("__c") {
                continue;
            }
            let Some(known) = objects.iter().find(|known| known.name.eq_ignore_ascii_case(object)) else {
                components.extend(orphan(object, &field));
                continue;
            };
            let before = known.declared.iter().find(|known| known.name.eq_ignore_ascii_case(name)).cloned();
            let again = !seen.insert(format!("{object}.{name}").to_ascii_lowercase());
            let after =
                if again { Err(twice(&field)) } else { declare_field(objects, object, before.as_ref(), &field) };
            let component = Component::new("CustomField", &format!("{object}.{name}"), &source.path);
            components.push(match after {
                Ok(after) => component.made(before.as_ref(), &after),
                Err(error) => component.failed(error),
            });
        }
    }
    components
}

/// The document, if all of its fields are of known types.
fn definition(source: &Source) -> Result<Document<'_>, Error> {
    let document = source.document()?;
    for node in document.descendants().filter(|node| matches!(node.tag_name().name(), "fields" | "CustomField")) {
        let field = Element { source, node };
        if let Some(unknown) = field.text("type").filter(|name| !FIELD_TYPES.contains(name)) {
            let error = field.invalid("type", &format!("is `{unknown}`"), "use a type of the Metadata API");
            return Err(
                error.telling(format!("Error parsing file: '{unknown}' is not a valid value for the enum 'FieldType'"))
            );
        }
    }
    Ok(document)
}

/// The component that a file is, as far as its path tells. None: it defines no object and no field.
fn component(source: &Source) -> Option<Component> {
    match (source.stem(&OBJECT_FILES), source.stem(&[FIELD_FILE])) {
        (Some(object), _) => Some(Component::new("CustomObject", object, &source.path)),
        (None, Some(field)) => {
            let name = format!("{}.{field}", source.object_folder().unwrap_or_default());
            Some(Component::new("CustomField", &name, &source.path))
        }
        (None, None) => None,
    }
}

/// Of an object that nobody declares: wrong, unless it is a standard object that the emulator does not have.
fn orphan(object: &str, element: &Element<'_, '_>) -> Option<Component> {
    if !object.is_empty() && !object.ends_with("__c") {
        return None;
    }
    let name = format!("{object}.{}", element.text("fullName").unwrap_or_default());
    let error = if object.is_empty() {
        element.invalid("CustomField", "is not in a `fields` folder", "keep `objects/<Object>/fields/`")
    } else {
        let problem = format!("is a field of `{object}`, which is not declared");
        element.invalid("fullName", &problem, "add the object's `.object-meta.xml` file")
    };
    let error = error.telling("Parent entity failed to deploy");
    Some(Component::new("CustomField", &name, &element.source.path).failed(error))
}

fn twice(element: &Element<'_, '_>) -> Error {
    let error = element.invalid("fullName", "is there twice", "name each field once");
    error.telling("duplicate value found: <unknown> duplicates value on record with id: <unknown>")
}

/// None: the file only brings fields to an object that is there.
fn declare_object(objects: &mut Vec<ObjectDef>, name: &str, root: &Element<'_, '_>) -> Option<Component> {
    let known = objects.iter_mut().find(|object| object.name.eq_ignore_ascii_case(name));
    let only_fields = root.node.children().filter(Node::is_element).all(|node| node.tag_name().name() == "fields");
    if known.is_some() && only_fields {
        return None;
    }
    let component = Component::new("CustomObject", name, &root.source.path);
    let naming = match Naming::read(root) {
        Ok(naming) => naming,
        Err(error) => return Some(component.failed(error)),
    };
    let before = known.as_ref().and_then(|known| Naming::of(known));
    let component = component.made(before.as_ref(), &naming);
    if let Some(known) = known {
        known.label = naming.label;
        known.plural_label = naming.plural_label;
        known.declare(naming.field);
        return Some(component);
    }
    let nth = objects.iter().filter(|object| object.custom).count();
    let mut object = ObjectDef::new(name, &naming.label, &naming.plural_label, &key_prefix(nth));
    object.declare(naming.field);
    standard::system_fields(&mut object);
    object.declare(standard::owner());
    objects.push(object);
    Some(component)
}

/// What an object's own file says.
#[derive(PartialEq)]
struct Naming {
    label: String,
    plural_label: String,
    field: FieldDef,
}

impl Naming {
    fn of(object: &ObjectDef) -> Option<Self> {
        let field = object.declared.iter().find(|field| field.name_field)?.clone();
        Some(Self { label: object.label.clone(), plural_label: object.plural_label.clone(), field })
    }

    fn read(root: &Element<'_, '_>) -> Result<Self, Error> {
        let unnamed = |error: Error| error.telling("Must specify a non-empty label for the CustomObject");
        let label = root.required("label").map_err(unnamed)?;
        let plural_label = root.required("pluralLabel")?;
        let untyped = |error: Error| error.telling("Must specify a nameField of type Text or AutoNumber");
        let name_field = root.child("nameField").ok_or_else(|| untyped(root.missing("nameField")))?;
        let mut field = match name_field.required("type").map_err(untyped)? {
            "AutoNumber" => {
                let mut field = FieldDef::text("Name", 80).read_only();
                field.auto_number = Some(name_field.text("displayFormat").unwrap_or("{0}").to_owned());
                field.nillable = false;
                field
            }
            "Text" => FieldDef::text("Name", 80),
            other => {
                let error = name_field.invalid("type", &format!("is `{other}`"), "use `AutoNumber` or `Text`");
                return Err(untyped(error));
            }
        };
        name_field.required("label")?.clone_into(&mut field.label);
        Ok(Self { label: label.to_owned(), plural_label: plural_label.to_owned(), field: field.naming() })
    }
}

/// `a00`, `a01`, …: custom objects get theirs in the order in which they are deployed.
fn key_prefix(nth: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digit = |at: usize| DIGITS.get(at % DIGITS.len()).copied().map_or('0', char::from);
    format!("a{}{}", digit(nth / DIGITS.len()), digit(nth))
}

fn declare_field(
    objects: &mut [ObjectDef],
    object: &str,
    before: Option<&FieldDef>,
    element: &Element<'_, '_>,
) -> Result<FieldDef, Error> {
    let field = read_field(element.required("fullName")?, element)?;
    if before.is_some_and(|before| std::mem::discriminant(&before.kind) != std::mem::discriminant(&field.kind)) {
        let error =
            element.invalid("type", "is another one than the org has", "give a field of another type a new name");
        return Err(error.telling("Cannot change type due to existing data"));
    }
    if let Some(unknown) = field.reference_to.iter().find(|to| !objects.iter().any(|known| known.name == **to)) {
        let problem = format!("names `{unknown}`, which the org does not have");
        let error = element.invalid("referenceTo", &problem, "deploy that object first, or take the field out");
        return Err(error.telling(format!("In field: referenceTo - no CustomObject named {unknown} found")));
    }
    if let Some(list) = &field.child_relationship {
        let taken = objects.iter().flat_map(|known| known.declared.iter().map(move |field| (known, field))).any(
            |(known, other)| {
                let same = known.name.eq_ignore_ascii_case(object) && other.name.eq_ignore_ascii_case(&field.name);
                !same && other.child_relationship.as_ref() == Some(list) && other.reference_to == field.reference_to
            },
        );
        if taken {
            let problem = format!("is `{list}`, which another lookup to the same parent has");
            return Err(element.invalid("relationshipName", &problem, "give each lookup to a parent its own name"));
        }
    }
    if let Some(object) = objects.iter_mut().find(|known| known.name.eq_ignore_ascii_case(object)) {
        object.declare(field.clone());
    }
    Ok(field)
}

fn read_field(name: &str, element: &Element<'_, '_>) -> Result<FieldDef, Error> {
    if element.child("formula").is_some() {
        return Err(element.invalid("formula", "is not evaluated by the emulator", "take the field out of the tree"));
    }
    let (kind, length) = kind(element)?;
    let mut field = FieldDef::new(name, kind, length);
    let unnamed = |error: Error| error.telling("Must specify a non-empty label for the CustomField");
    element.required("label").map_err(unnamed)?.clone_into(&mut field.label);
    field.unique = element.flag("unique")?;
    field.case_sensitive = element.flag("caseSensitive")?;
    field.external_id = element.flag("externalId")?;
    field.id_lookup = field.external_id;
    if element.flag("required")? {
        field = field.required();
    }
    if kind == FieldKind::Reference {
        lookup(&mut field, element)?;
    }
    if element.text("type") == Some("MasterDetail") {
        field = field.required();
        field.cascade = true;
        field.updateable = element.flag("reparentableMasterDetail")?;
    }
    if kind == FieldKind::Picklist {
        picklist(&mut field, element)?;
    }
    match element.text("defaultValue") {
        None => {}
        Some("true") if kind == FieldKind::Boolean => field.default = Some(true.into()),
        Some("false") if kind == FieldKind::Boolean => field.default = Some(false.into()),
        Some(_) => {
            return Err(element.invalid("defaultValue", "is a formula", "the emulator takes it from checkboxes only"));
        }
    }
    Ok(field)
}

fn kind(element: &Element<'_, '_>) -> Result<(FieldKind, usize), Error> {
    let length = |limit: usize| -> Result<usize, Error> {
        let length = element.number("length")?;
        if length == 0 || length > limit {
            let problem = format!("is {length}, not 1 to {limit}");
            return Err(element.invalid("length", &problem, "Salesforce refuses it too: choose another length"));
        }
        Ok(length)
    };
    Ok(match element.required("type")? {
        "Text" => (FieldKind::Text, length(255)?),
        "TextArea" => (FieldKind::TextArea, 255),
        "LongTextArea" | "Html" => (FieldKind::TextArea, length(131_072)?),
        "Number" | "Currency" | "Percent" => (number(element)?, 0),
        "Checkbox" => (FieldKind::Boolean, 0),
        "Date" => (FieldKind::Date, 0),
        "DateTime" => (FieldKind::DateTime, 0),
        "Email" => (FieldKind::Email, 80),
        "Phone" => (FieldKind::Phone, 40),
        "Url" => (FieldKind::Url, 255),
        "Picklist" => (FieldKind::Picklist, 255),
        "Lookup" | "MasterDetail" => (FieldKind::Reference, 18),
        other => {
            let problem = format!("is `{other}`, which the emulator does not have");
            return Err(element.invalid("type", &problem, "take the field out of the tree that the emulator loads"));
        }
    })
}

fn number(element: &Element<'_, '_>) -> Result<FieldKind, Error> {
    let (precision, scale) = (element.number("precision")?, element.number("scale")?);
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=18), Ok(scale)) if scale <= precision => Ok(FieldKind::Number { precision, scale }),
        _ => {
            let problem = format!("is {precision} with scale {scale}");
            Err(element.invalid("precision", &problem, "precision is 1 to 18 and counts the decimals too"))
        }
    }
}

fn lookup(field: &mut FieldDef, element: &Element<'_, '_>) -> Result<(), Error> {
    field.reference_to = vec![element.required("referenceTo")?.to_owned()];
    field.relationship_name = field.name.strip_suffix("__c").map(|stem| format!("{stem}__r"));
    field.child_relationship = element.text("relationshipName").map(|name| format!("{name}__r"));
    if field.required && element.text("deleteConstraint") == Some("SetNull") {
        let hint = "use `Restrict`, or make the lookup optional";
        return Err(element.invalid("deleteConstraint", "is `SetNull` on a required lookup", hint));
    }
    Ok(())
}

fn picklist(field: &mut FieldDef, element: &Element<'_, '_>) -> Result<(), Error> {
    let unset = |error: Error| error.telling("You must specify either picklist, globalPicklist, or valueSet");
    let set = element.child("valueSet").ok_or_else(|| unset(element.missing("valueSet")))?;
    field.restricted = set.flag("restricted")?;
    let Some(definition) = set.child("valueSetDefinition") else {
        return Err(set.invalid("valueSetName", "is a global value set", "define the values in the field's own file"));
    };
    let mut labels = HashSet::new();
    for value in definition.children("value") {
        let name = value.required("fullName")?;
        let label = value.text("label").unwrap_or(name);
        if !labels.insert(label.to_lowercase()) {
            let error = value.invalid("label", &format!("is `{label}`, as another value's"), "give each its own");
            return Err(error.telling(format!("Duplicate label: {label}")));
        }
        // An inactive value stays in old rows, and new ones cannot have it.
        if value.text("isActive") == Some("false") {
            continue;
        }
        field.picklist.push(name.to_owned());
        if value.flag("default")? {
            field.default = Some(name.into());
        }
    }
    Ok(())
}
