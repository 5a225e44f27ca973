//! A row that cannot be written. The event it came from is not to blame: the other rows are written.

use xxhash_rust::xxh3::xxh3_64;

use super::object::Object;
use crate::avro::Writer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRefusal {
    pub reason: RowRefusalReason,
    pub object: Object,
    pub external_id: String,
    /// API name of the field that does not fit.
    pub field: &'static str,
    /// For people; holds no personal data.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowRefusalReason {
    ExternalIdTooLong,
    NumberTooLarge,
}

impl RowRefusalReason {
    pub const ALL: [Self; 2] = [Self::ExternalIdTooLong, Self::NumberTooLarge];

    pub fn code(self) -> &'static str {
        match self {
            Self::ExternalIdTooLong => "external_id_too_long",
            Self::NumberTooLarge => "number_too_large",
        }
    }
}

impl RowRefusal {
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// As a row's hash: the same refusal need not be reported twice. Never 0.
    pub fn hash(&self) -> u64 {
        let mut content = Writer::default();
        for text in ["refused", self.code(), self.object.api_name(), &self.external_id, self.field, &self.detail] {
            content.text(text);
        }
        xxh3_64(&content.0).max(1)
    }
}
