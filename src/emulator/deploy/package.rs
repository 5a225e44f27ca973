//! The zip of a deployment: `package.xml`, which lists the components, and the files that hold them.
//!
//! What is listed and what is there have to be the same: a component on one side only is an error, as in a real org.

use std::io::{Cursor, Read as _};

use zip::ZipArchive;

use crate::emulator::schema::{Component, Error, Source};
use crate::emulator::wire::Refusal;

const MANIFEST: &str = "package.xml";
const FILES_MAX: usize = 10_000;
/// Unpacked. A hostile zip of some kilobytes unpacks to gigabytes.
const BYTES_MAX: u64 = 64 << 20;
/// What the emulator can deploy.
const KINDS: [&str; 3] = ["CustomObject", "CustomField", "PermissionSet"];

pub struct Package {
    pub sources: Vec<Source>,
    /// Kind and name of what `package.xml` lists. None: there is no such file.
    listed: Option<Vec<(String, String)>>,
    /// What is wrong with the package itself.
    problems: Vec<String>,
}

/// Unpacks a deployment. A package in folders has one folder at the top for each part.
pub fn read(zip: &[u8], single: bool) -> Result<Package, Refusal> {
    let invalid = |why: &dyn std::fmt::Display| Refusal::bad("INVALID_OPERATION", format!("invalid zip file: {why}"));
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|error| invalid(&error))?;
    if archive.len() > FILES_MAX {
        let message = format!("a deployment holds at most {FILES_MAX} files");
        return Err(Refusal::bad("LIMIT_EXCEEDED", message));
    }
    let mut package = Package { sources: Vec::new(), listed: None, problems: Vec::new() };
    let mut left = BYTES_MAX;
    for at in 0..archive.len() {
        let file = archive.by_index(at).map_err(|error| invalid(&error))?;
        let path = file.name().map_err(|error| invalid(&error))?.replace('\\', "/");
        let path = if single { path.as_str() } else { below_top(&path) };
        if file.is_dir() || !(path == MANIFEST || path.starts_with("objects/") || path.starts_with("permissionsets/")) {
            if path.contains("destructiveChanges") {
                package.problems.push(format!("{path}: the emulator deletes no metadata"));
            }
            continue;
        }
        let path = path.to_owned();
        let mut text = String::new();
        file.take(left + 1).read_to_string(&mut text).map_err(|error| invalid(&error))?;
        left = left.checked_sub(text.len() as u64).ok_or_else(|| {
            Refusal::bad("LIMIT_EXCEEDED", format!("a deployment unpacks to at most {BYTES_MAX} bytes here"))
        })?;
        if path == MANIFEST {
            match listed(&text) {
                Ok(listed) => package.listed = Some(listed),
                Err(error) => package.problems.push(format!("Error parsing file: {error}")),
            }
        } else {
            package.sources.push(Source { path, text });
        }
    }
    Ok(package)
}

/// `package.xml` at the top is taken either way, as real orgs do.
fn below_top(path: &str) -> &str {
    let known = path == MANIFEST || path.starts_with("objects/") || path.starts_with("permissionsets/");
    if known { path } else { path.split_once('/').map_or(path, |(_, below)| below) }
}

fn listed(manifest: &str) -> Result<Vec<(String, String)>, roxmltree::Error> {
    let document = roxmltree::Document::parse(manifest)?;
    let named = |node: &roxmltree::Node<'_, '_>, name| node.tag_name().name() == name;
    let text = |node: roxmltree::Node<'_, '_>| node.text().unwrap_or_default().trim().to_owned();
    let mut listed = Vec::new();
    for types in document.root_element().children().filter(|node| named(node, "types")) {
        let kind = types.children().find(|node| named(node, "name")).map(text).unwrap_or_default();
        listed.extend(types.children().filter(|node| named(node, "members")).map(|node| (kind.clone(), text(node))));
    }
    Ok(listed)
}

impl Package {
    /// Compares the list with what is there: what is there but not listed gets a problem, what is listed but not there
    /// becomes a component with one. Whether both are the same: if not, nothing is deployed.
    pub fn compare(&self, components: &mut Vec<Component>) -> bool {
        let failed = |kind: &str, name: &str, message: String| {
            Component::new(kind, name, MANIFEST).failed(Error::Told { path: MANIFEST.to_owned(), message })
        };
        let mut more: Vec<Component> =
            self.problems.iter().map(|problem| failed("", MANIFEST, problem.clone())).collect();
        let Some(listed) = &self.listed else {
            if self.problems.is_empty() {
                more.push(failed("", MANIFEST, "No package.xml found".to_owned()));
            }
            components.append(&mut more);
            return false;
        };
        for (kind, name) in listed {
            let there = || components.iter().any(|found| found.kind == *kind && found.name.eq_ignore_ascii_case(name));
            if !KINDS.contains(&kind.as_str()) {
                more.push(failed(kind, name, format!("the emulator does not deploy components of type {kind}")));
            } else if name != "*" && !there() {
                let message = format!(
                    "An object '{name}' of type {kind} was named in package.xml, but was not found in zipped directory"
                );
                more.push(failed(kind, name, message));
            }
        }
        let mut same = more.is_empty();
        for component in components.iter_mut().filter(|component| component.problem.is_none()) {
            if !lists(listed, component) {
                let message = "Not in package.xml".to_owned();
                component.problem = Some(Error::Told { path: component.path.clone(), message });
                same = false;
            }
        }
        components.append(&mut more);
        same
    }
}

/// A field is listed by itself or with its object; a star stands for all custom objects.
fn lists(listed: &[(String, String)], component: &Component) -> bool {
    let lists = |kind: &str, name: &str| {
        let star = kind != "CustomField" && (kind != "CustomObject" || name.ends_with("__c"));
        listed
            .iter()
            .any(|(known_kind, known)| known_kind == kind && (known.eq_ignore_ascii_case(name) || star && known == "*"))
    };
    let object = component.name.split_once('.').map(|(object, _)| object);
    lists(&component.kind, &component.name) || object.is_some_and(|object| lists("CustomObject", object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_listed_by_itself_or_with_its_object() {
        let listed = |kind: &str, name: &str| vec![(kind.to_owned(), name.to_owned())];
        let field = Component::new("CustomField", "X__c.a__c", "objects/X__c.object");
        for fits in [listed("CustomField", "X__c.a__c"), listed("CustomObject", "X__c"), listed("CustomObject", "*")] {
            assert!(lists(&fits, &field), "{fits:?}");
        }
        for not in [listed("CustomField", "*"), listed("CustomObject", "Y__c"), listed("PermissionSet", "*")] {
            assert!(!lists(&not, &field), "{not:?}");
        }
        let standard = Component::new("CustomField", "Lead.a__c", "objects/Lead.object");
        assert!(!lists(&listed("CustomObject", "*"), &standard), "a star means custom objects");
    }
}
