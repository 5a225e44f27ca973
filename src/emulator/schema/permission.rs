//! Permission sets: which custom objects and fields the integration user sees and may write.
//!
//! A deployed field is granted to nobody, and "Modify All Data" does not change that. Skipping this would hide the
//! most common fault of a new org: everything is deployed and every write fails with `INVALID_FIELD`.

use std::collections::BTreeMap;

use super::ObjectDef;
use super::field::FieldDef;
use super::source::{Element, Error, Source};

/// What all loaded permission sets grant together. Keys are API names in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    objects: BTreeMap<String, ObjectGrant>,
    /// `object.field` to "may edit"; present means "may read".
    fields: BTreeMap<String, bool>,
}

#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the four object permissions are independent")]
struct ObjectGrant {
    read: bool,
    create: bool,
    edit: bool,
    delete: bool,
}

impl Grants {
    /// Sets what the user sees of the object. Standard objects come with the user's profile.
    pub fn apply(&self, object: &mut ObjectDef) {
        if object.custom {
            let grant = self.objects.get(&object.name.to_ascii_lowercase()).copied().unwrap_or_default();
            object.readable = grant.read;
            object.createable = grant.create;
            object.updateable = grant.edit;
            object.deletable = grant.delete;
        }
        let visible = object.declared.iter().filter_map(|field| self.visible(&object.name, field)).collect();
        object.show(visible);
    }

    fn visible(&self, object: &str, field: &FieldDef) -> Option<FieldDef> {
        // Required fields can not be hidden, nor granted.
        if !field.custom || field.required {
            return Some(field.clone());
        }
        let editable = *self.fields.get(&key(object, &field.name))?;
        Some(if editable { field.clone() } else { field.clone().read_only() })
    }
}

fn key(object: &str, field: &str) -> String {
    format!("{object}.{field}").to_ascii_lowercase()
}

/// Adds what the permission sets among the sources grant. Refuses what a real org refuses to deploy.
pub(super) fn collect(grants: &mut Grants, objects: &[ObjectDef], sources: &[Source]) -> Result<(), Error> {
    for source in sources {
        if source.stem(&[".permissionset-meta.xml", ".permissionset"]).is_none() {
            continue;
        }
        let document = source.document()?;
        let root = Element { source, node: document.root_element() };
        for element in root.children("objectPermissions") {
            let grant = grants.objects.entry(element.required("object")?.to_ascii_lowercase()).or_default();
            grant.read |= element.flag("allowRead")?;
            grant.create |= element.flag("allowCreate")?;
            grant.edit |= element.flag("allowEdit")?;
            grant.delete |= element.flag("allowDelete")?;
        }
        for element in root.children("fieldPermissions") {
            grant_field(grants, objects, &element)?;
        }
    }
    Ok(())
}

fn grant_field(grants: &mut Grants, objects: &[ObjectDef], element: &Element<'_, '_>) -> Result<(), Error> {
    let path = element.required("field")?;
    let Some((object_name, field_name)) = path.split_once('.') else {
        return Err(element.invalid("field", &format!("is `{path}`"), "write `Object.Field`"));
    };
    let object = objects.iter().find(|object| object.name.eq_ignore_ascii_case(object_name));
    let field =
        object.and_then(|object| object.declared.iter().find(|field| field.name.eq_ignore_ascii_case(field_name)));
    let (readable, editable) = (element.flag("readable")?, element.flag("editable")?);
    match field {
        // Of an object that the emulator does not have, or a standard field without a row of its own.
        None if !field_name.ends_with("__c") || (object.is_none() && !object_name.ends_with("__c")) => Ok(()),
        None => {
            let problem = format!("is `{path}`, which does not exist");
            Err(element.invalid("field", &problem, "deploy the field, or take the permission out"))
        }
        Some(field) if field.required => {
            let problem = format!("is `{path}`, which is required");
            Err(element.invalid("field", &problem, "take it out: Salesforce refuses permissions on required fields"))
        }
        Some(_) if editable && !readable => {
            Err(element.invalid("editable", "is true on a field that is not readable", "set `readable` to true"))
        }
        Some(_) => {
            if readable {
                *grants.fields.entry(path.to_ascii_lowercase()).or_default() |= editable;
            }
            Ok(())
        }
    }
}
