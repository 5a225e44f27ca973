//! The login of a running sink: one that is refused, one that leads to another org.

use std::fs;
use std::path::Path;

use rollbook::config::Config;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options};
use rollbook::id::{MemberKey, SalesforceId};
use rollbook::kafka::notes;
use rollbook::note::{Note, ORG, ORG_ID};
use secrecy::ExposeSecret as _;

use super::stream::{PATIENCE, Running, Stream, member_row};
use super::{campaign, lead_in};
use crate::harness::{Gate, until};

/// The settings of this stream, for a client secret in a file.
fn with_secret_in(file: &Path, login_url: &str, config: Config) -> Config {
    let file = file.display().to_string();
    let text = format!(
        "[kafka]\nbootstrap = \"localhost:1\"\n[salesforce]\nlogin_url = {login_url:?}\n[salesforce.auth]\n\
         flow = \"client_credentials\"\nclient_id = \"rollbook\"\nclient_secret_file = {file:?}\n"
    );
    let parsed = Config::parse(&text, Path::new(""), &|_| None).unwrap_or_else(|invalid| panic!("{invalid}"));
    Config { salesforce: parsed.salesforce, ..config }
}

impl Stream {
    fn waits(&self, sink: &Running, reason: &str) {
        tokio::task::block_in_place(|| {
            until(reason, PATIENCE, || {
                let (ready, detail) = sink.health.ready();
                let waiting = self.metrics.waiting.with_label_values(&[reason]).get();
                let metrics = sink.process.render();
                let told = metrics.contains("rollbook_waiting{dependency=\"salesforce\"} 1");
                if !ready && waiting == 1 && told { Ok(()) } else { Err(format!("{detail} {waiting}")) }
            });
        });
        assert!(!sink.has_ended(), "the process goes on");
    }
}

fn goes_on(sink: &Running) {
    tokio::task::block_in_place(|| {
        until("it to be ready", PATIENCE, || {
            let (ready, detail) = sink.health.ready();
            if ready { Ok(()) } else { Err(detail.to_string()) }
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_holds_the_sink_until_the_file_of_the_secret_is_right() {
    let mut stream = Stream::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    fs::write(&file, "wrong\n").expect("the folder is writable");
    let place = campaign(&stream.org, "One");
    let members: Vec<_> = (0..2).map(|number| lead_in(&stream.org, place, number)).collect();
    let sink = stream.run_with(with_secret_in(&file, &stream.org.base_url(), stream.config()));
    // Before any row.
    stream.waits(&sink, "login_refused");
    let right = stream.org.credentials().client_secret.expose_secret().to_owned();
    fs::write(&file, format!("{right}\n")).expect("the folder is writable");
    goes_on(&sink);
    stream.send(&[member_row(members[0], "Registered")]);
    stream.read_outcomes(1);

    // While it runs: the token ends, and the secret is another.
    stream.org.set_client_secret("rotated".into());
    stream.org.expire_tokens();
    stream.send(&[member_row(members[1], "Registered")]);
    stream.waits(&sink, "login_refused");
    fs::write(&file, "rotated").expect("the folder is writable");
    stream.read_outcomes(2);
    goes_on(&sink);
    assert_eq!(stream.held("CampaignMember").len(), 2);
    sink.stop().await;
}

/// An org of this id, with a campaign and leads of the same ids as every other one here.
async fn org_of(id: &str) -> (Emulator, Vec<MemberKey>) {
    let mut options = Options::new(Schema::load_embedded());
    options.org_id = SalesforceId::parse(id);
    options.credentials.client_secret = "same".into();
    let org = Emulator::start(options).await.expect("a free port");
    let place = campaign(&org, "One");
    let members = (0..3).map(|number| lead_in(&org, place, number)).collect();
    (org, members)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_leads_to_another_org_holds_the_sink_until_somebody_accepts_it() {
    let (one, members) = org_of("00D000000000001").await;
    let (two, same) = org_of("00D000000000002").await;
    assert_eq!(members, same, "what is remembered of one would be taken for the other");
    let gate = Gate::open_to(one.address());
    let mut stream = Stream::start_with(one);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    fs::write(&file, "same").expect("the folder is writable");
    let url = format!("http://{}", gate.address());
    let config = with_secret_in(&file, &url, stream.config());
    let sink = stream.run_with(config.clone());
    stream.send(&[member_row(members[0], "Registered")]);
    stream.read_outcomes(1);
    let noted = tokio::task::block_in_place(|| notes::read(&config).expect("the notes"));
    assert_eq!(noted[ORG].get(ORG_ID), SalesforceId::parse("00D000000000001").as_ref().map(SalesforceId::as_str));

    // The old token is not known there.
    gate.lead_to(two.address());
    stream.send(&[member_row(members[1], "Registered")]);
    stream.waits(&sink, "org_changed");
    assert!(two.with_org(|org| org.dump("CampaignMember")).expect("an object").is_empty());

    // Somebody led the login back: nothing is to be accepted.
    gate.lead_to(stream.org.address());
    stream.org.expire_tokens();
    stream.read_outcomes(2);
    goes_on(&sink);

    gate.lead_to(two.address());
    stream.send(&[member_row(members[0], "Confirmed"), member_row(members[2], "Attended")]);
    stream.waits(&sink, "org_changed");
    let found = SalesforceId::parse("00D000000000002").expect("an id");
    let accepted = Note::new(ORG, 1).with(ORG_ID, found.as_str());
    tokio::task::block_in_place(|| notes::write(&config, ORG, Some(&accepted)).expect("the note"));
    stream.read_outcomes(4);
    goes_on(&sink);
    sink.stop().await;
    // Statuses and members that were remembered of the other one are not taken for its own.
    let written = two.with_org(|org| org.dump("CampaignMember")).expect("an object");
    let mut statuses: Vec<_> = written.iter().filter_map(|row| row["Status"].as_str()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["Attended", "Confirmed"]);
    assert_eq!(stream.held("CampaignMember").len(), 2, "and the other one got no more");
}
