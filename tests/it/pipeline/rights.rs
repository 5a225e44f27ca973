//! Rights and logins that are taken away while Rollbook runs are waited for, by name, and work goes on when they are given
//! back: on a broker with Kafka's own authorizer, as what librdkafka makes of each refusal is the point.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rollbook::dead_letter::Stage;
use rollbook::demo::conference::{self, Conference};
use rollbook::demo::reference::expected;
use rollbook::topic_table;

use super::world::{Connection, WITHIN, World, metric};
use crate::harness::Operation::{All, Create, Describe, DescribeConfigs, IdempotentWrite, Read, Write};
use crate::harness::Resource::{Cluster, Group, Topic, TransactionalId};
use crate::harness::{self, AUTHORIZER, Node, Operation, PARTITIONS, Resource, Rights, Rollbook, SCRAM, User};

/// One broker for this file's tests, each of which has a user of its own. Connections are logged in again in short order.
fn broker() -> &'static Node {
    static BROKER: LazyLock<Node> = LazyLock::new(|| {
        let more = format!("{AUTHORIZER}listener.name.sasl_ssl.connections.max.reauth.ms=3000\n");
        let mut node = Node::format(&harness::folder().join("kafka-rights"), &more).expect("it is formatted");
        node.start().expect("it starts");
        node.await_answer().expect("it answers");
        node
    });
    &BROKER
}

/// Waits until the process waits for Kafka, and says so: `why` in its readiness, and each of these texts in its log.
#[track_caller]
fn waits(rollbook: &Rollbook, why: &str, said: &[&str]) {
    harness::until(&format!("{said:?} to be waited for"), WITHIN, || {
        let ready = rollbook.get("/readyz")?;
        let waiting = metric(&rollbook.metrics(), "rollbook_waiting", &["dependency=\"kafka\""]);
        let log = rollbook.process.log();
        let unsaid: Vec<_> = said.iter().filter(|text| !log.contains(**text)).collect();
        if ready.status == 503 && ready.body.contains(why) && waiting == 1 && unsaid.is_empty() {
            return Ok(());
        }
        Err(format!("{unsaid:?}, waiting {waiting}, {}\n{}", ready.body, rollbook.process.log_tail()))
    });
    assert_eq!(rollbook.get("/livez").map(|answer| answer.status), Ok(200), "a restart would mend nothing");
}

#[track_caller]
fn goes_on(rollbook: &Rollbook) {
    harness::until("nothing to be waited for", WITHIN, || {
        let ready = rollbook.get("/readyz")?;
        let waiting = metric(&rollbook.metrics(), "rollbook_waiting", &["dependency=\"kafka\""]);
        if ready.status == 200 && waiting == 0 {
            return Ok(());
        }
        Err(format!("waiting {waiting}, {}\n{}", ready.body, rollbook.process.log_tail()))
    });
}

/// Passwords that are no words: whoever writes one anywhere is found out.
const FIRST: &str = "uxqz-first-7731";
const SECOND: &str = "uxqz-second-7732";
const THIRD: &str = "uxqz-third-7733";

/// An installation on the broker, its conference in so many parts, and what its topics are called.
struct Site {
    world: World,
    conference: Conference,
    rights: Rights,
}

impl Site {
    /// Of a user who may do everything.
    fn new(user: &'static str, folder: &Path) -> Self {
        let (secure, plain) = (broker().secure(), broker().bootstrap());
        let user = User { name: user, password: FIRST, ..SCRAM };
        harness::change_password(&plain, user, user.password);
        let rights = Rights { bootstrap: plain.clone(), user: user.name };
        rights.allow_all();
        let (password, authority) = (folder.join("password"), folder.join("ca.pem"));
        fs::write(&password, user.password).expect("the folder is writable");
        fs::copy(&secure.ca, &authority).expect("the folder is writable");
        let mut properties = secure.properties(user);
        properties.retain(|(name, _)| *name != "ssl.ca.location");
        properties.push(("ssl.ca.location", authority.display().to_string()));
        let section = format!("[kafka.properties_files]\n\"sasl.password\" = \"{}\"\n", password.display());
        let kafka = Connection { bootstrap: secure.bootstrap, properties };
        let mut world = World::with(user.name, kafka, &section);
        world.tests_at = Some(plain);
        let conference = world.conference(31, 30);
        Self { world, conference, rights }
    }

    /// Takes rights away under load, sees that they are waited for by name, and gives them back.
    #[track_caller]
    fn without(&self, one: &Rollbook, denied: &[(Resource<'_>, Operation)], part: (usize, usize), said: &[&str]) {
        self.rights.deny(denied);
        self.world.send(self.part(part));
        waits(one, "Kafka denies", said);
        self.rights.give_back();
        goes_on(one);
        self.world.settle();
    }

    /// One of so many parts of the conference.
    fn part(&self, (number, of): (usize, usize)) -> &[conference::Record] {
        let size = self.conference.records.len().div_ceil(of);
        self.conference.records.chunks(size).nth(number).expect("there are as many")
    }

    fn group(&self, stage: &str) -> String {
        format!("{}-{stage}", self.world.names.prefix)
    }

    fn org_is_whole(&self) {
        self.world.settle();
        self.world.org_becomes(&expected(&self.conference.records));
    }
}

/// Waits for texts of the log.
#[track_caller]
fn says(rollbook: &Rollbook, said: &[&str]) {
    harness::until(&format!("{said:?} in the log"), WITHIN, || {
        let log = rollbook.process.log();
        if said.iter().all(|text| log.contains(text)) { Ok(()) } else { Err(rollbook.process.log_tail()) }
    });
}

fn of_topic(right: &str, topic: &str) -> String {
    format!("Kafka denies {right} on topic `{topic}`")
}

fn of_group(group: &str) -> String {
    format!("Kafka denies READ on group `{group}`")
}

/// Of one more than these nobody could say why it is given.
#[test]
fn the_rights_that_are_documented_are_enough() {
    let folder = harness::private_folder();
    let site = Site::new("rights-least", folder.path());
    let groups = ["fold", "sink", "changelog", "scan"].map(|group| site.group(group));
    let transactional_id = format!("{}-one-fold-0", site.world.names.prefix);
    let mut rights = vec![(Cluster, IdempotentWrite)];
    rights.extend(groups.iter().map(|group| (Group(group), Read)));
    rights.extend([Write, Describe].map(|operation| (TransactionalId(&transactional_id), operation)));
    for topic in topic_table::Topic::ALL {
        let (name, access) = (topic.name(&site.world.names.topics), topic.access(&[Stage::Fold, Stage::Sink]));
        let of_table = [(access.read, Read), (access.write, Write)];
        rights
            .extend(of_table.into_iter().filter(|(needed, _)| *needed).map(|(_, operation)| (Topic(name), operation)));
        rights.extend([Describe, DescribeConfigs, Create].map(|operation| (Topic(name), operation)));
    }
    site.rights.allow_only(&rights);
    let one = site.world.start("one").ready();
    site.world.send(site.part((0, 1)));
    site.org_is_whole();
    assert!(!one.process.log().contains("uthoriz"), "{}", one.process.log_tail());
}

#[test]
fn rights_to_read_and_membership_that_are_taken_away_are_waited_for_by_name() {
    let folder = harness::private_folder();
    let site = Site::new("rights-read", folder.path());
    let topics = &site.world.names.topics;
    let (fold, sink) = (site.group("fold"), site.group("sink"));
    let one = site.world.start("one").ready();
    site.world.send(site.part((0, 5)));
    site.world.settle();
    site.without(
        &one,
        &[(Topic(&topics.views), Read), (Topic(&topics.catalogue), Read)],
        (1, 5),
        &[&of_topic("READ", &topics.views), &of_topic("READ", &topics.catalogue)],
    );
    // Without a word of the broker's the partitions leave the assignments; both stages have lost some.
    site.without(
        &one,
        &[(Topic(&topics.polls), All), (Topic(&topics.upserts), Describe), (Topic(&topics.upserts), Read)],
        (2, 5),
        &[&of_topic("DESCRIBE", &topics.polls), &of_topic("DESCRIBE", &topics.upserts), "sink revoked"],
    );
    site.without(&one, &[(Group(&fold), Read), (Group(&sink), Read)], (3, 5), &[&of_group(&fold), &of_group(&sink)]);
    // What is read at a start alone, and by a command.
    let mut one = one;
    one.process.kill();
    site.rights.deny(&[(Topic(&topics.state), Read), (Topic(&topics.bulk_jobs), Read), (Topic(&topics.notes), All)]);
    let (code, _, error) = site.world.tool(&["gaps", "list"]);
    assert!(code != 0 && error.contains(&of_topic("DESCRIBE", &topics.notes)), "{code}: {error}");
    let (code, _, error) = site.world.tool(&["topics", "check"]);
    assert!(code != 0 && error.contains(&of_topic("DESCRIBE", &topics.notes)), "{code}: {error}");
    let one = site.world.start("one");
    site.world.send(site.part((4, 5)));
    says(&one, &[&of_topic("DESCRIBE", &topics.notes)]);
    site.rights.give_back();
    site.rights.deny(&[(Topic(&topics.state), Read), (Topic(&topics.bulk_jobs), Read)]);
    waits(&one, "Kafka denies", &[&of_topic("READ", &topics.state), &of_topic("READ", &topics.bulk_jobs)]);
    site.rights.give_back();
    goes_on(&one);
    site.org_is_whole();
}

#[test]
fn rights_to_write_that_are_taken_away_are_waited_for_by_name() {
    let folder = harness::private_folder();
    let site = Site::new("rights-write", folder.path());
    let topics = &site.world.names.topics;
    let transactional_id = format!("{}-one-fold-0", site.world.names.prefix);
    let one = site.world.start("one").ready();
    site.world.send(site.part((0, 4)));
    site.world.settle();
    site.without(
        &one,
        &[(Topic(&topics.outcomes), Write), (Topic(&topics.dead_letters), Write)],
        (1, 4),
        &[&of_topic("WRITE", &topics.outcomes), &of_topic("WRITE", &topics.dead_letters)],
    );
    site.without(
        &one,
        &[(Topic(&topics.state), Write), (Topic(&topics.upserts), Write)],
        (2, 4),
        &[&of_topic("WRITE", &topics.state), &of_topic("WRITE", &topics.upserts)],
    );
    site.without(
        &one,
        &[(TransactionalId(&transactional_id), Write)],
        (3, 4),
        &[&format!("Kafka denies WRITE on transactional id `{transactional_id}`")],
    );
    let log = one.process.log();
    assert!(!log.contains("one transactional producer after the other"), "{}", one.process.log_tail());
    site.org_is_whole();
}

#[test]
fn a_member_by_the_consumer_protocol_waits_for_its_rights_and_for_a_topic_that_is_gone() {
    let folder = harness::private_folder();
    let mut site = Site::new("rights-consumer", folder.path());
    site.world.group_protocol = "consumer";
    let topics = &site.world.names.topics;
    let fold = site.group("fold");
    let one = site.world.start("one").ready();
    site.world.send(site.part((0, 3)));
    site.world.settle();
    site.without(&one, &[(Topic(&topics.polls), All)], (1, 3), &[&of_topic("DESCRIBE", &topics.polls)]);
    site.without(&one, &[(Group(&fold), Read)], (2, 3), &[&of_group(&fold)]);
    let plain = site.world.client();
    harness::delete_topic(&plain, &topics.polls);
    waits(&one, "does not exist", &[&format!("topic `{}` does not exist", topics.polls)]);
    harness::create(&plain, &[&topics.polls], PARTITIONS, &[("cleanup.policy", "delete")]);
    // Once more what is folded already: it changes nothing, and the new topic is read.
    site.world.send(site.part((2, 3)));
    goes_on(&one);
    site.org_is_whole();
}

#[test]
fn a_password_and_certificates_that_are_replaced_are_used_by_every_client() {
    let folder = harness::private_folder();
    let site = Site::new("rotation", folder.path());
    let (password, authority) = (folder.path().join("password"), folder.path().join("ca.pem"));
    // As if the broker's certificates had been replaced before the file of their authority was.
    fs::copy(harness::certificates(&folder.path().join("other")).ca, &authority).expect("the folder is writable");
    let one = site.world.start("one");
    says(&one, &["refused="]);
    fs::copy(broker().secure().ca, &authority).expect("the folder is writable");
    let one = one.ready();
    site.world.send(site.part((0, 3)));
    site.world.settle();
    // At the broker first: connections log in again within three seconds, and are refused.
    let user = User { name: "rotation", ..SCRAM };
    harness::change_password(&broker().bootstrap(), user, SECOND);
    site.world.send(site.part((1, 3)));
    waits(&one, "refuses the login", &[]);
    fs::write(&password, SECOND).expect("the folder is writable");
    goes_on(&one);
    site.world.settle();
    // In the file first: what is logged in stays so for a moment, and whoever logs in anew is refused.
    fs::write(&password, THIRD).expect("the folder is writable");
    waits(&one, "refuses the login", &[]);
    harness::change_password(&broker().bootstrap(), user, THIRD);
    site.world.send(site.part((2, 3)));
    goes_on(&one);
    site.org_is_whole();
    let log = one.process.log();
    assert!(![FIRST, SECOND, THIRD].iter().any(|secret| log.contains(secret)));
}
