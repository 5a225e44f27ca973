//! Metadata deployments: a zip of objects, fields and permission sets changes the org's schema, all of it or, if the
//! caller wants that, what is good of it.
//!
//! A real org queues a deployment and works on it for minutes. Here it is carried out with the call that brings it; the
//! answer still says `Queued`, and the first look at its status finds it done.

mod package;
mod report;
mod rest;
mod soap;

use serde_json::Value;

use super::server::Service;
use super::wire::Refusal;
use crate::event::SalesforceId;

pub use rest::{start as start_rest, status as status_rest};
pub use soap::respond as respond_soap;

/// What was deployed since the start, for those who ask how it went.
#[derive(Default)]
pub struct Deployments(Vec<(String, Value)>);

/// What the caller wants, under Salesforce's names for it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "Salesforce's own independent options")]
struct Options {
    check_only: bool,
    ignore_warnings: bool,
    rollback_on_error: bool,
    single_package: bool,
}

impl Options {
    fn read(flag: impl Fn(&str) -> bool) -> Self {
        Self {
            check_only: flag("checkOnly"),
            ignore_warnings: flag("ignoreWarnings"),
            rollback_on_error: flag("rollbackOnError"),
            single_package: flag("singlePackage"),
        }
    }
}

impl Deployments {
    /// The result of a deployment, ids in either length.
    fn result(&self, id: &str) -> Result<&Value, Refusal> {
        let known = SalesforceId::parse(id)
            .and_then(|id| self.0.iter().find(|(known, _)| known == id.as_str()))
            .map(|(_, result)| result);
        known.ok_or_else(|| Refusal::new(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
    }
}

/// Carries a deployment out and keeps its result; hands back its id.
fn deploy(service: &mut Service, zip: &[u8], options: Options) -> Result<String, Refusal> {
    let package = package::read(zip, options.single_package)?;
    let (schema, mut components) = service.org.schema().deployed(&package.sources);
    let whole = package.compare(&mut components);
    // A package that is not what its list says is taken as a whole or not at all.
    let options = Options { rollback_on_error: options.rollback_on_error || !whole, ..options };
    let failed = components.iter().any(|component| component.problem.is_some());
    if !(options.check_only || failed && options.rollback_on_error) {
        let lost = |_| Refusal::new(503, "SERVER_UNAVAILABLE", "the emulator's data directory cannot be written");
        service.org.adopt(schema, package.sources).map_err(lost)?;
    }
    let number = service.deployments.0.len() + 1;
    let id = SalesforceId::parse(&format!("0AfRB000{number:07}")).expect("15 letters and digits").to_string();
    let result = report::result(&id, service.org.user_id(), options, &components);
    service.deployments.0.push((id.clone(), result));
    Ok(id)
}
