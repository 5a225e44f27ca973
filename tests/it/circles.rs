//! Rooms know each other in one direction: no circle among the modules of one folder, each with all that stands below it.
//!
//! Read as text, as in `tidy`. What a file names with `crate::`, `super::`, `self::` or as a child of its own is what it
//! knows; what only tests name does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Circles that are still to be cut, by the folder that they stand in: this list only ever gets shorter.
const LEFT: [(&str, &str); 1] =
    [("stage::sink::outbox", "again asked end held hidden jobs left_out memory people plan queue row trouble")];

type Module = Vec<String>;

#[test]
fn no_rooms_of_one_folder_know_each_other_in_a_circle() {
    let sources = sources();
    assert!(sources.len() > 200, "the walk finds the sources: {}", sources.len());
    let known = known_by(&sources);
    let found: BTreeSet<(String, String)> = circles(&known).into_iter().collect();
    let left = LEFT.map(|(folder, rooms)| (folder.to_owned(), rooms.to_owned()));
    let left: BTreeSet<(String, String)> = left.into_iter().collect();
    let new: Vec<_> = found.difference(&left).collect();
    assert!(new.is_empty(), "circles that were not there: {new:?}");
    let cut: Vec<_> = left.difference(&found).collect();
    assert!(cut.is_empty(), "circles that are cut, to be taken out of the list: {cut:?}");
}

#[test]
fn a_circle_is_found_through_what_stands_below() {
    let text = |path: &[&str], text: &str| (path.iter().map(|it| (*it).to_owned()).collect(), text.to_owned());
    let sources: BTreeMap<Module, String> = [
        text(&["a"], "mod b;\nuse crate::c::{self, D as E};\n"),
        text(&["a", "b"], "fn f() { super::g(); }\n"),
        text(&["c"], "// use crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::a::f;\n}\n"),
        text(&["d"], "use crate::{e::{F, g}, c};\n"),
        text(&["e"], "mod f;\n"),
        text(&["e", "f"], "let x = crate::d::y();\n"),
    ]
    .into_iter()
    .collect();
    assert_eq!(circles(&known_by(&sources)), [(String::new(), "d e".to_owned())]);
}

/// The modules of all crates with their texts, without those that only tests have. A path is the same in every crate.
fn sources() -> BTreeMap<Module, String> {
    let mut sources = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&root, &Module::new(), &mut sources);
    let of_tests: Vec<Module> = sources.iter().flat_map(|(module, text)| test_children(module, text)).collect();
    sources.retain(|module, _| !of_tests.iter().any(|of_tests| module.starts_with(of_tests)));
    sources
}

fn walk(folder: &Path, above: &Module, sources: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("the sources are readable").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let name = name.trim_end_matches(".rs");
        let module: Module = above.iter().cloned().chain([name.to_owned()]).collect();
        if path.is_dir() {
            walk(&path, &module, sources);
        } else if !(above.is_empty() && ["core", "ground", "lib", "main"].contains(&name)) {
            let module = if name == "mod" { above.clone() } else { module };
            sources.insert(module, fs::read_to_string(&path).expect("the sources are text"));
        }
    }
}

fn test_children(module: &Module, text: &str) -> Vec<Module> {
    let lines: Vec<&str> = text.lines().collect();
    let child = |pair: &[&str]| {
        let [first, second] = pair else { return None };
        let name = second.strip_prefix("mod ")?.strip_suffix(';')?;
        (*first == "#[cfg(test)]").then(|| module.iter().cloned().chain([name.to_owned()]).collect())
    };
    lines.windows(2).filter_map(child).collect()
}

/// Which modules each module names.
fn known_by(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of = |(module, text): (&Module, &String)| {
        let named = paths(text).into_iter().filter_map(|path| resolve(module, &path, sources));
        (module.clone(), named.filter(|named| named != module).collect())
    };
    sources.iter().map(of).collect()
}

/// The deepest module on a path.
fn resolve(at: &Module, path: &[String], sources: &BTreeMap<Module, String>) -> Option<Module> {
    let (first, mut rest) = path.split_first()?;
    let mut module = at.clone();
    match first.as_str() {
        "crate" => module.clear(),
        "self" => {}
        "super" => {
            module.pop();
            while let Some((next, further)) = rest.split_first().filter(|(next, _)| *next == "super") {
                debug_assert_eq!(next, "super");
                module.pop();
                rest = further;
            }
        }
        _ => rest = path,
    }
    let below = module.clone();
    for name in rest {
        module.push(name.clone());
        if !sources.contains_key(&module) {
            module.pop();
            break;
        }
    }
    let child = module.len() > below.len();
    (child || ["crate", "self", "super"].contains(&first.as_str()))
        .then_some(module)
        .filter(|it| sources.contains_key(it))
}

/// Every path that the code names, uses and their braces included.
fn paths(text: &str) -> Vec<Vec<String>> {
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String =
        shipped.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find(|character: char| character.is_ascii_alphabetic() || character == '_') {
        rest = &rest[start..];
        let end = tree_end(rest);
        let (tree, further) = rest.split_at(end);
        if tree.contains("::") {
            expand(tree, &[], &mut found);
        }
        rest = further;
    }
    found
}

/// Where a path ends that begins here, with the braces behind its last `::`.
fn tree_end(text: &str) -> usize {
    let name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut end = text.find(|character| !name(character)).unwrap_or(text.len());
    while let Some(further) = text[end..].strip_prefix("::") {
        if further.starts_with('{') {
            let mut depth = 0_usize;
            for (at, character) in further.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return end + 2 + at + 1;
                }
            }
            return text.len();
        }
        let len = further.find(|character| !name(character)).unwrap_or(further.len());
        if len == 0 {
            return end;
        }
        end += 2 + len;
    }
    end
}

fn expand(tree: &str, above: &[String], found: &mut Vec<Vec<String>>) {
    let (path, braces) = tree.split_once('{').map_or((tree, None), |(path, braces)| (path, Some(braces)));
    let names = path.split(" as ").next().unwrap_or_default().split("::").map(str::trim);
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let path: Vec<String> = above.iter().cloned().chain(names).collect();
    let Some(braces) = braces.and_then(|braces| braces.rsplit_once('}')).map(|(inner, _)| inner) else {
        return found.push(path);
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in braces.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&braces[start..at], &path, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !braces[start..].trim().is_empty() {
        expand(&braces[start..], &path, found);
    }
}

/// By folder, the rooms that know each other, each through whatever stands below it.
fn circles(known: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<(String, String)> {
    let mut folders: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, named) in known {
        for other in named {
            let common = module.iter().zip(other).take_while(|(one, two)| one == two).count();
            if let (Some(room), Some(knows)) = (module.get(common), other.get(common)) {
                let rooms = folders.entry(module.iter().take(common).cloned().collect()).or_default();
                rooms.entry(room.clone()).or_default().insert(knows.clone());
            }
        }
    }
    let mut found = Vec::new();
    for (folder, rooms) in folders {
        let reached: BTreeMap<&String, BTreeSet<String>> = rooms.keys().map(|it| (it, reached(it, &rooms))).collect();
        let mut seen = BTreeSet::new();
        for (room, reaches) in &reached {
            let back = |other: &&String| reached.get(*other).is_some_and(|reaches| reaches.contains(*room));
            let circle: Vec<&str> = reaches.iter().filter(back).map(String::as_str).collect();
            if circle.contains(&room.as_str()) && seen.insert(circle.clone()) {
                found.push((folder.join("::"), circle.join(" ")));
            }
        }
    }
    found
}

fn reached(from: &str, rooms: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(room) = open.pop() {
        for next in rooms.get(&room).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}
