//! The rules of the house, checked as text: sizes, headers, purity of the core, licenses and lock files. Crude on
//! purpose: a parser would see more, but rustfmt's layout makes lines enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const README_LINES_MAX: usize = 120;
const ARCHITECTURE_LINES_MAX: usize = 200;

/// The crates' first files, which say what rooms they have.
const GROUND: &str = include_str!("../../src/ground.rs");
const CORE: &str = include_str!("../../src/core.rs");
const SHELL: &str = include_str!("../../src/lib.rs");
/// What a pure room could name though its crate does not know the shell: clock, disk, network, environment, threads.
const IMPURE: [&str; 9] = [
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];
/// Crates of the world outside, which neither is pure nor may be below what is.
const OUTSIDE: [&str; 7] = ["rdkafka", "rdkafka-sys", "reqwest", "tokio", "axum", "fjall", "fastrand"];

/// Put together here, so that this file does not hold them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("#[ig", "nore"),
];

struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository with one of these endings, in a stable order; not what tools put there.
fn files(folder: &Path, ending: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(folder, &mut paths);
    paths.sort();
    let ours = paths.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    ours.map(|path| Source {
        text: fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        path: path.strip_prefix(root()).expect("it is below the root").display().to_string(),
    })
    .collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let name = entry.file_name();
        if ["target", ".git", ".work", "node_modules"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), paths);
        } else {
            paths.push(entry.path());
        }
    }
}

fn rust() -> Vec<Source> {
    let files = files(root(), ".rs");
    assert!(files.len() > 30, "the walk finds the sources");
    files
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn files_stay_short() {
    let long = |file: &Source| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines, {FILE_LINES_MAX} at most", file.path))
    };
    none(&rust().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_stay_short() {
    none(&rust().iter().flat_map(|file| long_functions(&file.path, &file.text)).collect::<Vec<_>>());
}

fn long_functions(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| opens_function(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = lines.iter().skip(start);
        let length = rest.take_while(|line| **line != format!("{indent}}}")).count() + 1;
        if length > FUNCTION_LINES_MAX {
            long.push(format!("{path}:{}: a function of {length} lines, {FUNCTION_LINES_MAX} at most", start + 1));
        }
    }
    long
}

/// A function whose body is on lines of its own.
fn opens_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let named = words
        .find(|word| !(word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\""].contains(word)))
        .is_some_and(|word| word == "fn");
    named && !line.ends_with('}') && !line.ends_with(';')
}

#[test]
fn the_length_of_a_function_is_seen() {
    let body = "        let x = 1;\n".repeat(FUNCTION_LINES_MAX - 2);
    let fits = format!("impl X {{\n    pub(crate) async fn fits() {{\n{body}    }}\n}}\n");
    assert_eq!(long_functions("x.rs", &fits), Vec::<String>::new());
    let long = fits.replace("let x = 1;\n    }", "let x = 1;\n        let y = 2;\n    }");
    assert_eq!(long_functions("x.rs", &long).len(), 1);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = rust().into_iter().filter(|file| !file.text.starts_with("//! "));
    none(&silent.map(|file| format!("{}: does not open with `//!`", file.path)).collect::<Vec<_>>());
}

fn rooms(of_a_crate: &str) -> BTreeSet<&str> {
    of_a_crate.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect()
}

fn pure_rooms() -> BTreeSet<&'static str> {
    rooms(GROUND).into_iter().chain(rooms(CORE)).collect()
}

/// That it names no room of the shell and no Kafka its crate sees to.
#[test]
fn the_core_is_pure() {
    let pure = pure_rooms();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files(&root().join("src"), ".rs") {
        let room = file.path.trim_start_matches("src/").trim_end_matches(".rs");
        let room = room.split_once('/').map_or(room, |(room, _)| room);
        if let Some(room) = pure.get(room) {
            seen.insert(*room);
            problems.extend(words(&file, &IMPURE));
            // Their order is another in every process. The decoder only looks schemas up.
            if *room != "event" {
                problems.extend(words(&file, &["HashMap", "HashSet", "HashTable"]));
            }
        }
    }
    assert_eq!(seen, pure, "each was read");
    none(&problems);
}

/// The outbox decides, its shell moves things. It knows the settings, and the limits and forms of Salesforce, and no client.
#[test]
fn the_outbox_is_pure() {
    const KNOWN: [&str; 2] = ["config", "salesforce"];
    let outbox = files(&root().join("src/stage/sink/outbox"), ".rs");
    assert!(outbox.len() > 15, "the walk finds it");
    let shell = rooms(SHELL);
    assert!(KNOWN.iter().all(|room| shell.contains(room)), "{shell:?}");
    let shell = shell.iter().filter(|room| !KNOWN.contains(room)).map(|room| format!("crate::{room}"));
    let client = ["salesforce::Client", "salesforce::Error", "async ", ".await"];
    let forbidden = IMPURE.iter().chain(&OUTSIDE).chain(&client).map(ToString::to_string);
    let forbidden: Vec<String> = forbidden.chain(shell).collect();
    let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
    let shipped = outbox.iter().filter(|file| !file.path.contains("simulat") && !file.path.contains("tests.rs"));
    none(&shipped.flat_map(|file| words(file, &forbidden)).collect::<Vec<_>>());
}

#[test]
fn every_room_is_of_one_crate() {
    let crates = [rooms(GROUND), rooms(CORE), BTreeSet::from(["emulator"]), rooms(SHELL)];
    let known: Vec<&str> = crates.iter().flatten().copied().collect();
    let once: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(known.len(), once.len(), "a room of two crates is compiled twice: {known:?}");
    let names = fs::read_dir(root().join("src")).expect("the sources are readable").flatten();
    let names: BTreeSet<String> =
        names.map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned()).collect();
    let found: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let first = BTreeSet::from(["core", "ground", "lib", "main"]);
    assert_eq!(found, once.union(&first).copied().collect(), "a file that no crate has is never compiled");
    let listed = include_str!("../../ARCHITECTURE.md").split("Pure: ").nth(1).expect("it lists the core");
    let core = listed.split("The shell").next().unwrap_or_default();
    for room in pure_rooms() {
        assert!(core.contains(&format!("`{room}`")), "{room} is not in ARCHITECTURE.md's core");
    }
}

fn words(file: &Source, forbidden: &[&str]) -> Vec<String> {
    let (shipped, _tests) = file.text.split_once("#[cfg(test)]").unwrap_or((&file.text, ""));
    let mut found = Vec::new();
    for (number, line) in shipped.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let forbidden = forbidden.iter().filter(|word| code.contains(**word));
        found.extend(forbidden.map(|word| format!("{}:{}: `{word}` in a pure room", file.path, number + 1)));
    }
    found
}

#[test]
fn an_impure_line_is_seen() {
    let text = "use std::fs;\n// std::net\nlet x = std::env::args();\n#[cfg(test)]\nuse std::thread;\n";
    let file = Source { path: "x.rs".to_owned(), text: text.to_owned() };
    assert_eq!(words(&file, &IMPURE).len(), 2);
}

/// What the compiler then holds: a crate names what its manifest has, and nothing else.
#[test]
fn nothing_pure_stands_on_the_world_outside_nor_the_emulator_on_what_it_tests() {
    let lock: toml::Table = toml::from_str(include_str!("../../Cargo.lock")).expect("Cargo.lock is TOML");
    let below = |name| crates_below(&lock, name);
    assert_eq!(below("rollbook-ground"), BTreeSet::new());
    let core = below("rollbook-core");
    assert!(core.contains("apache-avro"), "the lock file was read: {core:?}");
    assert_eq!(OUTSIDE.iter().find(|outside| core.contains(**outside)), None);
    let emulator = below("rollbook-emulator");
    assert!(emulator.contains("rollbook-ground"), "the lock file was read: {emulator:?}");
    let foreign = ["rollbook", "rollbook-core", "rdkafka", "rdkafka-sys", "reqwest", "fjall"];
    assert_eq!(foreign.iter().find(|foreign| emulator.contains(**foreign)), None);
    let shell = below("rollbook");
    assert!(
        OUTSIDE.iter().all(|outside| shell.contains(*outside)),
        "a name that is wrong here forbids nothing: {shell:?}"
    );
}

/// Every crate that one stands on, those of its tests included.
fn crates_below(lock: &toml::Table, name: &str) -> BTreeSet<String> {
    let packages = lock["package"].as_array().expect("a list");
    let mut below = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        for package in packages.iter().filter(|package| package["name"].as_str() == Some(&name)) {
            let on = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
            // "name", or "name version" where there are two.
            let on = on.filter_map(|on| on.as_str()?.split(' ').next());
            open.extend(on.filter(|on| below.insert((*on).to_owned())).map(str::to_owned));
        }
    }
    below
}

#[test]
fn commands_at_the_root_mean_every_crate() {
    let manifest: toml::Table = toml::from_str(include_str!("../../Cargo.toml")).expect("Cargo.toml is TOML");
    let list = |key: &str| {
        let list = manifest["workspace"][key].as_array().expect("a list").iter();
        list.map(|member| member.as_str().expect("a folder").to_owned()).collect::<BTreeSet<_>>()
    };
    let folders = fs::read_dir(root().join("crates")).expect("they are readable").flatten();
    let crates: BTreeSet<String> =
        folders.map(|folder| format!("crates/{}", folder.file_name().to_string_lossy())).collect();
    assert_eq!(list("members"), crates);
    assert_eq!(list("default-members"), crates.into_iter().chain([".".to_owned()]).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut problems = Vec::new();
    for file in rust() {
        for (number, line) in file.text.lines().enumerate() {
            let found = UNFINISHED.iter().filter(|word| line.contains(**word));
            problems.extend(found.map(|word| format!("{}:{}: `{word}`", file.path, number + 1)));
        }
    }
    none(&problems);
}

#[test]
fn the_documents_stay_short() {
    for (name, lines_max) in [("README.md", README_LINES_MAX), ("ARCHITECTURE.md", ARCHITECTURE_LINES_MAX)] {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = text.lines().count();
        assert!(lines <= lines_max, "{name}: {lines} lines, {lines_max} at most");
    }
}

#[test]
fn lock_files_name_no_download_host() {
    let index = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let elsewhere = lock.lines().filter(|line| line.contains("://") && *line != index);
    none(&elsewhere.map(|line| format!("Cargo.lock: {line}")).collect::<Vec<_>>());
    let npm = files(root(), "package-lock.json");
    let resolved = npm.iter().filter(|file| file.text.contains("\"resolved\""));
    none(&resolved.map(|file| format!("{}: names a download host", file.path)).collect::<Vec<_>>());
}

#[test]
fn the_binary_has_nothing_that_deny_toml_bans() {
    let deny: toml::Table = toml::from_str(include_str!("../../deny.toml")).expect("deny.toml is TOML");
    let bans = deny["bans"]["deny"].as_array().expect("a list");
    let lock: toml::Table = toml::from_str(include_str!("../../Cargo.lock")).expect("Cargo.lock is TOML");
    let locked = lock["package"].as_array().expect("a list").iter().filter_map(|package| package["name"].as_str());
    let locked: BTreeSet<&str> = locked.collect();
    assert!(locked.contains("openssl"), "the lock file was read");
    let banned = bans.iter().map(|ban| (ban["crate"].as_str().expect("a name"), &ban["reason"]));
    let found = banned.filter(|(name, _)| locked.contains(name));
    none(&found.map(|(name, reason)| format!("Cargo.lock: `{name}`: {reason}")).collect::<Vec<_>>());
}

#[test]
fn every_dependency_has_an_allowed_license() {
    let deny: toml::Table = toml::from_str(include_str!("../../deny.toml")).expect("deny.toml is TOML");
    let allowed = deny["licenses"]["allow"].as_array().expect("a list").iter();
    let allowed: BTreeSet<&str> = allowed.filter_map(toml::Value::as_str).collect();
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}\t{l}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("cargo writes UTF-8");
    let lines: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 100, "the tree was read");
    let refused = lines.into_iter().filter(|line| {
        let (_, license) = line.split_once('\t').expect("the format has a tab");
        !permits(license.trim_end_matches(" (*)"), &allowed)
    });
    none(&refused.map(|line| format!("not allowed by deny.toml: {line}")).collect::<Vec<_>>());
}

/// Whether one may choose allowed licenses only. Understands what crates write: alternatives, with "AND" outermost
/// where there are brackets.
fn permits(license: &str, allowed: &BTreeSet<&str>) -> bool {
    let any = |list: &str| list.replace('/', " OR ").split(" OR ").any(|one| allowed.contains(one.trim()));
    if license.contains('(') {
        license.split(" AND ").all(|part| any(part.trim().trim_matches(['(', ')'])))
    } else {
        license.split(" OR ").any(|choice| choice.split(" AND ").all(any))
    }
}

#[test]
fn a_license_is_judged_by_its_choices() {
    let allowed = BTreeSet::from(["MIT", "Unicode-3.0"]);
    for fine in ["MIT", "GPL-3.0 OR MIT", "Apache-2.0/MIT", "MIT AND Unicode-3.0", "(MIT OR GPL-2.0) AND Unicode-3.0"] {
        assert!(permits(fine, &allowed), "{fine}");
    }
    for not in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR LGPL-3.0) AND MIT"] {
        assert!(!permits(not, &allowed), "{not}");
    }
}
