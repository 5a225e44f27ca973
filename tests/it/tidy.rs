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

/// Rooms without clock, network, disk, randomness or async.
const PURE_ROOMS: [&str; 14] = [
    "avro",
    "bulk_job",
    "dead_letter",
    "disposition",
    "event",
    "fold",
    "gap",
    "id",
    "lattice",
    "note",
    "outcome",
    "route",
    "time",
    "upsert",
];
const IMPURE: [&str; 9] =
    ["tokio", "rdkafka", "reqwest", "SystemTime", "Instant::now", "std::fs", "std::net", "fastrand", "rand::"];
/// Rooms of the shell, which the pure ones may not know.
const SHELL: [&str; 14] = [
    "cli",
    "config",
    "demo",
    "emulator",
    "health",
    "http",
    "kafka",
    "metrics",
    "repeated",
    "salesforce",
    "stage",
    "status",
    "store",
    "terminal",
];

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

#[test]
fn the_core_is_pure() {
    let mut problems = Vec::new();
    for file in files(&root().join("src"), ".rs") {
        let room = file.path.trim_start_matches("src/").trim_end_matches(".rs");
        let room = room.split_once('/').map_or(room, |(room, _)| room);
        if PURE_ROOMS.contains(&room) {
            problems.extend(impurities(&file.path, &file.text));
        }
    }
    none(&problems);
}

/// The outbox decides, its shell moves things. It knows the settings, and the limits and forms of Salesforce, and no client.
#[test]
fn the_outbox_is_pure() {
    const KNOWN: [&str; 2] = ["crate::config", "crate::salesforce"];
    let outbox = files(&root().join("src/stage/sink/outbox"), ".rs");
    assert!(outbox.len() > 15, "the walk finds it");
    let mut problems = Vec::new();
    for file in outbox.iter().filter(|file| !file.path.contains("simulat") && !file.path.contains("tests.rs")) {
        let text = KNOWN.iter().fold(file.text.clone(), |text, known| text.replace(known, ""));
        problems.extend(impurities(&file.path, &text));
        let client = |line: &&str| {
            ["salesforce::Client", "salesforce::Error", "async ", ".await"].iter().any(|it| line.contains(it))
        };
        problems.extend(file.text.lines().filter(client).map(|line| format!("{}: {line}", file.path)));
    }
    none(&problems);
}

#[test]
fn every_room_is_of_the_core_or_of_the_shell() {
    let map = include_str!("../../src/lib.rs");
    let rooms = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let rooms: BTreeSet<&str> = rooms.collect();
    assert!(rooms.len() > 15, "{rooms:?}");
    let known: BTreeSet<&str> = PURE_ROOMS.into_iter().chain(SHELL).collect();
    assert_eq!(rooms, known, "a room that nobody judges may do anything");
    let listed = include_str!("../../ARCHITECTURE.md").split("Pure: ").nth(1).expect("it lists the core");
    let core = listed.split("The shell").next().unwrap_or_default();
    for room in PURE_ROOMS {
        assert!(core.contains(&format!("`{room}`")), "{room} is not in ARCHITECTURE.md's core");
    }
}

fn impurities(path: &str, text: &str) -> Vec<String> {
    let (shipped, _tests) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    let mut found = Vec::new();
    for (number, line) in shipped.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let shell = SHELL.iter().map(|room| format!("crate::{room}"));
        let forbidden = IMPURE.iter().map(ToString::to_string).chain(shell).filter(|word| code.contains(word.as_str()));
        found.extend(forbidden.map(|word| format!("{path}:{}: `{word}` in a pure room", number + 1)));
    }
    found
}

#[test]
fn an_impure_line_is_seen() {
    let text = "use std::fs;\n// std::net\nlet x = crate::kafka::client();\n#[cfg(test)]\nuse tokio::time;\n";
    assert_eq!(impurities("x.rs", text).len(), 2);
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
