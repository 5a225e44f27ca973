//! The broker of the demo: librdkafka's mock in this process, or a real cluster that was named.

use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::Error;
use crate::config::{Config, Topics};
use crate::kafka::admin::Admin;
use crate::kafka::topics::{self, Survey};

/// Enough that the mock's 5 MB a partition hold what is under way, few enough for a laptop.
const PARTITIONS: i32 = 8;

/// One broker: the mock's copies would all be in this process anyway.
const MOCK_BROKERS: i32 = 1;

pub struct Broker {
    kind: Kind,
    /// Of the topics on a cluster that others use, and of the groups.
    prefix: String,
}

enum Kind {
    Mock(MockCluster<'static, DefaultProducerContext>),
    Real(String),
}

impl Broker {
    pub fn start(bootstrap: Option<&str>) -> Result<Self, Error> {
        let kind = match bootstrap {
            Some(bootstrap) => Kind::Real(bootstrap.to_owned()),
            None => Kind::Mock(MockCluster::new(MOCK_BROKERS)?),
        };
        // A second demo on the same cluster must not find the first one's state.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Ok(Self { kind, prefix: format!("rollbook-demo-{now}") })
    }

    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Mock(_) => "mock".to_owned(),
            Kind::Real(bootstrap) => bootstrap.clone(),
        }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn bootstrap(&self) -> String {
        match &self.kind {
            Kind::Mock(mock) => mock.bootstrap_servers(),
            Kind::Real(bootstrap) => bootstrap.clone(),
        }
    }

    /// The usual names on the mock, prefixed ones on a cluster.
    pub fn topics(&self) -> Topics {
        let shape = |names| Topics { partitions: PARTITIONS, replication_factor: 1, ..names };
        if let Kind::Mock(_) = self.kind {
            // The mock neither creates topics on request nor tells their settings; `create_topics` makes them its way.
            return Topics { create: false, check_settings: false, ..shape(Topics::default()) };
        }
        shape(Topics::named(|topic| format!("{}.{}", self.prefix, topic.default_name())))
    }

    /// Makes all topics. Returns how many partitions the inputs have.
    pub fn create_topics(&self, config: &Config) -> Result<i32, Error> {
        match &self.kind {
            Kind::Real(_) => {
                let admin = Admin::new(config)?;
                let survey = admin.survey()?;
                let (_, survey) = admin.create(survey)?;
                Ok(topics::partitions(&config.topics, &survey))
            }
            Kind::Mock(mock) => {
                for (topic, partitions) in topics::absent(&config.topics, &Survey::new()) {
                    mock.create_topic(topic.name(&config.topics), partitions, MOCK_BROKERS)?;
                }
                Ok(config.topics.partitions)
            }
        }
    }
}
