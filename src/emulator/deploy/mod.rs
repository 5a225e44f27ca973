//! Metadata deployments: a zip of objects, fields and permission sets changes the org's schema, all of it or, if the
//! caller wants that, what is good of it.
//!
//! A real org queues a deployment and works on it for minutes. Here it is carried out with the call that brings it; the
//! answer still says `Queued`, and the first look at its status finds it done.

mod options;
mod package;
mod report;

use serde_json::Value;

use super::org::Org;
use super::wire::Refusal;
use crate::id::SalesforceId;

pub use options::Options;

/// What was deployed since the start, for those who ask how it went.
#[derive(Default)]
pub struct Deployments(Vec<(String, Value)>);

impl Deployments {
    /// Carries a deployment out and keeps its result; hands back its id.
    pub fn deploy(&mut self, org: &mut Org, zip: &[u8], options: Options) -> Result<String, Refusal> {
        let package = package::read(zip, options.single_package)?;
        let (schema, mut components) = org.schema().deployed(&package.sources);
        let whole = package.compare(&mut components);
        // A package that is not what its list says is taken as a whole or not at all.
        let options = Options { rollback_on_error: options.rollback_on_error || !whole, ..options };
        let failed = components.iter().any(|component| component.problem.is_some());
        if !(options.check_only || failed && options.rollback_on_error) {
            let lost = |_| Refusal::new(503, "SERVER_UNAVAILABLE", "the emulator's data directory cannot be written");
            org.adopt(schema, package.sources).map_err(lost)?;
        }
        let number = self.0.len() + 1;
        let id = SalesforceId::parse(&format!("0AfRB000{number:07}")).expect("15 letters and digits").to_string();
        let result = report::result(&id, org.user_id(), options, &components);
        self.0.push((id.clone(), result));
        Ok(id)
    }

    /// How a deployment went, ids in either length. Without its components, unless somebody asks for these details.
    pub fn result(&self, id: &str, details: bool) -> Result<Value, Refusal> {
        let known = SalesforceId::parse(id)
            .and_then(|id| self.0.iter().find(|(known, _)| known == id.as_str()))
            .map(|(_, result)| result);
        let unknown = || Refusal::new(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id");
        known.map(|result| report::shown(result, details)).ok_or_else(unknown)
    }
}
