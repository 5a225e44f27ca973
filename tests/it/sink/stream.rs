//! The loop: upserts on a topic, an org that answers as Salesforce does, outcomes on a topic.
//!
//! librdkafka's mock cluster carries the records: what is proved here is what the sink does with them. Rebalances,
//! transactions and more than the mock keeps (5 MB per partition) are proved on a real broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rollbook::config::{Config, Topics};
use rollbook::dead_letter::{DeadLetter, Stage};
use rollbook::emulator::{Emulator, Fault, FaultAction};
use rollbook::health::Health;
use rollbook::id::MemberKey;
use rollbook::metrics::Metrics;
use rollbook::outcome::{Outcome, OutcomeKind};
use rollbook::stage::sink::metrics::SinkMetrics;
use rollbook::stage::{Shared, Shutdown, sink};
use rollbook::topic_table::{Access, Partitions, Topic};
use rollbook::upsert::{Lane, Object, Row, Upsert, Value};
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use super::{campaign, config_for, lead_in, org};
use crate::harness::{self, Names, until};

pub(super) const PATIENCE: Duration = Duration::from_mins(1);
const PARTITIONS: i32 = 2;

/// A broker, an org, and what has been read from the topics that the sink writes.
pub(super) struct Stream {
    pub(super) org: Emulator,
    producer: BaseProducer,
    reader: BaseConsumer,
    bootstrap: String,
    names: Option<Names>,
    /// Dropped after the clients, which would wait for it at their end.
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) metrics: SinkMetrics,
}

/// With their partitions.
fn topics_of_the_sink() -> impl Iterator<Item = (Topic, i32)> {
    let needed = Topic::ALL.into_iter().filter(|topic| topic.access(&[Stage::Sink]) != Access::default());
    needed.map(|topic| (topic, if topic.row().partitions == Partitions::One { 1 } else { PARTITIONS }))
}

/// A sink that runs.
pub(super) struct Running {
    stop: Shutdown,
    pub(super) health: Arc<Health>,
    pub(super) process: Arc<Metrics>,
    task: JoinHandle<Result<(), sink::Error>>,
}

impl Stream {
    pub(super) async fn start() -> Self {
        Self::start_with(org().await)
    }

    pub(super) fn start_with(org: Emulator) -> Self {
        let mock = MockCluster::new(1).expect("a mock cluster");
        for (topic, partitions) in topics_of_the_sink() {
            mock.create_topic(topic.default_name(), partitions, 1).expect("a topic");
        }
        let bootstrap = mock.bootstrap_servers();
        Self::on(org, bootstrap, None, Some(mock))
    }

    /// Topics of its own on the real broker.
    pub(super) fn on_broker(test: &str, org: Emulator) -> Self {
        let broker = harness::kafka();
        let names = harness::names(test);
        for (topic, partitions) in topics_of_the_sink() {
            harness::create(&broker.client(), &[topic.name(&names.topics)], partitions, topic.row().made_with);
        }
        Self::on(org, broker.bootstrap().to_owned(), Some(names), None)
    }

    fn on(
        org: Emulator,
        bootstrap: String,
        names: Option<Names>,
        mock: Option<MockCluster<'static, DefaultProducerContext>>,
    ) -> Self {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &bootstrap);
        let producer = client.clone().set("partitioner", "murmur2_random").create().expect("a producer");
        let reader: BaseConsumer = client
            .set("group.id", test_group(names.as_ref()))
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        let topics = names.as_ref().map_or_else(Topics::default, |names| names.topics.clone());
        reader.subscribe(&[&topics.outcomes, &topics.dead_letters]).expect("a subscription");
        let metrics = SinkMetrics::register(&prometheus::Registry::new()).expect("the names are distinct");
        let (outcomes, dead_letters) = (Vec::new(), Vec::new());
        Self { org, producer, reader, bootstrap, names, _mock: mock, outcomes, dead_letters, metrics }
    }

    pub(super) fn config(&self) -> Config {
        let mut config = config_for(&self.org, &self.bootstrap);
        if let Some(names) = &self.names {
            config.application.clone_from(&names.prefix);
            config.topics = names.topics.clone();
        }
        config
    }

    pub(super) fn run(&self) -> Running {
        self.run_with(self.config())
    }

    pub(super) fn run_with(&self, config: Config) -> Running {
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
        let (shared, follower) = Shared::start(config, metrics, health).expect("clients can be made");
        let stop = shared.shutdown.watch();
        std::thread::spawn(move || follower.run(&stop));
        let (stop, metrics) = (shared.shutdown.clone(), self.metrics.clone());
        let (health, process) = (Arc::clone(&shared.health), Arc::clone(&shared.metrics));
        let task = tokio::spawn(async move { sink::run(&shared, &metrics).await });
        Running { stop, health, process, task }
    }

    pub(super) fn send(&self, upserts: &[Upsert]) {
        for upsert in upserts {
            self.send_bytes(
                &upsert.member.to_string(),
                &String::from_utf8(upsert.row.key()).unwrap(),
                &upsert.encode(),
            );
        }
        self.producer.flush(PATIENCE).expect("the mock takes them");
    }

    /// All rows of a member stand in its partition, whatever their own keys are.
    pub(super) fn send_bytes(&self, member: &str, key: &str, value: &[u8]) {
        let partition = i32::from(member.bytes().last().is_some_and(|it| it % 2 == 0)) % PARTITIONS;
        let upserts = self.names.as_ref().map_or("rollbook.upserts", |names| &names.topics.upserts);
        let record = BaseRecord::to(upserts).partition(partition).key(key).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
    }

    /// Reads until this many outcomes have come.
    pub(super) fn read_outcomes(&mut self, count: usize) {
        self.read(count, 0);
    }

    /// The same, and so many dead letters, which come by another topic.
    pub(super) fn read(&mut self, count: usize, letters: usize) {
        tokio::task::block_in_place(|| {
            until("outcomes", PATIENCE, || {
                while let Some(message) = self.reader.poll(Duration::from_millis(20)) {
                    let message = message.map_err(|error| error.to_string())?;
                    let value = message.payload().expect("a value");
                    if message.topic().ends_with("outcomes") {
                        self.outcomes.push(Outcome::decode(value).expect("an outcome"));
                    } else {
                        self.dead_letters.push(DeadLetter::decode(value).expect("a dead letter"));
                    }
                }
                let came = (self.outcomes.len(), self.dead_letters.len());
                if came.0 >= count && came.1 >= letters { Ok(()) } else { Err(format!("{came:?} came")) }
            });
        });
    }

    pub(super) fn outcomes_of(&self, kind: OutcomeKind) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.kind == kind).count()
    }

    /// Records of an object by external id.
    pub(super) fn held(&self, object: &str) -> BTreeMap<String, serde_json::Map<String, Json>> {
        let records = self.org.with_org(|org| org.dump(object)).expect("an object");
        let by_id = records.into_iter().filter_map(|it| Some((it.get("external_id__c")?.as_str()?.to_owned(), it)));
        by_id.collect()
    }
}

fn test_group(names: Option<&Names>) -> String {
    names.map_or_else(|| "test".to_owned(), |names| format!("{}-test", names.prefix))
}

impl Running {
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    pub(super) async fn stop(self) {
        self.stop.request();
        self.task.await.expect("no panic").expect("an orderly end");
    }

    /// Ends it where it stands: nothing is committed, nobody is told.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it was running");
    }
}

pub(super) fn member_row(member: MemberKey, status: &str) -> Upsert {
    let fields = vec![("Status", Value::Text(status.to_owned()))];
    let row = Row { object: Object::CAMPAIGN_MEMBER, external_id: member.to_string(), fields };
    Upsert { row, member, event_at: 0, lane: Lane::Backfill }
}

pub(super) fn dependant(object: Object, member: MemberKey, field: &'static str, value: Value) -> Upsert {
    let fields = vec![("entry_id__c", Value::Text("1_abc".into())), (field, value)];
    Upsert {
        row: Row { object, external_id: format!("{member}_1_abc"), fields },
        member,
        event_at: 0,
        lane: Lane::Backfill,
    }
}

/// A member and its two dependants.
pub(super) fn rows(member: MemberKey, plays: i64) -> [Upsert; 3] {
    [
        member_row(member, "Participated"),
        dependant(Object::ENGAGEMENT, member, "plays__c", Value::Integer(plays)),
        dependant(Object::POLLS, member, "poll_1_answer__c", Value::Text(format!("answer {plays}"))),
    ]
}

#[track_caller]
pub(super) fn assert_held(stream: &Stream, members: &[MemberKey], plays: i64) {
    let (held, engagements, polls) =
        (stream.held("CampaignMember"), stream.held("UserSessionEngagement__c"), stream.held("Kaltura_User_Polls__c"));
    for member in members {
        let record = &held[&member.to_string()];
        assert_eq!((&record["Status"], &record["HasResponded"]), (&json!("Participated"), &json!(true)));
        let key = format!("{member}_1_abc");
        assert_eq!(engagements[&key]["campaign_member__c"], record["Id"]);
        assert_eq!(engagements[&key]["plays__c"].as_f64(), json!(plays).as_f64());
        assert_eq!(polls[&key]["campaign_member__c"], record["Id"]);
        assert_eq!(polls[&key]["poll_1_answer__c"], format!("answer {plays}"));
    }
    assert_eq!((held.len(), engagements.len(), polls.len()), (members.len(), members.len(), members.len()));
}

pub(super) fn members_of(stream: &Stream, count: usize) -> Vec<MemberKey> {
    let campaigns = [campaign(&stream.org, "One"), campaign(&stream.org, "Two")];
    (0..count).map(|number| lead_in(&stream.org, campaigns[number % 2], number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn k2_k3_k4_k5_rows_arrive_with_their_members_statuses_and_ids() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 120);
    for member in &members {
        stream.send(&rows(*member, 1));
    }
    let sink = stream.run();
    stream.read_outcomes(360);
    assert_eq!((stream.outcomes_of(OutcomeKind::Created), stream.dead_letters.len()), (360, 0));
    assert_held(&stream, &members, 1);
    // The same rows with other values are updates of the same records.
    for member in &members {
        stream.send(&rows(*member, 2));
    }
    stream.read_outcomes(720);
    assert_eq!(stream.outcomes_of(OutcomeKind::Created), 360);
    assert_held(&stream, &members, 2);
    sink.stop().await;
    let updated = stream.metrics.rows.with_label_values(&["CampaignMember", "updated"]).get();
    let superseded = stream.metrics.rows.with_label_values(&["CampaignMember", "superseded"]).get();
    assert_eq!(updated + superseded, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_at_the_end_and_nothing_is_sent_twice() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 10);
    for member in &members {
        stream.send(&rows(*member, 1));
    }
    let sink = stream.run();
    stream.read_outcomes(30);
    sink.stop().await;
    let sink = stream.run();
    let [newer, ..] = rows(members[0], 1);
    stream.send(&[newer]);
    stream.read_outcomes(31);
    sink.stop().await;
    stream.read_outcomes(31);
    assert_eq!(stream.outcomes.len(), 31, "only the new row was sent after the restart");
    assert_eq!(stream.outcomes_of(OutcomeKind::Updated), 1, "the member was looked up, not made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_of_every_kind_loses_nothing() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 60);
    let page = || FaultAction::Answer { status: 502, body: "<html>bad gateway</html>".into() };
    let org = &stream.org;
    org.add_fault(Fault::next("oauth2/token", page()));
    org.add_fault(Fault::next("query", FaultAction::CutBefore));
    org.add_fault(Fault::next("composite", FaultAction::CutAfter).times(3));
    org.add_fault(Fault::next("composite", page()).after(1).times(3));
    org.add_fault(Fault::next("composite", FaultAction::refuse(401, "INVALID_SESSION_ID", "Session expired")));
    org.add_fault(Fault::next("composite", FaultAction::refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests")));
    org.add_fault(Fault::next("composite", FaultAction::refuse(400, "UNABLE_TO_LOCK_ROW", "unable")));
    org.add_fault(Fault::next("composite", FaultAction::refuse(413, "", "")));
    for member in &members {
        stream.send(&rows(*member, 1));
    }
    let sink = stream.run();
    stream.read_outcomes(180);
    sink.stop().await;
    assert_eq!((stream.outcomes.len(), stream.dead_letters.len()), (180, 0));
    assert_held(&stream, &members, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn k2_a_member_made_by_a_person_is_adopted() {
    let mut stream = Stream::start().await;
    let members = members_of(&stream, 4);
    // One from before the field was there, one with an id of somebody's own.
    let by_hand = [(members[0], Value::Null), (members[1], Value::Text("by hand".into()))];
    let records = by_hand.map(|(member, external_id)| {
        let record = json!({
            "CampaignId": member.campaign.as_str(),
            "LeadId": member.person.as_str(),
            "external_id__c": external_id.to_json(),
        });
        stream.org.with_org(|org| org.put("CampaignMember", record)).expect("a member")
    });
    let sink = stream.run();
    for member in &members {
        stream.send(&rows(*member, 1));
    }
    stream.read_outcomes(12);
    for (member, record) in members.iter().zip(records) {
        let adopted = stream.outcomes.iter().find(|outcome| outcome.external_id == member.to_string()).unwrap();
        assert_eq!((adopted.kind, adopted.record_id.as_deref()), (OutcomeKind::Updated, Some(record.as_str())));
    }
    assert_held(&stream, &members, 1);
    sink.stop().await;
    assert!(stream.dead_letters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_salesforce_will_not_take_is_a_dead_letter_and_the_rest_is_written() {
    let mut stream = Stream::start().await;
    let mut members = members_of(&stream, 4);
    let unlabelled = members.pop().expect("four");
    let no_id = Value::Text("xxx".to_owned());
    let nobody = MemberKey { campaign: members[0].campaign, person: lead_id("00Q000000000zzz") };
    let nowhere = MemberKey { campaign: lead_id("701000000000zzz"), person: members[0].person };
    for member in &members {
        stream.send(&rows(*member, 1));
    }
    stream.send(&[
        dependant(Object::POLLS, members[0], "Lead__c", no_id),
        member_row(nobody, "Registered"),
        dependant(Object::ENGAGEMENT, nobody, "plays__c", Value::Integer(1)),
        member_row(nowhere, "Registered"),
        member_row(unlabelled, "No such status"),
    ]);
    stream.send_bytes("a", "no upsert", b"no upsert");
    let sink = stream.run();
    stream.read(14, 6);
    sink.stop().await;
    let mut reasons: Vec<&str> = stream.dead_letters.iter().map(|it| it.reason.as_str()).collect();
    reasons.sort_unstable();
    let expected =
        ["MALFORMED_ID", "campaign_missing", "member_missing", "person_missing", "status_unknown", "undecodable"];
    assert_eq!(reasons, expected);
    let refused = stream.dead_letters.iter().find(|it| it.reason == "MALFORMED_ID").unwrap();
    assert!(!refused.detail.contains("xxx"), "no value in the text");
    assert_eq!(refused.object.as_deref(), Some("Kaltura_User_Polls__c"));
    assert!(refused.value.is_some() && refused.key.is_some() && refused.topic == "rollbook.upserts");
    assert_eq!(stream.held("UserSessionEngagement__c").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_a_sink_with_a_token_and_partitions_and_it_tells_its_lag() {
    let stream = Stream::start().await;
    let down = FaultAction::Answer { status: 503, body: String::new() };
    stream.org.add_fault(Fault::next("oauth2/token", down).times(u64::MAX));
    let sink = stream.run();
    let state = || sink.health.ready();
    tokio::task::block_in_place(|| {
        until("partitions", PATIENCE, || {
            let metrics = sink.process.render();
            let lags = metrics.lines().filter(|line| line.starts_with("rollbook_consumer_lag_records")).count();
            if lags == 2 { Ok(()) } else { Err(metrics) }
        });
        assert_eq!(state().1["sink"]["waits_for"], "a token from Salesforce");
        stream.org.clear_faults();
        until("a token", PATIENCE, || if state().0 { Ok(()) } else { Err(state().1.to_string()) });
    });
    sink.stop().await;
}

fn lead_id(text: &str) -> rollbook::id::SalesforceId {
    rollbook::id::SalesforceId::parse(text).expect("an id")
}
