//! `rollbook emulate`: a Salesforce org on this machine, for rehearsals and tests.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::net::TcpListener;
use tracing::info;

use crate::cli::{Exit, Global, print_json};
use crate::emulator::schema::Schema;
use crate::emulator::{self, FaultScript, JwtKey, LongRequests, Options, Pace};
use crate::id::SalesforceId;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Address to listen on; only this machine can reach the default
    #[arg(long, default_value = "127.0.0.1:8100", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Directory that keeps the org's rows; without it they end with the process
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Id of a new org; without it, the one that every emulator has
    #[arg(long, value_parser = org_id, value_name = "ID")]
    org_id: Option<SalesforceId>,
    /// SFDX source tree with the org's custom objects, fields and permission sets, in place of the one built in
    #[arg(long, value_name = "DIR")]
    schema: Option<PathBuf>,
    /// Start with the standard objects alone, for a deployment to bring the rest
    #[arg(long, conflicts_with = "schema")]
    empty: bool,
    /// Consumer key that clients log in with
    #[arg(long, default_value = "rollbook", value_name = "ID")]
    client_id: String,
    /// File with the consumer secret; without it one is made up and printed
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Username of the integration user
    #[arg(long, default_value = "integration@rollbook.example", value_name = "NAME")]
    username: String,
    /// PEM file with the public key or certificate that JWT bearer logins are checked against
    #[arg(long, value_name = "FILE")]
    jwt_key_file: Option<PathBuf>,
    /// Accept JWT bearer logins whatever their signature
    #[arg(long, conflicts_with = "jwt_key_file")]
    jwt_any_signature: bool,
    /// File with the password of the OAuth password grant and the SOAP login; without it both are refused
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with a refresh token that is good at the start; without it the refresh token grant is refused
    #[arg(long, value_name = "FILE")]
    refresh_token_file: Option<PathBuf>,
    /// Give a new refresh token at each login with one, which is then used up
    #[arg(long, requires = "refresh_token_file")]
    rotate_refresh_tokens: bool,
    /// Seconds that a token is good for; without it, until it is revoked
    #[arg(long, value_name = "SECONDS")]
    token_lifetime: Option<u64>,
    /// API calls in 24 hours
    #[arg(long, default_value_t = 15_000, value_name = "CALLS")]
    daily_api_requests: u64,
    /// Added to every call, as "200ms" or "2s"; calls are served side by side
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    latency: Duration,
    /// How long a write takes and holds the locks of its rows and of their parents
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    write_time: Duration,
    /// How long a write waits for the locks of others before its rows fail with UNABLE_TO_LOCK_ROW
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    lock_wait: Duration,
    /// TOML file with delays, error answers and cut connections, by path, object, rate or count
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// From when on a request counts as long-running
    #[arg(long, value_parser = duration, default_value = "20s", value_name = "TIME")]
    long_request: Duration,
    /// Long-running requests at the same time; while there are so many, every new request is refused
    #[arg(long, default_value_t = 5, value_name = "REQUESTS")]
    long_requests_max: usize,
    /// How long each step of a bulk job takes: its start, and every 200 rows
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    bulk_delay: Duration,
    /// File with the token of the control surface under /emulator/; without it one is made up and printed
    #[arg(long, value_name = "FILE")]
    control_token_file: Option<PathBuf>,
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let options = options(arguments)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(arguments.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", arguments.listen))?;
        let (address, shown) = (listener.local_addr()?, options.clone());
        let announce = || announce(global, arguments, &shown, address);
        emulator::serve(listener, options, announce, interrupted()).await?;
        Ok(Exit::Done)
    })
}

fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let schema = match &arguments.schema {
        Some(directory) => Schema::load_dir(directory)?,
        None if arguments.empty => Schema::standard(),
        None => Schema::load_embedded(),
    };
    let mut options = Options::new(schema);
    options.data.clone_from(&arguments.data);
    options.org_id = arguments.org_id;
    options.daily_api_requests = arguments.daily_api_requests;
    options.pace = Pace { latency: arguments.latency, write: arguments.write_time, lock_wait: arguments.lock_wait };
    if let Some(file) = &arguments.faults {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let script = FaultScript::parse(&text).map_err(|why| anyhow::anyhow!("`{}`: {why}", file.display()));
        options.faults = script.context("the fault script is wrong")?;
    }
    options.bulk_delay = arguments.bulk_delay;
    options.long_requests = LongRequests { after: arguments.long_request, max: arguments.long_requests_max };
    let credentials = &mut options.credentials;
    credentials.client_id.clone_from(&arguments.client_id);
    credentials.username.clone_from(&arguments.username);
    credentials.token_lifetime = arguments.token_lifetime.map(Duration::from_secs);
    if let Some(file) = &arguments.client_secret_file {
        credentials.client_secret = secret(file)?;
    }
    credentials.password = arguments.password_file.as_deref().map(secret).transpose()?;
    credentials.refresh_token = arguments.refresh_token_file.as_deref().map(secret).transpose()?;
    credentials.rotate_refresh_tokens = arguments.rotate_refresh_tokens;
    if arguments.jwt_any_signature {
        credentials.jwt_key = JwtKey::Any;
    }
    if let Some(file) = &arguments.jwt_key_file {
        let pem = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let key = JwtKey::from_pem(&pem);
        credentials.jwt_key = key.with_context(|| format!("`{}` holds no public key", file.display()))?;
    }
    if let Some(file) = &arguments.control_token_file {
        options.control_token = secret(file)?;
    }
    Ok(options)
}

fn org_id(text: &str) -> Result<SalesforceId, String> {
    let id = SalesforceId::parse(text).filter(|id| id.has_prefix("00D"));
    id.ok_or_else(|| "write an id of 15 or 18 characters that begins with 00D".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let time: Option<jiff::SignedDuration> = text.parse().ok();
    let time = time.and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| "write a time as \"200ms\" or \"2s\"".to_owned())
}

fn secret(file: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let text = text.trim();
    anyhow::ensure!(!text.is_empty(), "`{}` is empty", file.display());
    Ok(text.into())
}

/// Prints how to log in. Secrets only where they were made up here: nobody else can know those.
fn announce(global: &Global, arguments: &Arguments, options: &Options, address: SocketAddr) {
    let made_up =
        |file: &Option<PathBuf>, secret: &SecretString| file.is_none().then(|| secret.expose_secret().to_owned());
    let client_secret = made_up(&arguments.client_secret_file, &options.credentials.client_secret);
    let control_token = made_up(&arguments.control_token_file, &options.control_token);
    if global.json {
        print_json(&json!({
            "url": format!("http://{address}"), "client_id": arguments.client_id, "client_secret": client_secret,
            "username": arguments.username, "control_token": control_token,
        }));
        return;
    }
    say!("url            http://{address}");
    say!("client id      {}", arguments.client_id);
    say!("client secret  {}", client_secret.as_deref().unwrap_or("as in its file"));
    say!("username       {}", arguments.username);
    say!("control token  {}", control_token.as_deref().unwrap_or("as in its file"));
}

/// Done at Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler can be installed");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    info!("stopping");
}
