//! How the effective configuration is printed: secrets masked, durations as they are written in the file.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::properties;

/// Stands for every secret, whatever its length.
pub(super) const MASK: &str = "********";

#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub(super) fn optional_secret<S: Serializer>(value: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(|_| MASK).serialize(to)
}

pub(super) fn properties<S: Serializer>(properties: &BTreeMap<String, SecretString>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(
        properties
            .iter()
            .map(|(name, value)| (name, if properties::secret(name) { MASK } else { value.expose_secret() })),
    )
}

pub(super) fn duration<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let value = jiff::SignedDuration::try_from(*value).expect("settings are far below 292 billion years");
    to.collect_str(&format_args!("{value:#}"))
}

/// Bytes as "512MiB", where they are whole KiB.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn bytes<S: Serializer>(bytes: &usize, to: S) -> Result<S::Ok, S::Error> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes.trailing_zeros() >= *shift);
    to.serialize_str(&unit.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift)))
}
