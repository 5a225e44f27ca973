//! Objects and fields out of SFDX source files (`objects/X/X.object-meta.xml`, `objects/X/fields/Y.field-meta.xml`) or
//! their form in a deployment package (`objects/X.object`, fields inside).
//!
//! Strict about what it reads: a field type that the emulator could only pretend to support is an error, not a text
//! field. Files of other kinds, and standard objects that the emulator does not have, are passed over: nothing can be
//! asked about them.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::field::{FieldDef, FieldKind};
use super::{ObjectDef, standard};

const OBJECT_FILES: [&str; 2] = [".object-meta.xml", ".object"];
const FIELD_FILE: &str = ".field-meta.xml";

/// A file of the tree. The path is relative, with forward slashes.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Why a source tree is no schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not XML")]
    Xml { path: String, source: roxmltree::Error },
    #[error("`{path}`: element `{element}` {problem}; hint: {hint}")]
    Invalid { path: String, element: String, problem: String, hint: &'static str },
    #[error("no object, field or permission set below `{path}`; hint: name the directory of `sfdx-project.json`")]
    Empty { path: PathBuf },
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// What comes before one of the suffixes in the file's name.
    pub(super) fn stem(&self, suffixes: &[&str]) -> Option<&str> {
        let file = self.path.rsplit('/').next()?;
        suffixes.iter().find_map(|suffix| file.strip_suffix(suffix))
    }

    /// The object that a field file lies under.
    fn object_folder(&self) -> Option<&str> {
        let mut parts = self.path.rsplit('/').skip(1);
        (parts.next() == Some("fields")).then(|| parts.next()).flatten()
    }

    pub(super) fn document(&self) -> Result<Document<'_>, Error> {
        Document::parse(&self.text).map_err(|source| Error::Xml { path: self.path.clone(), source })
    }
}

/// Every metadata file below `dir`, in order of path.
pub(super) fn read_dir(dir: &Path) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| Error::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|path| path.ends_with("-meta.xml")) {
                let text =
                    std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                sources.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    if sources.is_empty() {
        return Err(Error::Empty { path: dir.to_owned() });
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// Adds objects first, then fields, which may look up any of them.
pub(super) fn declare(objects: &mut Vec<ObjectDef>, sources: &[Source]) -> Result<(), Error> {
    for source in sources {
        if let Some(name) = source.stem(&OBJECT_FILES).filter(|name| name.ends_with("__c")) {
            let document = source.document()?;
            declare_object(objects, name, &Element { source, node: document.root_element() })?;
        }
    }
    for source in sources {
        let document = match source.stem(&OBJECT_FILES).or_else(|| source.stem(&[FIELD_FILE])) {
            Some(_) => source.document()?,
            None => continue,
        };
        let root = Element { source, node: document.root_element() };
        if let Some(object) = source.stem(&OBJECT_FILES) {
            for field in root.children("fields") {
                declare_field(objects, object, &field)?;
            }
        } else if let Some(object) = source.object_folder() {
            declare_field(objects, object, &root)?;
        } else {
            return Err(root.invalid("CustomField", "is not in a `fields` folder", "keep `objects/<Object>/fields/`"));
        }
    }
    Ok(())
}

fn declare_object(objects: &mut Vec<ObjectDef>, name: &str, root: &Element<'_, '_>) -> Result<(), Error> {
    let label = root.required("label")?;
    let plural = root.required("pluralLabel")?;
    let name_field = root.child("nameField").ok_or_else(|| root.missing("nameField"))?;
    let mut naming = match name_field.required("type")? {
        "AutoNumber" => {
            let mut field = FieldDef::text("Name", 80).read_only();
            field.auto_number = Some(name_field.text("displayFormat").unwrap_or("{0}").to_owned());
            field.nillable = false;
            field
        }
        "Text" => FieldDef::text("Name", 80),
        other => return Err(name_field.invalid("type", &format!("is `{other}`"), "use `AutoNumber` or `Text`")),
    };
    name_field.required("label")?.clone_into(&mut naming.label);
    let naming = naming.naming();
    if let Some(known) = objects.iter_mut().find(|object| object.name.eq_ignore_ascii_case(name)) {
        label.clone_into(&mut known.label);
        plural.clone_into(&mut known.plural_label);
        known.declare(naming);
        return Ok(());
    }
    let nth = objects.iter().filter(|object| object.custom).count();
    let mut object = ObjectDef::new(name, label, plural, &key_prefix(nth));
    object.declare(naming);
    standard::system_fields(&mut object);
    object.declare(standard::owner());
    objects.push(object);
    Ok(())
}

/// `a00`, `a01`, …: custom objects get theirs in the order in which they are deployed.
fn key_prefix(nth: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digit = |at: usize| DIGITS.get(at % DIGITS.len()).copied().map_or('0', char::from);
    format!("a{}{}", digit(nth / DIGITS.len()), digit(nth))
}

fn declare_field(objects: &mut [ObjectDef], object: &str, element: &Element<'_, '_>) -> Result<(), Error> {
    let name = element.required("fullName")?;
    let Some(at) = objects.iter().position(|known| known.name.eq_ignore_ascii_case(object)) else {
        if object.ends_with("__c") {
            let problem = format!("is a field of `{object}`, which is not declared");
            return Err(element.invalid("fullName", &problem, "add the object's `.object-meta.xml` file"));
        }
        return Ok(());
    };
    // Files of standard fields only carry labels, help texts and history settings.
    if !name.ends_with("__c") {
        return Ok(());
    }
    let field = read_field(name, element)?;
    if let Some(unknown) = field.reference_to.iter().find(|to| !objects.iter().any(|known| known.name == **to)) {
        let problem = format!("names `{unknown}`, which the org does not have");
        return Err(element.invalid("referenceTo", &problem, "deploy that object first, or take the field out"));
    }
    if let Some(list) = &field.child_relationship {
        let taken = objects.iter().flat_map(|known| known.declared.iter().map(move |field| (known, field))).any(
            |(known, other)| {
                let same = known.name.eq_ignore_ascii_case(object) && other.name.eq_ignore_ascii_case(name);
                !same && other.child_relationship.as_ref() == Some(list) && other.reference_to == field.reference_to
            },
        );
        if taken {
            let problem = format!("is `{list}`, which another lookup to the same parent has");
            return Err(element.invalid("relationshipName", &problem, "give each lookup to a parent its own name"));
        }
    }
    if let Some(object) = objects.get_mut(at) {
        object.declare(field);
    }
    Ok(())
}

fn read_field(name: &str, element: &Element<'_, '_>) -> Result<FieldDef, Error> {
    if element.child("formula").is_some() {
        return Err(element.invalid("formula", "is not evaluated by the emulator", "take the field out of the tree"));
    }
    let (kind, length) = kind(element)?;
    let mut field = FieldDef::new(name, kind, length);
    element.required("label")?.clone_into(&mut field.label);
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
        "Lookup" => (FieldKind::Reference, 18),
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
    let set = element.child("valueSet").ok_or_else(|| element.missing("valueSet"))?;
    field.restricted = set.flag("restricted")?;
    let Some(definition) = set.child("valueSetDefinition") else {
        return Err(set.invalid("valueSetName", "is a global value set", "define the values in the field's own file"));
    };
    for value in definition.children("value") {
        let name = value.required("fullName")?;
        field.picklist.push(name.to_owned());
        if value.flag("default")? {
            field.default = Some(name.into());
        }
    }
    Ok(())
}

/// An XML element and the file it is from, for errors that say where.
pub(super) struct Element<'a, 'input> {
    pub source: &'a Source,
    pub node: Node<'a, 'input>,
}

impl<'a, 'input> Element<'a, 'input> {
    /// Child elements are found by local name: the namespace is the same throughout.
    pub fn children<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Element<'a, 'input>> + 's {
        let children = self.node.children().filter(move |node| node.tag_name().name() == name);
        children.map(|node| Element { source: self.source, node })
    }

    pub fn child(&self, name: &str) -> Option<Element<'a, 'input>> {
        self.children(name).next()
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.child(name)?.node.text().map(str::trim)
    }

    pub fn required(&self, name: &str) -> Result<&'a str, Error> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// Absent means false.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(self.invalid(name, &format!("is `{other}`"), "write `true` or `false`")),
        }
    }

    fn number(&self, name: &str) -> Result<usize, Error> {
        let text = self.required(name)?;
        text.parse().map_err(|_| self.invalid(name, &format!("is `{text}`"), "write a whole number"))
    }

    pub fn missing(&self, name: &str) -> Error {
        let problem = format!("is missing in `{}`", self.node.tag_name().name());
        self.invalid(name, &problem, "add it")
    }

    pub fn invalid(&self, element: &str, problem: &str, hint: &'static str) -> Error {
        Error::Invalid {
            path: self.source.path.clone(),
            element: element.to_owned(),
            problem: problem.to_owned(),
            hint,
        }
    }
}
