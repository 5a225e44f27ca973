//! One installation, each part of it a process that can be killed: a broker, the stages, an org.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use rollbook::demo::conference::People;

use super::org::{ChaosOrg, Trouble};
use super::plan::Victim;
use crate::harness::http::Answer;
use crate::harness::{self, Gate, Names, Node, Rollbook, Settings};

/// The log is compacted within the run, so that a restore meets what compaction leaves; and a broker that was killed
/// need not wait long until it is taken for dead, before which it may not come back.
const SETTINGS: &str = "broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=500
log.roll.ms=3000
log.cleaner.backoff.ms=500
log.cleaner.min.cleanable.ratio=0.01
log.retention.check.interval.ms=1000
";

pub struct Site {
    pub names: Names,
    pub org: ChaosOrg,
    /// How often each was killed.
    pub kills: BTreeMap<Victim, usize>,
    /// None: somebody else's.
    broker: Option<Node>,
    bootstrap: String,
    group_protocol: String,
    /// Whether instances have names.
    named: bool,
    /// Before the broker, where it has one.
    pub gate: Option<Gate>,
    folder: PathBuf,
    stages: BTreeMap<Victim, Rollbook>,
}

impl Site {
    pub fn open(group_protocol: String) -> Self {
        let names = harness::names("chaos");
        let folder = harness::folder().join(&names.prefix);
        let broker = std::env::var_os("KAFKA_BOOTSTRAP").is_none().then(|| {
            let mut node = Node::format(&folder.join("kafka"), SETTINGS).unwrap_or_else(|why| panic!("{why}"));
            node.start().and_then(|()| node.await_answer()).unwrap_or_else(|why| panic!("{why}"));
            node
        });
        let bootstrap = broker.as_ref().map_or_else(|| harness::kafka().bootstrap().to_owned(), Node::bootstrap);
        Self::of(names, folder, bootstrap, broker, (group_protocol, true))
    }

    /// With a broker of its own that is reached by a gate, whatever the environment says.
    pub fn open_behind_a_gate((group_protocol, named): (String, bool)) -> Self {
        let names = harness::names("outages");
        let folder = harness::folder().join(&names.prefix);
        let gate = Gate::open_to(SocketAddr::from(([127, 0, 0, 1], 1)));
        let node = Node::format_behind(&gate, &folder.join("kafka"), SETTINGS);
        let mut node = node.unwrap_or_else(|why| panic!("{why}"));
        node.start().and_then(|()| node.await_answer()).unwrap_or_else(|why| panic!("{why}"));
        let site = Self::of(names, folder, node.bootstrap(), Some(node), (group_protocol, named));
        Self { gate: Some(gate), ..site }
    }

    fn of(
        names: Names,
        folder: PathBuf,
        bootstrap: String,
        broker: Option<Node>,
        (group_protocol, named): (String, bool),
    ) -> Self {
        let org = ChaosOrg::new(&folder);
        let (kills, stages, gate) = (BTreeMap::new(), BTreeMap::new(), None);
        let site = Self { names, org, kills, broker, bootstrap, group_protocol, named, gate, folder, stages };
        site.names.create_inputs(&site.client());
        site
    }

    pub fn people(&self, days: usize, members: usize) -> Vec<People> {
        (0..days).map(|day| self.org.invite(day, members)).collect()
    }

    pub fn owns_the_broker(&self) -> bool {
        self.broker.is_some()
    }

    pub fn client(&self) -> ClientConfig {
        harness::plain_client(&self.bootstrap)
    }

    /// Everything but the second fold.
    pub fn start(&mut self) {
        self.org.start();
        self.start_stage(Victim::Fold);
        self.start_stage(Victim::Sink);
    }

    pub fn second_fold(&mut self, wanted: bool) {
        let there = self.stages.contains_key(&Victim::SecondFold);
        if wanted && !there {
            self.start_stage(Victim::SecondFold);
        } else if !wanted && there {
            self.end(Victim::SecondFold);
        }
    }

    /// Kills all of them, then starts all of them again.
    pub fn kill(&mut self, victims: &[Victim]) {
        for victim in victims {
            self.end(*victim);
        }
        for victim in victims {
            match victim {
                Victim::Fold | Victim::SecondFold | Victim::Sink => self.start_stage(*victim),
                Victim::Broker => self.broker_mut().start().unwrap_or_else(|why| panic!("{why}")),
                Victim::Org => self.org.start(),
            }
        }
    }

    /// Every stage is killed and started again, with all states to be read from the topics; the second fold stays away.
    pub fn restart_without_disks(&mut self) {
        self.second_fold(false);
        self.end(Victim::Fold);
        self.end(Victim::Sink);
        let states = harness::folder().join("states/rollbook").join(&self.names.prefix);
        fs::remove_dir_all(&states).expect("the folds had states there");
        self.start_stage(Victim::Fold);
        self.start_stage(Victim::Sink);
    }

    #[track_caller]
    pub fn await_ready(&mut self, victims: &[Victim]) {
        for victim in victims {
            match victim {
                Victim::Fold | Victim::SecondFold | Victim::Sink => {
                    self.await_stage(*victim);
                }
                Victim::Broker => self.broker_mut().await_answer().unwrap_or_else(|why| panic!("{why}")),
                Victim::Org => self.org.await_ready(),
            }
        }
    }

    /// Every part that there is.
    #[track_caller]
    pub fn await_all(&mut self) {
        let stages: Vec<Victim> = self.stages.keys().copied().collect();
        self.await_ready(&stages);
        self.await_ready(&[Victim::Org]);
    }

    #[track_caller]
    fn await_stage(&mut self, victim: Victim) {
        let stage = self.stages.get_mut(&victim).expect("it was started");
        if let Err(why) = stage.ready_or_why_not() {
            panic!("{victim:?} is not ready: {why}\n{}", stage.process.log_tail());
        }
    }

    /// No outage is a reason for a process to end.
    #[track_caller]
    pub fn all_alive(&mut self) {
        for (victim, stage) in &mut self.stages {
            if let Some(status) = stage.process.exited() {
                panic!("{victim:?} ended by itself: {status}\n{}", stage.process.log_tail());
            }
        }
    }

    /// What a stage's port answers.
    pub fn get(&self, stage: Victim, path: &str) -> Result<Answer, String> {
        self.stages.get(&stage).ok_or("it was not started")?.get(path)
    }

    /// Lines of a stage's log.
    pub fn log_lines(&self, stage: Victim) -> usize {
        self.stages.get(&stage).map_or(0, |stage| stage.process.log().lines().count())
    }

    pub fn trouble(&self, trouble: &[Trouble]) {
        for trouble in trouble {
            self.org.trouble(*trouble);
        }
    }

    fn end(&mut self, victim: Victim) {
        *self.kills.entry(victim).or_default() += 1;
        match victim {
            Victim::Fold | Victim::SecondFold | Victim::Sink => {
                let mut stage = self.stages.remove(&victim).expect("it was started");
                if let Some(status) = stage.process.exited() {
                    panic!("{victim:?} ended by itself: {status}\n{}", stage.process.log_tail());
                }
                stage.process.kill();
            }
            Victim::Broker => self.broker_mut().kill(),
            Victim::Org => self.org.kill(),
        }
    }

    pub fn broker_mut(&mut self) -> &mut Node {
        self.broker.as_mut().expect("a broker of somebody else's is left alone")
    }

    /// Its instance name is stable: it takes the place of the one that was killed.
    fn start_stage(&mut self, stage: Victim) {
        let (name, stages) = match stage {
            Victim::SecondFold => ("two", "fold"),
            Victim::Sink => ("one", "sink"),
            Victim::Fold | Victim::Broker | Victim::Org => ("one", "fold"),
        };
        let port = harness::free_port();
        let file = self.folder.join(format!("{stages}-{name}.toml"));
        fs::write(&file, self.config(name, port)).expect("the target folder is writable");
        let process = Rollbook::start_stages(&format!("chaos-{stages}-{name}"), &file, port, stages);
        self.stages.insert(stage, process);
    }

    fn config(&self, instance: &str, port: u16) -> String {
        let settings = Settings {
            names: &self.names,
            bootstrap: &self.bootstrap,
            instance: if self.named { instance } else { "" },
            group_protocol: &self.group_protocol,
            // A broker that is back is noticed soon.
            properties: "\"reconnect.backoff.max.ms\" = \"500\"\n",
            port,
        };
        // Every other sink sends whatever waits as jobs, the others send none: each takes over what another left behind.
        let sinks = self.kills.get(&Victim::Sink).copied().unwrap_or(0);
        let rows_min = if sinks.is_multiple_of(2) { 5 } else { 0 };
        settings.text() + &format!("bulk_rows_min = {rows_min}\nbulk_patience = 0\n") + &self.org.section()
    }
}
