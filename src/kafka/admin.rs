//! Asks the broker about the topics and creates absent ones. What must hold is decided in `topics`; this is the
//! part that talks.
//!
//! A broker that is down is waited for, visibly: a service that ends when its broker restarts only adds to the noise.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tracing::{info, warn};

use super::native::topics::{Seen, look};
use super::retention;
use super::scan::all_topics;
use super::topics::{self, Found, Survey, TopicProblem};
use super::watch::Watch;
use super::{client_config, said};
use crate::config::Config;
use crate::topic_table::Topic;

/// One request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// Who waits, for the watch.
const WHO: &str = "topics";

/// How often a topic that was just created is looked for before it counts as lost.
const CREATED_LOOKS_MAX: u32 = 200;
const CREATED_LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot make a Kafka client of the settings")]
    Client(#[source] KafkaError),
    #[error("cannot start a runtime")]
    Runtime(#[source] std::io::Error),
    #[error(
        "cannot reach Kafka at `{bootstrap}`; hint: is a broker up there, and the login in `kafka.properties` right?"
    )]
    Unreachable {
        bootstrap: String,
        #[source]
        source: KafkaError,
    },
    #[error("told to stop while waiting for Kafka")]
    Stopped,
    #[error("cannot ask for the settings of the topics")]
    Describe(#[source] KafkaError),
    #[error("cannot create topics")]
    Create(#[source] KafkaError),
    #[error("cannot create topic `{topic}`: {code}{hint}")]
    CreateOne { topic: String, code: RDKafkaErrorCode, hint: &'static str },
    #[error("Kafka denies {right} on topic `{topic}`; hint: the rights that Rollbook needs are listed in SECURITY.md")]
    Denied { topic: String, right: &'static str },
    #[error("the topics have {} problem{}{}", .0.len(), plural(.0), listed(.0))]
    Problems(Vec<TopicProblem>),
}

impl AdminError {
    /// A right that is missing, for whoever waits for it.
    fn denied(&self) -> Option<String> {
        if let Self::Denied { topic, right } = self {
            Some(format!("Kafka denies {right} on topic `{topic}`"))
        } else {
            None
        }
    }

    /// Whether a broker was away, so that another try may succeed without a change.
    pub fn temporary(&self) -> bool {
        use RDKafkaErrorCode::{
            AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NetworkException, NotController,
            OperationTimedOut, RequestTimedOut, Resolve,
        };
        let passes = |code: RDKafkaErrorCode| {
            matches!(
                code,
                AllBrokersDown
                    | BrokerTransportFailure
                    | LeaderNotAvailable
                    | NetworkException
                    | NotController
                    | OperationTimedOut
                    | RequestTimedOut
                    | Resolve
            )
        };
        match self {
            Self::Describe(source) | Self::Create(source) => code_of(source).is_some_and(passes),
            Self::CreateOne { code, .. } => passes(*code),
            Self::Unreachable { .. } => true,
            Self::Client(_) | Self::Runtime(_) | Self::Stopped | Self::Denied { .. } | Self::Problems(_) => false,
        }
    }
}

fn plural(problems: &[TopicProblem]) -> &'static str {
    if problems.len() == 1 { "" } else { "s" }
}

fn listed(problems: &[TopicProblem]) -> String {
    problems.iter().fold(String::new(), |list, problem| format!("{list}\n  {problem}"))
}

/// How long to wait for a broker that does not answer.
#[derive(Clone, Copy)]
pub enum Patience<'a> {
    /// Not at all: a person waits for the answer.
    Once,
    /// Until it answers, and has given the rights, or `stop` is true. That it does not answer, the watch says by itself;
    /// of a right it is told.
    Until { stop: &'a watch::Receiver<bool>, watch: &'a Watch },
}

pub struct Admin<'a> {
    config: &'a Config,
    client: AdminClient<DefaultClientContext>,
    /// Asks for metadata, as the admin client keeps librdkafka's log lines to itself.
    consumer: BaseConsumer,
    runtime: Runtime,
}

impl<'a> Admin<'a> {
    pub fn new(config: &'a Config) -> Result<Self, AdminError> {
        let client = client_config(config).create().map_err(AdminError::Client)?;
        let consumer = client_config(config).create().map_err(AdminError::Client)?;
        let runtime = Builder::new_current_thread().enable_time().build().map_err(AdminError::Runtime)?;
        Ok(Self { config, client, consumer, runtime })
    }

    /// Creates absent topics if that is allowed, and refuses wrong ones. What a start does. Returns the number of
    /// partitions of the inputs.
    pub fn prepare(&self, patience: Patience) -> Result<i32, AdminError> {
        let (mut tried, mut backoff) = (self.prepare_once(), BACKOFF_MIN);
        while let (Err(error), Patience::Until { stop, watch }) = (&tried, patience)
            && (error.temporary() || error.denied().is_some())
        {
            watch.waits(WHO, error.denied());
            if let Some(times) = said::again("the topics cannot be prepared yet") {
                warn!(error = error as &dyn std::error::Error, times, "the topics cannot be prepared yet");
            }
            self.pause(backoff, stop)?;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            // Other clients, with what stands in the files of secrets now.
            tried = Admin::new(self.config)?.prepare_once();
        }
        if let Patience::Until { watch, .. } = patience {
            watch.waits(WHO, None);
        }
        tried
    }

    fn prepare_once(&self) -> Result<i32, AdminError> {
        let mut survey = self.survey()?;
        if self.config.topics.create {
            survey = self.create(survey)?.1;
        }
        let problems = self.problems(&survey);
        if problems.is_empty() {
            if let Some(note) = retention::note(&self.config.topics, &survey) {
                info!("{note}");
            }
            if let Some(note) = topics::setting_note(&self.config.topics, &survey) {
                warn!("{note}");
            }
            Ok(topics::partitions(&self.config.topics, &survey))
        } else {
            Err(AdminError::Problems(problems))
        }
    }

    /// Everything that is wrong with the topics, absent ones among it.
    pub fn problems(&self, survey: &Survey) -> Vec<TopicProblem> {
        let absent = topics::absent(&self.config.topics, survey).into_iter().map(|(topic, partitions)| TopicProblem {
            topic: topic.name(&self.config.topics).to_owned(),
            message: format!("absent; it needs {partitions} partition{}", if partitions == 1 { "" } else { "s" }),
            remedy: "rollbook topics create".to_owned(),
        });
        absent.chain(topics::problems(&self.config.topics, survey, self.config.fold.value_bytes_max)).collect()
    }

    /// The topics that exist, as the broker describes them.
    pub fn survey(&self) -> Result<Survey, AdminError> {
        let counts = self.partition_counts()?;
        let settings = self.describe(&counts)?;
        let found = |(topic, partitions): &(Topic, i32)| {
            let setting = |key: &str| {
                let resource = settings.iter().find(|(described, _)| described == topic).map(|(_, resource)| resource);
                resource.and_then(|resource| resource.get(key)).and_then(|entry| entry.value.clone())
            };
            let message_bytes_max = setting("max.message.bytes").and_then(|value| value.parse().ok());
            let retention = |key: &str| setting(key).and_then(|value| value.parse().ok());
            let found = Found {
                partitions: *partitions,
                cleanup_policy: setting("cleanup.policy"),
                message_bytes_max,
                retention_ms: retention("retention.ms"),
                retention_bytes: retention("retention.bytes"),
            };
            (*topic, found)
        };
        Ok(counts.iter().map(found).collect())
    }

    /// Creates what is absent; returns that, and the survey afterwards. The inputs first: how large their records may be
    /// decides about our own topics, and of new ones the broker does.
    pub fn create(&self, survey: Survey) -> Result<(Vec<Topic>, Survey), AdminError> {
        let absent = topics::absent(&self.config.topics, &survey);
        let (own, inputs): (Vec<_>, Vec<_>) = absent.iter().partition(|(topic, _)| topic.own());
        let survey = self.create_all(&inputs, survey)?;
        let survey = self.create_all(&own, survey)?;
        Ok((absent.into_iter().map(|(topic, _)| topic).collect(), survey))
    }

    /// Creates these; returns the survey afterwards.
    fn create_all(&self, absent: &[(Topic, i32)], survey: Survey) -> Result<Survey, AdminError> {
        if absent.is_empty() {
            return Ok(survey);
        }
        let bytes = |topic| topics::created_bytes(topic, &survey, self.config.fold.value_bytes_max);
        let bytes: Vec<String> =
            absent.iter().map(|(topic, _)| bytes(*topic).map_or_else(String::new, |bytes| bytes.to_string())).collect();
        let new = absent.iter().zip(&bytes).map(|((topic, partitions), bytes)| {
            let new = self.new_topic(*topic, *partitions);
            if bytes.is_empty() { new } else { new.set("max.message.bytes", bytes) }
        });
        let new: Vec<NewTopic> = new.collect();
        let created = self.runtime.block_on(self.client.create_topics(&new, &options())).map_err(AdminError::Create)?;
        for result in created {
            match result {
                Ok(topic) => info!(topic, "created"),
                // Another instance was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) if unauthorized(code) => return Err(AdminError::Denied { topic, right: "CREATE" }),
                Err((topic, code)) => return Err(AdminError::CreateOne { topic, code, hint: hint(code) }),
            }
        }
        for _ in 0..CREATED_LOOKS_MAX {
            let survey = self.survey()?;
            if absent.iter().all(|(topic, _)| survey.contains_key(topic)) {
                return Ok(survey);
            }
            self.runtime.block_on(async { tokio::time::sleep(CREATED_LOOK_INTERVAL).await });
        }
        let survey = self.survey()?;
        Err(AdminError::Problems(self.problems(&survey)))
    }

    fn new_topic(&self, topic: Topic, partitions: i32) -> NewTopic<'_> {
        let topics = &self.config.topics;
        let replication = TopicReplication::Fixed(topics.replication_factor);
        let new = NewTopic::new(topic.name(topics), partitions, replication);
        let new = new.set("cleanup.policy", topic.row().cleanup.policy());
        topic.row().made_with.iter().fold(new, |new, (key, value)| new.set(key, value))
    }

    fn partition_counts(&self) -> Result<Vec<(Topic, i32)>, AdminError> {
        let metadata = all_topics(&self.consumer, REQUEST_TIMEOUT)
            .map_err(|source| AdminError::Unreachable { bootstrap: self.config.kafka.bootstrap.clone(), source })?;
        let count = |topic: Topic| {
            let name = topic.name(&self.config.topics);
            let found = metadata.topics().iter().find(|found| found.name() == name && found.error().is_none())?;
            Some((topic, i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)))
        };
        let counts: Vec<_> =
            Topic::ALL.into_iter().filter_map(count).filter(|(_, partitions)| *partitions > 0).collect();
        self.refuse_hidden(&counts)?;
        Ok(counts)
    }

    /// A topic that we may not describe is not absent, and is not to be created.
    fn refuse_hidden(&self, found: &[(Topic, i32)]) -> Result<(), AdminError> {
        let missing = |topic: &Topic| !found.iter().any(|(found, _)| found == topic);
        let missing = Topic::ALL.into_iter().filter(missing).map(|topic| topic.name(&self.config.topics));
        let missing: Vec<&str> = missing.collect();
        // Whoever cannot say so will say why not when the topics are created.
        let seen = look(self.consumer.client(), &missing, false, REQUEST_TIMEOUT).unwrap_or_default();
        match seen.into_iter().find(|(_, seen)| *seen == Seen::Denied) {
            Some((topic, _)) => Err(AdminError::Denied { topic, right: "DESCRIBE" }),
            None => Ok(()),
        }
    }

    fn pause(&self, backoff: Duration, stop: &watch::Receiver<bool>) -> Result<(), AdminError> {
        let mut stop = stop.clone();
        let waited = self.runtime.block_on(async { tokio::time::timeout(backoff, stop.wait_for(|stop| *stop)).await });
        // An answer in time means that the process ends, be it told so or left alone.
        waited.map_or(Ok(()), |_| Err(AdminError::Stopped))
    }

    fn describe(&self, topics: &[(Topic, i32)]) -> Result<Vec<(Topic, ConfigResource)>, AdminError> {
        let names = topics.iter().map(|(topic, _)| ResourceSpecifier::Topic(topic.name(&self.config.topics)));
        let names: Vec<ResourceSpecifier> = names.collect();
        if names.is_empty() || !self.config.topics.check_settings {
            return Ok(Vec::new());
        }
        let described = match self.runtime.block_on(self.client.describe_configs(&names, &options())) {
            // A mock or an old broker: what it does not tell cannot be checked.
            Err(KafkaError::AdminOp(RDKafkaErrorCode::UnsupportedFeature)) => {
                warn!("the broker does not tell the settings of topics; they are not checked");
                return Ok(Vec::new());
            }
            described => described.map_err(AdminError::Describe)?,
        };
        let mut settings = Vec::new();
        for ((topic, _), resource) in topics.iter().zip(described) {
            match resource {
                Ok(resource) => settings.push((*topic, resource)),
                // The broker that answers has not heard of a new topic yet.
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                Err(code) if unauthorized(code) => {
                    let topic = topic.name(&self.config.topics).to_owned();
                    return Err(AdminError::Denied { topic, right: "DESCRIBE_CONFIGS" });
                }
                Err(code) => return Err(AdminError::Describe(KafkaError::AdminOp(code))),
            }
        }
        Ok(settings)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// rdkafka names no code of what an admin client was refused.
fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() }
}

fn unauthorized(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
}

fn hint(code: RDKafkaErrorCode) -> &'static str {
    if code == RDKafkaErrorCode::InvalidReplicationFactor {
        "\n  hint: there are fewer brokers than copies; set topics.replication_factor"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_does_not_answer_about_settings_is_asked_again() {
        let failed = |code| AdminError::Describe(KafkaError::AdminOp(code));
        assert!(failed(RDKafkaErrorCode::OperationTimedOut).temporary());
        assert!(!failed(RDKafkaErrorCode::InvalidConfig).temporary());
    }
}
