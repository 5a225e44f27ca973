//! Bulk jobs over a restart: they go on where they were, and a chunk counts once wherever a crash comes.

use std::fs;

use rollbook::emulator::Options;
use rollbook::emulator::schema::Schema;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Session;
use super::bulk::{KEY, column, keys};

fn kept() -> (TempDir, Options) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(Schema::load_embedded());
    options.data = Some(folder.path().to_owned());
    (folder, options)
}

impl Session {
    async fn half_done(&self, body: Value, csv: String) -> String {
        self.control("PUT", "bulk/hold", Value::Null).await;
        let job = self.job(body).await;
        assert_eq!(self.upload(&job, csv).await.0, 201);
        assert_eq!(self.close(&job).await.0, 200);
        for _ in 0..2 {
            self.control("POST", "bulk/step", Value::Null).await;
        }
        assert_eq!(self.get(&format!("jobs/ingest/{job}")).await.1["numberRecordsProcessed"], 200);
        job
    }

    fn rows_of(&self, object: &str) -> usize {
        self.emulator.with_org(|org| org.dump(object)).expect("a known object").len()
    }
}

#[tokio::test]
async fn jobs_go_on_after_a_restart() {
    let (_folder, options) = kept();
    let org = Session::with(options.clone()).await;
    let upsert = json!({ "object": "UserSessionEngagement__c", "operation": "upsert", "externalIdFieldName": KEY });
    let form = json!({ "columnDelimiter": "PIPE", "lineEnding": "CRLF" });
    let (open, gone) = (org.upsert_job().await, org.upsert_job().await);
    let aborted = org.upsert_job().await;
    assert_eq!(org.upload(&aborted, keys(0, 2)).await.0, 201);
    for job in [&gone, &aborted] {
        assert_eq!(org.patch(&format!("jobs/ingest/{job}"), json!({ "state": "Aborted" })).await.0, 200);
    }
    assert_eq!(org.delete(&format!("jobs/ingest/{gone}")).await.0, 204);
    let mut body = upsert.clone();
    body.as_object_mut().expect("an object").extend(form.as_object().expect("an object").clone());
    let csv = (keys(0, 449) + ",1\n").replace(',', "|").replace('\n', "\r\n");
    let job = org.half_done(body, csv).await;
    org.emulator.stop().await.expect("an orderly end");

    for _ in 0..2 {
        let org = Session::with(options.clone()).await;
        let info = org.ended("ingest", &job).await;
        let found =
            ["state", "numberRecordsProcessed", "numberRecordsFailed", "columnDelimiter"].map(|name| &info[name]);
        assert_eq!(found, [&json!("JobComplete"), &json!(450), &json!(1), &json!("PIPE")]);
        assert_eq!(org.rows_of("UserSessionEngagement__c"), 449);
        let text = org.text(&format!("jobs/ingest/{job}/successfulResults")).await;
        assert_eq!((text.lines().count(), text.matches("|\"true\"|").count()), (450, 449));
        let text = org.text(&format!("jobs/ingest/{job}/failedResults")).await;
        assert!(text.contains("MISSING_ARGUMENT:external_id__c not specified:--"), "{text}");
        assert_eq!(column(&org.results(&aborted, "unprocessedrecords").await, KEY), ["k0", "k1"]);
        assert_eq!(org.get(&format!("jobs/ingest/{gone}")).await.0, 404);
        org.emulator.stop().await.expect("an orderly end");
    }
    let org = Session::with(options).await;
    assert_eq!(org.carry_out(&open, &keys(500, 501)).await["state"], "JobComplete", "an open job can be filled");
    assert_eq!(org.rows_of("UserSessionEngagement__c"), 450);
}

#[tokio::test]
async fn a_chunk_counts_once_wherever_a_crash_comes() {
    for rows_lost in [false, true] {
        let (folder, options) = kept();
        let org = Session::with(options.clone()).await;
        // Nothing about these rows keeps them from being inserted twice.
        let csv = (0..300).fold("plays__c\n".to_owned(), |csv, at| csv + &format!("{at}\n"));
        let job = org.half_done(json!({ "object": "UserSessionEngagement__c", "operation": "insert" }), csv).await;
        org.emulator.stop().await.expect("an orderly end");
        if rows_lost {
            // As if the process had died between the chunk's two logs.
            let journal = folder.path().join("rows.jsonl");
            let text = fs::read_to_string(&journal).expect("the journal");
            let kept: Vec<&str> = text.lines().collect();
            let kept = kept[..kept.len() - 200].join("\n") + "\n";
            assert!(!kept.contains("UserSessionEngagement__c"));
            fs::write(&journal, kept).expect("the folder is writable");
        }
        let org = Session::with(options).await;
        let info = org.ended("ingest", &job).await;
        assert_eq!((&info["state"], &info["numberRecordsProcessed"]), (&json!("JobComplete"), &json!(300)));
        assert_eq!(org.rows_of("UserSessionEngagement__c"), 300, "rows lost: {rows_lost}");
        for id in column(&org.results(&job, "successfulResults").await, "sf__Id") {
            assert_eq!(org.get(&format!("sobjects/UserSessionEngagement__c/{id}?fields=Id")).await.0, 200);
        }
    }
}

#[tokio::test]
async fn a_job_that_is_forgotten_leaves_nothing_on_disk() {
    let (folder, options) = kept();
    let org = Session::with(options).await;
    let job = org.upsert_job().await;
    org.carry_out(&job, &keys(0, 1)).await;
    let files = || fs::read_dir(folder.path().join("jobs")).expect("a folder").count();
    assert_eq!(files(), 2);
    org.control("POST", "bulk/expire", Value::Null).await;
    assert_eq!(org.get(&format!("jobs/ingest/{job}")).await.0, 404);
    assert_eq!(files(), 0);
}
