//! Polls of the member, and which of their errors are to be waited out.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use crate::kafka::member::Member;
use crate::kafka::said;

use super::{Error, attempt};

/// Records that are decoded and read ahead together; what they touch fits into a core's own cache.
pub const BATCH_RECORDS: usize = 64;
/// Bytes of records that are decoded and read ahead together, beside the last one of them.
const BATCH_BYTES: usize = 4 << 20;

/// Takes what is ready, up to a bound, and waits for the first of it only. True where nothing is left.
pub(super) fn poll_batch<'m, M: Member>(
    member: &'m M,
    mut wait: Duration,
    batch: &mut Vec<M::Message<'m>>,
) -> Result<bool, Error> {
    let mut bytes = 0;
    while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
        match member.poll(wait) {
            None => return Ok(true),
            Some(Ok(message)) => {
                bytes += message.payload().map_or(0, <[u8]>::len);
                batch.push(message);
            }
            Some(Err(error)) => {
                may_pass(error)?;
                return Ok(false);
            }
        }
        wait = Duration::ZERO;
    }
    Ok(false)
}

/// An error of a poll, which is said once, whatever the poll was for: after a fatal one nothing comes any more, and a group
/// that refuses the settings does so for ever.
pub(super) fn may_pass(error: KafkaError) -> Result<(), Error> {
    if let KafkaError::MessageConsumptionFatal(_) = error {
        return attempt("go on as a member of the consumer group", Err(error));
    }
    if let Some(RDKafkaErrorCode::InvalidSessionTimeout | RDKafkaErrorCode::InconsistentGroupProtocol) =
        error.rdkafka_error_code()
    {
        return attempt("take it as a member of the consumer group", Err(error));
    }
    if let Some(times) = said::again(&error.to_string()) {
        warn!(error = %error, times, "kafka is waited for");
    }
    Ok(())
}
