//! Whether Kafka answers: asked every second by a client that does nothing else, for as long as the process runs.
//!
//! Every other client has its own idea of an outage, tells of it many times, and may go on with it when it is over. So
//! one asks, and everybody goes by it: the metric and readiness within seconds, the log in one line at once and then
//! every minute, and whoever watches over clients that do not get on (`stall`, `vigil`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use tracing::{info, warn};

use super::vigil::Listed;
use super::{MemberName, ToTheEnd, client_config};
use crate::config::Config;
use crate::http::Health;
use crate::metrics::{Dependency, Metrics};

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A broker that is well answers in milliseconds; a busy one may take longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
/// Questions without an answer after which another client asks: librdkafka may have given this one up.
const CLIENT_TRIES: u32 = 5;
/// Between two lines of an outage that goes on.
const LINE_INTERVAL: Duration = Duration::from_mins(1);
/// So long after an outage clients still stumble over it.
const SETTLED_AFTER: Duration = Duration::from_secs(20);
/// A question about a group.
const GROUP_WITHIN: Duration = Duration::from_secs(5);

/// Who waits for Kafka because it does not answer at all.
const NO_ANSWER: &str = "no answer";

pub struct Watch {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None: the last question was not answered, or there was none yet.
    answering_since: Option<Instant>,
    /// Since when there is an outage, and when the log told of it last.
    outage: Option<(Instant, Instant)>,
    outage_ended: Option<Instant>,
    /// What is waited for, by who waits.
    reasons: BTreeMap<String, String>,
}

impl Watch {
    /// Asks until `stop`.
    pub fn start(
        config: &Arc<Config>,
        (metrics, health): (Arc<Metrics>, Arc<Health>),
        stop: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let config = Arc::clone(config);
        let watch = Arc::new(Self { config, metrics, health, state: Mutex::default() });
        let asking = Arc::clone(&watch);
        thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || asking.run(stop))?;
        Ok(watch)
    }

    /// Since when brokers have answered without a break; None: they do not.
    pub fn answering_since(&self) -> Option<Instant> {
        self.state().answering_since
    }

    /// Whether no outage is or was a moment ago.
    pub fn undisturbed(&self) -> bool {
        let state = self.state();
        state.outage.is_none() && state.outage_ended.is_none_or(|ended| ended.elapsed() >= SETTLED_AFTER)
    }

    /// Somebody waits for something of Kafka, or no longer does. The text is for people: no data in it.
    pub fn waits(&self, who: &str, why: Option<String>) {
        let mut state = self.state();
        let known = state.reasons.get(who);
        if known == why.as_ref() {
            return;
        }
        if let Some(why) = why {
            if who != NO_ANSWER {
                warn!(who, waits_for = why, "kafka is waited for");
            }
            state.reasons.insert(who.to_owned(), why);
        } else {
            if who != NO_ANSWER {
                info!(who, "kafka is waited for no longer");
            }
            state.reasons.remove(who);
        }
        self.metrics.waiting(Dependency::Kafka).set((!state.reasons.is_empty()).into());
        // That nobody is answered explains the rest.
        let reason = state.reasons.get(NO_ANSWER).or_else(|| state.reasons.values().next());
        self.health.outage(Dependency::Kafka, reason.cloned());
    }

    /// What the group says of a member, by the classic protocol. Blocks for some seconds at most.
    pub fn listed(&self, group: &str, name: &MemberName) -> Listed {
        let Ok((state, members)) = self.group(group) else { return Listed::Unknown };
        let ours = name.client_id(&self.config);
        if !members.iter().any(|(client_id, _)| *client_id == ours) {
            return Listed::Stranger;
        }
        match state.as_str() {
            "Stable" => Listed::Member,
            "PreparingRebalance" | "CompletingRebalance" => Listed::Joining,
            _ => Listed::Unknown,
        }
    }

    /// Who else has the name of a member: client id and host.
    pub fn others(&self, group: &str, name: &MemberName) -> String {
        let members = self.group(group).map(|(_, members)| members).unwrap_or_default();
        let ids = name.client_ids(&self.config);
        let of_name = members.into_iter().filter(|(client_id, _)| client_id.starts_with(&ids));
        let told: Vec<String> = of_name.map(|(client_id, host)| format!("`{client_id}` at {host}")).collect();
        if told.is_empty() { "the group does not tell where".to_owned() } else { told.join(", ") }
    }

    /// State and members of a group, each with client id and host.
    fn group(&self, group: &str) -> KafkaResult<(String, Vec<(String, String)>)> {
        let client: BaseConsumer<ToTheEnd> = client_config(&self.config).create_with_context(ToTheEnd)?;
        let list = client.fetch_group_list(Some(group), GROUP_WITHIN)?;
        let Some(found) = list.groups().iter().find(|found| found.name() == group) else {
            return Ok((String::new(), Vec::new()));
        };
        let member = |it: &rdkafka::groups::GroupMemberInfo| (it.client_id().to_owned(), it.client_host().to_owned());
        Ok((found.state().to_owned(), found.members().iter().map(member).collect()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, stop: impl Fn() -> bool) {
        let (mut client, mut unanswered) = (None, 0);
        while !stop() {
            match self.ask(&mut client) {
                Ok(()) => {
                    unanswered = 0;
                    self.answered(Instant::now());
                    thread::sleep(ASK_EVERY);
                }
                Err(error) => {
                    unanswered += 1;
                    if unanswered % CLIENT_TRIES == 0 {
                        client = None;
                    }
                    self.unanswered(&error, Instant::now());
                    thread::sleep(ASK_EVERY / 4);
                }
            }
        }
    }

    fn ask(&self, client: &mut Option<BaseConsumer<ToTheEnd>>) -> KafkaResult<()> {
        let client = if let Some(client) = client {
            client
        } else {
            let mut settings = client_config(&self.config);
            settings.set("allow.auto.create.topics", "false");
            client.insert(settings.create_with_context(ToTheEnd)?)
        };
        let asked = client.fetch_metadata(Some(&self.config.topics.state), ANSWERS_WITHIN);
        // Brings librdkafka's own words to the log: they wait in a queue that only polling empties.
        while client.poll(Duration::ZERO).is_some() {}
        asked.map(drop)
    }

    fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.answering_since.get_or_insert(now);
        if let Some((began, _)) = state.outage.take() {
            state.outage_ended = Some(now);
            info!(seconds = now.saturating_duration_since(began).as_secs(), "kafka answers again");
        }
        drop(state);
        self.waits(NO_ANSWER, None);
    }

    fn unanswered(&self, error: &KafkaError, now: Instant) {
        let mut state = self.state();
        state.answering_since = None;
        let (began, told) = state.outage.unwrap_or((now, now));
        let due = state.outage.is_none() || now.saturating_duration_since(told) >= LINE_INTERVAL;
        state.outage = Some((began, if due { now } else { told }));
        drop(state);
        if due {
            let (bootstrap, seconds) = (&self.config.kafka.bootstrap, now.saturating_duration_since(began).as_secs());
            warn!(bootstrap, %error, seconds, "kafka does not answer; nothing is lost, work goes on when it does");
        }
        self.waits(NO_ANSWER, Some(format!("Kafka does not answer: {error}")));
    }
}
