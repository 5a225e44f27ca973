//! Kafka Streams: its jars from Maven Central, the fold of benches/peers/java compiled against them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rollbook::avro;

use crate::harness::{self, place};
use crate::peer::{Peer, Run};

/// What it writes once all state is there and records flow.
pub const RUNNING: &str = "state RUNNING";

const POM: &str = include_str!("java/pom.xml");
/// The first fetch moves 95 MB.
const FETCH_WITHIN: Duration = Duration::from_mins(5);
const COMPILE_WITHIN: Duration = Duration::from_mins(1);

pub fn command(run: &Run<'_>) -> Command {
    static CLASS_PATH: LazyLock<String> =
        LazyLock::new(|| class_path().unwrap_or_else(|why| panic!("no Kafka Streams: {why}")));
    let file = run.folder().join("streams.properties");
    fs::write(&file, settings(run)).expect("the target folder is writable");
    let mut java = Command::new("java");
    java.args(run.options.jvm.split_whitespace()).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    java.args(["-cp", &*CLASS_PATH, "Main"]).arg(file);
    java
}

fn settings(run: &Run<'_>) -> String {
    let rocksdb = matches!(run.peer, Peer::StreamsDslRocksdb | Peer::StreamsProcessorRocksdb);
    let dsl = matches!(run.peer, Peer::StreamsDslRocksdb | Peer::StreamsDslMemory);
    let options = run.options;
    let settings = [
        ("application", run.id()),
        ("bootstrap", run.broker.bootstrap()),
        ("input", run.input.topic.clone()),
        ("output", run.output()),
        ("state.dir", run.folder().join("state").display().to_string()),
        ("api", if dsl { "dsl" } else { "processor" }.to_owned()),
        ("store", if rocksdb { "rocksdb" } else { "memory" }.to_owned()),
        ("commit.ms", options.commit_ms.to_string()),
        ("threads", options.threads.to_string()),
        ("cache.bytes", (options.cache_mb << 20).to_string()),
        ("view.header", hexadecimal(&avro::VIEW.header)),
        ("upsert.header", hexadecimal(&avro::UPSERT.header)),
    ];
    settings.iter().fold(String::new(), |text, (name, value)| text + name + "=" + value + "\n")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every write");
        text
    })
}

/// The jars and the compiled fold.
fn class_path() -> Result<String, String> {
    let jars = place::once("streams", POM, fetch)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/java/src");
    let classes = harness::folder().join("streams-classes");
    let mut files: Vec<PathBuf> = fs::read_dir(&sources)
        .map_err(|error| format!("{}: {error}", sources.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut compiler = harness::tool("javac")?;
    compiler.args(["-Xlint:all", "-Werror", "-cp"]).arg(jars.join("*")).arg("-d").arg(&classes).args(files);
    harness::run("javac", &mut compiler, COMPILE_WITHIN)?;
    Ok(format!("{}:{}", classes.display(), jars.join("*").display()))
}

fn fetch(folder: &Path) -> Result<(), String> {
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| format!("{}: {error}", pom.display()))?;
    let mut maven = harness::tool("mvn")?;
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", folder.display()));
    harness::run("mvn-streams", &mut maven, FETCH_WITHIN)
}
