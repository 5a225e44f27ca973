//! Permission sets: which custom objects and fields the integration user sees and may write.
//!
//! A deployed field is granted to nobody, and "Modify All Data" does not change that. Skipping this would hide the
//! most common fault of a new org: everything is deployed and every write fails with `INVALID_FIELD`.

use std::collections::BTreeMap;

use super::component::Component;
use super::element::Element;
use super::field::FieldDef;
use super::object::ObjectDef;
use super::source::{Error, Source};

/// Longer ones are refused.
const DESCRIPTION_MAX: usize = 255;

/// What the permission sets grant, by the name of the set: deploying one again replaces it.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants(BTreeMap<String, Granted>);

/// What one set grants. Keys are API names in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
struct Granted {
    objects: BTreeMap<String, ObjectGrant>,
    /// `object.field` to "may edit"; present means "may read".
    fields: BTreeMap<String, bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
            let name = object.name.to_ascii_lowercase();
            let grants: Vec<&ObjectGrant> = self.0.values().filter_map(|set| set.objects.get(&name)).collect();
            object.readable = grants.iter().any(|grant| grant.read);
            object.createable = grants.iter().any(|grant| grant.create);
            object.updateable = grants.iter().any(|grant| grant.edit);
            object.deletable = grants.iter().any(|grant| grant.delete);
        }
        let visible = object.declared.iter().filter_map(|field| self.visible(&object.name, field)).collect();
        object.show(visible);
    }

    fn visible(&self, object: &str, field: &FieldDef) -> Option<FieldDef> {
        // Required fields can not be hidden, nor granted.
        if !field.custom || field.required {
            return Some(field.clone());
        }
        let key = key(object, &field.name);
        let editable = self.0.values().filter_map(|set| set.fields.get(&key)).copied().reduce(|a, b| a || b)?;
        Some(if editable { field.clone() } else { field.clone().read_only() })
    }
}

fn key(object: &str, field: &str) -> String {
    format!("{object}.{field}").to_ascii_lowercase()
}

/// Takes the permission sets among the sources. Refuses what a real org refuses to deploy.
pub(super) fn collect(grants: &mut Grants, objects: &[ObjectDef], sources: &[Source]) -> Vec<Component> {
    let mut components = Vec::new();
    for source in sources {
        let Some(name) = source.stem(&[".permissionset-meta.xml", ".permissionset"]) else { continue };
        let before = grants.0.get(&name.to_ascii_lowercase());
        let component = Component::new("PermissionSet", name, &source.path);
        match read_set(objects, source) {
            Ok(granted) => {
                components.push(component.made(before, &granted));
                grants.0.insert(name.to_ascii_lowercase(), granted);
            }
            Err(error) => components.push(component.failed(error)),
        }
    }
    components
}

fn read_set(objects: &[ObjectDef], source: &Source) -> Result<Granted, Error> {
    let document = source.document()?;
    let root = Element { source, node: document.root_element() };
    if root.text("description").is_some_and(|text| text.encode_utf16().count() > DESCRIPTION_MAX) {
        let error = root.invalid("description", "is too long", "write 255 characters at most");
        return Err(error.telling(format!("Description: data value too large (max length={DESCRIPTION_MAX})")));
    }
    let mut granted = Granted::default();
    for element in root.children("objectPermissions") {
        let name = element.required("object")?;
        if name.ends_with("__c") && !objects.iter().any(|object| object.name.eq_ignore_ascii_case(name)) {
            let error =
                element.invalid("object", &format!("is `{name}`, which does not exist"), "deploy the object too");
            return Err(error.telling(format!("In field: object - no CustomObject named {name} found")));
        }
        let grant = granted.objects.entry(name.to_ascii_lowercase()).or_default();
        grant.read |= element.flag("allowRead")?;
        grant.create |= element.flag("allowCreate")?;
        grant.edit |= element.flag("allowEdit")?;
        grant.delete |= element.flag("allowDelete")?;
    }
    for element in root.children("fieldPermissions") {
        grant_field(&mut granted, objects, &element)?;
    }
    Ok(granted)
}

fn grant_field(granted: &mut Granted, objects: &[ObjectDef], element: &Element<'_, '_>) -> Result<(), Error> {
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
            let error = element.invalid("field", &problem, "deploy the field, or take the permission out");
            Err(error.telling(format!("In field: field - no CustomField named {path} found")))
        }
        Some(field) if field.required => {
            let problem = format!("is `{path}`, which is required");
            let hint = "take it out: Salesforce refuses permissions on required fields";
            let error = element.invalid("field", &problem, hint);
            Err(error.telling(format!("You cannot deploy to a required field: {path}")))
        }
        Some(_) if editable && !readable => {
            Err(element.invalid("editable", "is true on a field that is not readable", "set `readable` to true"))
        }
        Some(_) => {
            if readable {
                *granted.fields.entry(path.to_ascii_lowercase()).or_default() |= editable;
            }
            Ok(())
        }
    }
}
