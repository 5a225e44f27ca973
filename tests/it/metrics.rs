//! The names of the metrics: the conventions, and that rules, dashboards and the runbook keep to what there is.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use prometheus::proto::MetricType;
use rollbook::metrics::{CommitResult, Dependency, Metrics, RecordOutcome};
use rollbook::stage::sink::metrics::SinkMetrics;
use serde_json::Value;

/// Labels that may be used: closed lists and partition numbers.
const LABELS: &[&str] = &[
    "topic",
    "partition",
    "outcome",
    "reason",
    "stage",
    "object",
    "result",
    "dependency",
    "version",
    "api",
    "status",
    "lane",
    "end",
    "cause",
    "kind",
    "field",
    "code",
];

/// Base units, as the last part of a name (before `_total`).
const UNITS: &[&str] = &["seconds", "bytes", "ratio", "records", "rows", "requests", "calls", "offset"];

/// Gauges and counters of things that have no unit but themselves.
const COUNTED: &[&str] = &[
    "rollbook_build_info",
    "rollbook_waiting",
    "rollbook_ready",
    "rollbook_state_restoring",
    "rollbook_consumer_stalled",
    "rollbook_state_disk_failing",
    "rollbook_state_entries",
    "rollbook_assigned_partitions",
    "rollbook_group_strangers",
    "rollbook_gaps_unacknowledged",
    "rollbook_notes",
    "rollbook_held_partitions",
    "rollbook_catalogue_sessions",
    "rollbook_salesforce_api_requests_used",
    "rollbook_salesforce_api_requests_limit",
    "rollbook_salesforce_budget_exhausted",
    "rollbook_salesforce_api_requests_share",
    "rollbook_salesforce_api_forecast_known",
    "rollbook_sink_lane_stopped",
    "rollbook_sink_bulk_jobs",
    "rollbook_sink_waiting",
    "rollbook_consumer_lag_known",
    "rollbook_commit_pending",
];

#[test]
fn names_and_labels_keep_to_the_conventions() {
    let metrics = Metrics::new();
    SinkMetrics::register(metrics.registry()).unwrap();
    for family in metrics.registry().gather() {
        let name = family.name();
        if name.starts_with("process_") {
            continue;
        }
        assert!(name.starts_with("rollbook_"), "{name} has another prefix");
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(legal) && !name.contains("__"), "{name} is not snake_case");
        assert_eq!(name.ends_with("_total"), family.get_field_type() == MetricType::COUNTER, "{name}");
        assert!(family.help().ends_with('.'), "{name} has no help");
        if family.get_field_type() != MetricType::COUNTER {
            let last = name.rsplit('_').next().unwrap();
            assert!(UNITS.contains(&last) || COUNTED.contains(&name), "{name} has no unit");
        }
        for label in family.get_metric().iter().flat_map(prometheus::proto::Metric::get_label) {
            assert!(LABELS.contains(&label.name()), "{name} has the label {}", label.name());
        }
    }
}

#[test]
fn every_known_label_combination_starts_at_zero() {
    let text = Metrics::new().render();
    for outcome in RecordOutcome::ALL {
        let series = format!("rollbook_records_total{{outcome=\"{}\",topic=\"views\"}} 0", outcome.name());
        assert!(text.contains(&series), "{series}");
    }
    for result in CommitResult::ALL {
        assert!(text.contains(&format!("rollbook_commits_total{{result=\"{}\"}} 0", result.name())));
    }
    for dependency in Dependency::ALL {
        assert!(text.contains(&format!("rollbook_waiting{{dependency=\"{}\"}} 0", dependency.name())));
    }
    assert!(text.contains("rollbook_dead_letters_total{reason=\"undecodable\",stage=\"fold\"} 0"));
    assert!(text.contains("rollbook_build_info{version="));
}

/// Runs promtool; None where the machine has none. The tests beside it need none, and the CI has it.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(deploy("prometheus"));
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match promtool.spawn() {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => panic!("promtool cannot be started: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(promtool.wait_with_output().unwrap())
}

#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = Metrics::new().render();
    for (arguments, input) in [
        (&["check", "metrics"][..], metrics.as_str()),
        (&["check", "config", "--lint=all", "prometheus.yml"], ""),
        (&["test", "rules", "rules.test.yml"], ""),
    ] {
        if let Some(Output { status, stdout, stderr }) = promtool(arguments, input) {
            let said = [stdout, stderr].concat();
            assert!(status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
        }
    }
}

/// Another part's metrics, by the same rules.
pub fn promtool_finds_nothing_to_say_about(metrics: &str) {
    if let Some(Output { status, stdout, stderr }) = promtool(&["check", "metrics"], metrics) {
        assert!(status.success(), "{}", String::from_utf8_lossy(&[stdout, stderr].concat()));
    }
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// Names of our metrics in a text, without the endings that a histogram's series have.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words
        .filter(|word| word.starts_with("rollbook_"))
        .map(|word| ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word))
        .map(str::to_owned)
        .collect()
}

fn registered() -> BTreeSet<String> {
    let metrics = Metrics::new();
    SinkMetrics::register(metrics.registry()).unwrap();
    // Series that exist once partitions are assigned.
    metrics.set_lag(rollbook::topic_table::Topic::Views, 0, 0);
    metrics.restore_remaining(0);
    metrics.registry().gather().iter().map(|family| family.name().to_owned()).collect()
}

#[test]
fn rules_and_dashboards_use_only_metrics_that_exist() {
    let registered = registered();
    for file in ["prometheus/rules.yml", "prometheus/rules.test.yml", "grafana/dashboards/rollbook.json"] {
        for name in names_in(&read(file)) {
            assert!(registered.contains(&name), "deploy/{file} uses {name}, which nothing exports");
        }
    }
}

#[test]
fn the_status_reads_only_metrics_that_exist() {
    let registered = registered();
    let (shipped, _tests) = include_str!("../../src/status/mod.rs").split_once("#[cfg(test)]").unwrap();
    let read = names_in(shipped);
    assert!(read.len() > 10, "{read:?}");
    let absent: Vec<_> = read.difference(&registered).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

/// Names of the alerts in the rules, one `- alert: Name` each.
fn alerts() -> Vec<String> {
    let rules = read("prometheus/rules.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn every_alert_has_its_entry_in_the_runbook() {
    let (alerts, runbook) = (alerts(), read("runbook.md"));
    assert!(!alerts.is_empty());
    for alert in &alerts {
        assert!(
            runbook.lines().any(|line| line == format!("## {alert}")),
            "deploy/runbook.md has no entry for {alert}"
        );
        let anchor = format!("runbook.md#{}", alert.to_lowercase());
        assert!(read("prometheus/rules.yml").contains(&anchor), "{alert} does not lead to its entry");
        assert!(read("prometheus/rules.test.yml").contains(&format!("alertname: {alert}")), "{alert} has no test");
    }
}

#[test]
fn the_dashboard_is_complete() {
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboards/rollbook.json")).unwrap();
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "`{title}` has no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "`{title}` has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "`{title}`");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "`{title}` shows nothing");
    }
}
