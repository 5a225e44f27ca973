//! A real schema registry: Apicurio, in memory, with Confluent's API under a path of its URL. Started when the first
//! test asks for it. For an outage put a [`super::Gate`] before it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use super::process::{self, Process};
use super::{free_port, http, place, wait};

const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all";
const JAR: &str = "apicurio-registry-app-3.0.9-runner.jar";
/// 2.10 is the last version of the plugin that copies what it got without reading the artifact's parent.
const GET: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.10:get";

/// The first fetch moves 109 MB.
const FETCH_WITHIN: Duration = Duration::from_mins(5);
const UNPACK_WITHIN: Duration = Duration::from_mins(1);
const START_WITHIN: Duration = Duration::from_secs(90);

pub struct Registry {
    pub address: SocketAddr,
    _process: Process,
}

impl Registry {
    pub fn url(&self) -> String {
        url_at(self.address)
    }

    /// Registers an Avro schema and returns its id.
    #[track_caller]
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let url = format!("{}/subjects/{subject}/versions", self.url());
        let answer = http::post(&url, "application/vnd.schemaregistry.v1+json", &body).expect("the registry answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("the registry answers in JSON");
        let id = answer.get("id").and_then(serde_json::Value::as_u64).expect("the answer has an id");
        u32::try_from(id).expect("the id fits the wire format")
    }
}

/// The registry's URL when it is reached through another address.
pub fn url_at(address: SocketAddr) -> String {
    format!("http://{address}/apis/ccompat/v7")
}

pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Result<Registry, String>> = LazyLock::new(start);
    REGISTRY.as_ref().unwrap_or_else(|why| panic!("no schema registry for the tests: {why}"))
}

fn start() -> Result<Registry, String> {
    let mut java = process::tool("java")?;
    let folder = place::once("registry", ARTIFACT, fetch)?;
    let port = free_port();
    java.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    java.arg("-Dquarkus.http.host=127.0.0.1").arg(format!("-Dquarkus.http.port={port}"));
    java.arg("-jar").arg(folder.join(JAR)).current_dir(&folder);
    let mut process = Process::spawn("registry", &mut java).map_err(|error| format!("cannot start `java`: {error}"))?;

    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let ready = wait::poll(START_WITHIN, || {
        if let Some(status) = process.exited() {
            return Ok(Err(format!("it ended: {status}")));
        }
        let answer = http::get(&format!("{}/subjects", url_at(address)))?;
        if answer.status == 200 { Ok(Ok(())) } else { Err(format!("it answers {}", answer.status)) }
    });
    ready
        .map_err(|why| format!("not ready within {START_WITHIN:?}: {why}"))
        .flatten()
        .map_err(|why| format!("{why}\n{}", process.log_tail()))?;
    Ok(Registry { address, _process: process })
}

fn fetch(folder: &Path) -> Result<(), String> {
    let archive = folder.join("registry.tar.gz");
    let mut maven = process::tool("mvn")?;
    maven.args(["-q", "-B", GET, "-Dtransitive=false"]).arg(format!("-Dartifact={ARTIFACT}"));
    maven.arg(format!("-Ddest={}", archive.display())).current_dir(folder);
    process::run("mvn-registry", &mut maven, FETCH_WITHIN)?;
    let mut tar = Command::new("tar");
    process::run("tar-registry", tar.arg("xzf").arg(&archive).arg("-C").arg(folder), UNPACK_WITHIN)?;
    fs::remove_file(&archive).map_err(|error| format!("{}: {error}", archive.display()))
}
