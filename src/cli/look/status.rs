//! `rollbook status`: asks a running instance how it is.
//!
//! It asks the instance and not Kafka and Salesforce: whether the instance is well is the question, the calls of the day
//! are few, and only the instance knows what it holds back and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::cli::{Exit, Global, StageName, print_json};
use crate::http::STATUS_PATH;
use crate::status::Status;
use crate::status::idle::{Ended, Wait};

/// An instance answers out of its memory.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the instance serves metrics and health, as in http://10.0.0.7:9464; without it, `http.listen` of the
    /// configuration
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Wait until everything is read, folded and written; also asks the brokers of the configuration
    #[arg(long)]
    wait_idle: bool,
    /// How long to wait, as in 90s or 5m
    #[arg(long, requires = "wait_idle", default_value = "5m", value_parser = parse_timeout, value_name = "TIME")]
    timeout: Duration,
    /// Stages whose work has to be done
    #[arg(long, requires = "wait_idle", value_delimiter = ',', value_enum, default_values_t = [StageName::Fold, StageName::Sink])]
    stages: Vec<StageName>,
}

fn parse_timeout(text: &str) -> Result<Duration, &'static str> {
    let timeout = text.parse::<jiff::SignedDuration>().ok().and_then(|timeout| Duration::try_from(timeout).ok());
    timeout.ok_or("not a time like 90s or 5m")
}

pub fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.wait_idle {
        return wait_idle(global, arguments);
    }
    let Some(status) = of_instance(global, arguments.url.as_ref())? else { return Ok(Exit::Temporary) };
    if global.json {
        print_json(&serde_json::to_value(&status)?);
    } else {
        put!("{status}");
    }
    Ok(if status.ready { Exit::Done } else { Exit::NotReady })
}

fn wait_idle(global: &Global, arguments: &Arguments) -> anyhow::Result<Exit> {
    let config = global.load_config()?;
    let url = match &arguments.url {
        Some(url) => status_url(url.clone())?,
        None => status_url(listening_at(config.http.listen)?)?,
    };
    let stages = arguments.stages.iter().map(|name| name.stage()).collect();
    let ask = || told(&url).map_err(|error| format!("the instance at `{url}` does not tell its state: {error:#}"));
    let Ended { open, status } = Wait { config: &config, stages, timeout: arguments.timeout, ask: &ask }.run()?;
    if global.json {
        print_json(&json!({ "idle": open.is_empty(), "open": open, "status": serde_json::to_value(&status)? }));
    } else if let Some(status) = &status {
        put!("{status}");
    }
    if open.is_empty() {
        return Ok(Exit::Done);
    }
    eprintln!("error: not done within {:?}; what is open:", arguments.timeout);
    for open in &open {
        eprintln!("  {open}");
    }
    Ok(Exit::NotIdle)
}

fn told(url: &Url) -> anyhow::Result<Status> {
    let (code, body) = Runtime::new()?.block_on(ask(url)).map_err(|error| anyhow::Error::from(error.without_url()))?;
    anyhow::ensure!(code == 200, "it said {code}");
    Ok(serde_json::from_slice(&body)?)
}

/// What an instance says of itself. None: nothing answers, which has been said.
pub(super) fn of_instance(global: &Global, url: Option<&Url>) -> anyhow::Result<Option<Status>> {
    let url = match url {
        Some(url) => status_url(url.clone())?,
        None => status_url(listening_at(global.load_config()?.http.listen)?)?,
    };
    let answer = Runtime::new()?.block_on(ask(&url));
    let (code, body) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let error = anyhow::Error::from(error.without_url());
            eprintln!("error: no instance answers at `{url}`: {error:#}");
            eprintln!(
                "hint: is `rollbook run` up, and `http.listen` the one it was started with? `--url` names another"
            );
            return Ok(None);
        }
    };
    let status = serde_json::from_slice(&body).ok().filter(|_| code == 200).with_context(|| {
        format!("what answers at `{url}` is no instance of version {}: it said {code}", env!("CARGO_PKG_VERSION"))
    })?;
    Ok(Some(status))
}

async fn ask(url: &Url) -> reqwest::Result<(u16, Vec<u8>)> {
    // The port is asked as Prometheus asks it: straight.
    let client = reqwest::Client::builder()
        .timeout(ANSWERS_WITHIN)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = client.get(url.clone()).send().await?;
    Ok((answer.status().as_u16(), answer.bytes().await?.into()))
}

/// The port as it is reached from this machine.
fn listening_at(listen: SocketAddr) -> anyhow::Result<Url> {
    if listen.port() == 0 {
        bail!("`http.listen` takes any free port; hint: the log of `rollbook run` names it, `--url` takes it");
    }
    let here: IpAddr = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let ip = Some(listen.ip()).filter(|ip| !ip.is_unspecified()).unwrap_or(here);
    Ok(Url::parse(&format!("http://{}", SocketAddr::new(ip, listen.port())))?)
}

fn status_url(mut base: Url) -> anyhow::Result<Url> {
    if !matches!(base.scheme(), "http" | "https") {
        bail!("`--url` takes a URL like http://10.0.0.7:9464");
    }
    if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
        bail!("`--url` takes no login and no query: URLs are logged on their way");
    }
    let path = format!("{}{STATUS_PATH}", base.path().trim_end_matches('/'));
    base.set_path(&path);
    base.set_fragment(None);
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(listen: &str) -> String {
        status_url(listening_at(listen.parse().unwrap()).unwrap()).unwrap().into()
    }

    #[test]
    fn an_address_that_means_all_is_asked_at_home() {
        assert_eq!(url_of("127.0.0.1:9464"), "http://127.0.0.1:9464/status");
        assert_eq!(url_of("0.0.0.0:9464"), "http://127.0.0.1:9464/status");
        assert_eq!(url_of("[::]:9464"), "http://[::1]:9464/status");
        assert_eq!(url_of("10.0.0.7:80"), "http://10.0.0.7/status");
        assert!(listening_at("127.0.0.1:0".parse().unwrap()).is_err());
    }

    #[test]
    fn a_url_keeps_its_path_and_takes_no_login() {
        let url = |text: &str| status_url(text.parse().unwrap()).map(String::from);
        assert_eq!(url("https://ops.example/rollbook/").unwrap(), "https://ops.example/rollbook/status");
        for wrong in ["http://me:secret@host", "http://host/?token=secret", "ftp://host"] {
            let error = url(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
