//! Whether Kafka answers: asked every second by a client that does nothing else, for as long as the process runs.
//!
//! Every other client has its own idea of an outage, tells of it many times, and may go on with it when it is over. So
//! one asks, and everybody goes by it: the metric and readiness within seconds, the log in one line at once and then
//! every minute, and whoever watches over clients that do not get on (`stall`, `vigil`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tracing::{info, warn};

use super::native::groups::describe;
use super::vigil::Listed;
use super::{MemberName, ToTheEnd, client_config, said};
use crate::config::Config;
use crate::health::Health;
use crate::metrics::{Dependency, Metrics};
use crate::topic_table::Topic;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A broker that is well answers in milliseconds; a busy one may take longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
/// Questions without an answer after which another client asks: librdkafka may have given this one up.
const CLIENT_TRIES: u32 = 5;
/// Words of librdkafka's that are heard after a question, one with each poll.
const WORDS_MAX: usize = 50;
/// The same where there was no answer. Log lines come before the error that says why, and a certificate that is not taken
/// makes some hundred of them in the time of one question.
const FAILED_WORDS_MAX: usize = 2_000;
/// Between two lines of an outage that goes on.
const LINE_INTERVAL: Duration = Duration::from_mins(1);
/// So long after an outage clients still stumble over it.
const SETTLED_AFTER: Duration = Duration::from_secs(20);
/// A question about a group.
const GROUP_WITHIN: Duration = Duration::from_secs(5);

/// Between two looks whether secrets or certificates have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Who waits for Kafka because it does not answer at all.
const NO_ANSWER: &str = "no answer";

pub struct Watch {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    state: Mutex<State>,
    /// How often files of secrets have changed, or somebody has asked to read them again.
    secrets: AtomicU64,
}

/// Hears why the client that asks gets no answer.
#[derive(Default)]
struct Ear {
    refused: Mutex<Option<String>>,
}

impl ClientContext for Ear {
    fn error(&self, error: KafkaError, reason: &str) {
        said::error(&error, reason);
        if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = error.rdkafka_error_code() {
            let refused = error.rdkafka_error_code().map(|code| code.to_string());
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        }
    }
}

impl ConsumerContext for Ear {}

#[derive(Default)]
struct State {
    /// None: the last question was not answered, or there was none yet.
    answering_since: Option<Instant>,
    /// Since when there is an outage, and when the log told of it last.
    outage: Option<(Instant, Instant)>,
    outage_ended: Option<Instant>,
    /// What is waited for, by who waits.
    reasons: BTreeMap<String, Reason>,
}

struct Reason {
    why: String,
    since: Instant,
    /// When the log told of it last.
    said: Instant,
}

impl Watch {
    /// Asks until `stop`.
    pub fn start(
        config: &Arc<Config>,
        (metrics, health): (Arc<Metrics>, Arc<Health>),
        stop: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let config = Arc::clone(config);
        let watch = Arc::new(Self { config, metrics, health, state: Mutex::default(), secrets: AtomicU64::new(0) });
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

    /// How often clients were to be made anew with other secrets.
    pub fn secrets(&self) -> u64 {
        self.secrets.load(Ordering::Acquire)
    }

    /// Every client is made anew, with the secrets that are in their files then.
    pub fn read_secrets_again(&self) {
        self.secrets.fetch_add(1, Ordering::AcqRel);
    }

    /// Somebody waits for something of Kafka, or no longer does. The text is for people: no data in it.
    pub fn waits(&self, who: &str, why: Option<String>) {
        let mut state = self.state();
        if state.reasons.get(who).map(|known| &known.why) == why.as_ref() {
            return;
        }
        let known = state.reasons.remove(who);
        if let Some(why) = why {
            if who != NO_ANSWER {
                warn!(who, waits_for = why, "kafka is waited for");
            }
            let now = Instant::now();
            let since = known.map_or(now, |known| known.since);
            state.reasons.insert(who.to_owned(), Reason { why, since, said: now });
        } else if who != NO_ANSWER {
            info!(who, "kafka is waited for no longer");
        }
        self.metrics.waiting(Dependency::Kafka).set((!state.reasons.is_empty()).into());
        // That nobody is answered explains the rest.
        let reason = state.reasons.get(NO_ANSWER).or_else(|| state.reasons.values().next());
        self.health.outage(Dependency::Kafka, reason.map(|reason| reason.why.clone()));
    }

    /// Records of a topic that is read whole meant nothing.
    pub fn passed_over(&self, topic: Topic, records: u64) {
        self.metrics.notes.foreign(topic).inc_by(records);
    }

    /// What is still waited for is said every minute. An outage has its own lines, and explains the rest.
    fn say_again(&self, now: Instant) {
        let mut state = self.state();
        for (who, reason) in &mut state.reasons {
            if who != NO_ANSWER && now.saturating_duration_since(reason.said) >= LINE_INTERVAL {
                reason.said = now;
                let seconds = now.saturating_duration_since(reason.since).as_secs();
                warn!(who, waits_for = reason.why, seconds, "kafka is waited for");
            }
        }
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

    /// The same by KIP-848, where a member's own word must do but for one thing: that it waits for others.
    pub fn waiting(&self, group: &str, name: &MemberName) -> Listed {
        let client: KafkaResult<BaseConsumer<ToTheEnd>> = client_config(&self.config).create_with_context(ToTheEnd);
        let found = client.and_then(|client| describe(client.client(), group, GROUP_WITHIN));
        Listed::waiting(&found, &name.client_id(&self.config))
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
        let (mut digest, mut secrets) = (self.config.kafka.secrets_digest(), self.secrets());
        let mut looked = Instant::now();
        while !stop() {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                let now = self.config.kafka.secrets_digest();
                if std::mem::replace(&mut digest, now) != now {
                    info!("secrets or certificates of kafka have changed; every client is made anew with them");
                    self.read_secrets_again();
                }
            }
            if std::mem::replace(&mut secrets, self.secrets()) != self.secrets() {
                client = None;
            }
            match self.ask(&mut client) {
                Ok(()) => {
                    unanswered = 0;
                    self.answered(Instant::now());
                    self.say_again(Instant::now());
                    thread::sleep(ASK_EVERY);
                }
                Err((error, refused)) => {
                    unanswered += 1;
                    // The next one reads the secrets again.
                    if refused.is_some() || unanswered % CLIENT_TRIES == 0 {
                        client = None;
                    }
                    self.unanswered(&error, refused.as_deref(), Instant::now());
                    thread::sleep(ASK_EVERY / 4);
                }
            }
        }
    }

    /// An error, and what a login was refused for, if it was.
    fn ask(&self, client: &mut Option<BaseConsumer<Ear>>) -> Result<(), (KafkaError, Option<String>)> {
        let client = if let Some(client) = client {
            client
        } else {
            let mut settings = client_config(&self.config);
            settings.set("allow.auto.create.topics", "false");
            client.insert(settings.create_with_context(Ear::default()).map_err(|error| (error, None))?)
        };
        let asked = client.fetch_metadata(Some(&self.config.topics.state), ANSWERS_WITHIN);
        // Librdkafka's own words wait in a queue that only polling empties, one at a time.
        let words = if asked.is_ok() { WORDS_MAX } else { FAILED_WORDS_MAX };
        for _ in 0..words {
            client.poll(Duration::ZERO);
        }
        let refused = || client.context().refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        asked.map(drop).map_err(|error| (error, refused()))
    }

    fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.answering_since.get_or_insert(now);
        if let Some((began, _)) = state.outage.take() {
            state.outage_ended = Some(now);
            info!(seconds = now.saturating_duration_since(began).as_secs(), "kafka answers again");
        }
        drop(state);
        self.metrics.lags_unknown(false);
        self.waits(NO_ANSWER, None);
    }

    fn unanswered(&self, error: &KafkaError, refused: Option<&str>, now: Instant) {
        let mut state = self.state();
        state.answering_since = None;
        let (began, told) = state.outage.unwrap_or((now, now));
        let due = state.outage.is_none() || now.saturating_duration_since(told) >= LINE_INTERVAL;
        state.outage = Some((began, if due { now } else { told }));
        drop(state);
        if due {
            let (bootstrap, seconds) = (&self.config.kafka.bootstrap, now.saturating_duration_since(began).as_secs());
            warn!(bootstrap, %error, refused, seconds, "kafka does not answer; nothing is lost, work goes on when it does");
        }
        self.metrics.lags_unknown(true);
        let why = refused.map_or_else(
            || format!("Kafka does not answer: {}", code(error)),
            |refused| format!("Kafka refuses the login: {refused}"),
        );
        self.waits(NO_ANSWER, Some(why));
    }
}

/// The kind of an error, in librdkafka's words.
fn code(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
