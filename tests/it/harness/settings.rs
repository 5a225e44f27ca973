//! The configuration file of an installation that is tested: what its sections have in common.

use std::path::Path;

use super::topics::Names;

/// One instance of an installation.
pub struct Settings<'a> {
    pub names: &'a Names,
    pub bootstrap: &'a str,
    /// Its name, for as long as the installation lives; empty: none.
    pub instance: &'a str,
    pub group_protocol: &'a str,
    /// More lines of `[kafka.properties]`.
    pub properties: &'a str,
    /// Where it listens.
    pub port: u16,
}

impl Settings<'_> {
    /// Ends within `[sink]`, so that lines of this section may follow.
    pub fn text(&self) -> String {
        let Self { names, bootstrap, instance, group_protocol, properties, port } = self;
        let instance = if instance.is_empty() { String::new() } else { format!("instance = \"{instance}\"\n") };
        format!(
            "application = \"{prefix}\"
[kafka]
bootstrap = \"{bootstrap}\"
{instance}[kafka.properties]
# an instance that is gone for good is missed soon
\"session.timeout.ms\" = \"6000\"
\"heartbeat.interval.ms\" = \"500\"
{properties}[topics]
{topics}[fold]
group_protocol = \"{group_protocol}\"
commit_interval = \"20ms\"
commit_interval_behind = \"100ms\"
[http]
listen = \"127.0.0.1:{port}\"
[sink]
backoff_min = \"10ms\"
backoff_max = \"200ms\"
",
            prefix = names.prefix,
            topics = toml::to_string(&names.topics).expect("topics are TOML"),
        )
    }
}

/// The sections of an org.
pub fn salesforce(login_url: &str, client_id: &str, client_secret_file: &Path) -> String {
    let secret = client_secret_file.display();
    format!(
        "[salesforce]
login_url = \"{login_url}\"
[salesforce.auth]
flow = \"client_credentials\"
client_id = \"{client_id}\"
client_secret_file = \"{secret}\"
"
    )
}
