//! What a broker says of a consumer group, by whichever protocol its members speak: who they are, and whether we may be one.

use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::{Allowed, Question, allowed, answer, text};

/// A group that nobody is in, or ever was, is one without members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub members: Vec<GroupMember>,
    /// Its members have what they are to have.
    pub stable: bool,
    /// What we may do. None: the broker does not tell.
    pub allowed: Option<Allowed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub client_id: String,
    pub host: String,
}

/// The group as its coordinator sees it. That we may not describe it is one of the errors.
pub fn describe<C: ClientContext>(client: &Client<C>, group: &str, timeout: Duration) -> KafkaResult<Group> {
    let Ok(name) = CString::new(group) else { return Ok(Group::default()) };
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let question = Question { operation, broker: None, rights: true, timeout };
    let event = answer(client, &question, |options, queue| {
        // SAFETY: the name lives until the end of `describe`, and is copied; options and queue live for this call.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client.native_ptr(), names.as_mut_ptr(), names.len(), options, queue);
        }
    })?;
    // SAFETY: the event is not null and lives to the end of this function.
    let result = unsafe { sys::rd_kafka_event_DescribeConsumerGroups_result(event.pointer) };
    if result.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail));
    }
    let mut count = 0;
    // SAFETY: the result belongs to the event; librdkafka says how many pointers stand there, all of them valid.
    unsafe {
        let all = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 { Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail)) } else { read(*all) }
    }
}

/// # Safety
/// The description must be of a result that still lives.
unsafe fn read(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> KafkaResult<Group> {
    let mut operations = 0;
    // SAFETY: as promised to this function; texts are copied before it returns.
    unsafe {
        let error = sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(group));
        let error: RDKafkaErrorCode = error.into();
        if error == RDKafkaErrorCode::GroupIdNotFound {
            return Ok(Group::default());
        }
        if error != RDKafkaErrorCode::NoError {
            return Err(KafkaError::AdminOp(error));
        }
        let may = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut operations);
        let count = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |place| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, place);
            let client_id = text(sys::rd_kafka_MemberDescription_client_id(member)).unwrap_or_default();
            let host = text(sys::rd_kafka_MemberDescription_host(member)).unwrap_or_default();
            GroupMember { client_id, host }
        };
        let stable = sys::rd_kafka_ConsumerGroupDescription_state(group)
            == sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE;
        Ok(Group { stable, members: (0..count).map(member).collect(), allowed: allowed(may, operations) })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::MockCluster;

    use super::*;

    /// librdkafka ended the process where it heard of the coordinator later than the question was given up (see build.rs).
    #[test]
    fn a_question_that_is_given_up_before_its_coordinator_is_found_ends_nothing() {
        let cluster = MockCluster::new(1).unwrap();
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        let client: BaseConsumer = client.create().unwrap();
        client.fetch_metadata(None, Duration::from_mins(1)).unwrap();
        let slow = Duration::from_millis(1_500);
        cluster.broker_round_trip_time(1, slow).unwrap();
        let asked = describe(client.client(), "fold", Duration::from_millis(500));
        assert!(asked.is_err(), "{asked:?}");
        // The coordinator is told, and asked nothing any more.
        thread::sleep(2 * slow);
        cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
        client.fetch_metadata(None, Duration::from_mins(1)).unwrap();
    }
}
