//! What goes through a proxy, and what never does: a secret that leaves by the wrong way cannot be called back.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rollbook::config::Config;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, Options};
use rollbook::kafka::registry::Registry;
use rollbook::salesforce::Client;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::harness::{self, command, http};

/// Answers nothing of use, and keeps the heads of the requests that it gets.
struct Listener {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        // Ends with the process: a listener cannot be woken portably.
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.set_read_timeout(Some(Duration::from_secs(10)));
                let (mut head, mut buffer) = (Vec::new(), [0; 4_096]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n")
                    && let Ok(count @ 1..) = client.read(&mut buffer)
                {
                    head.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                kept.lock().expect("no holder panics").push(String::from_utf8_lossy(&head).into_owned());
                let _ = client.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { address, heads }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no holder panics").clone()
    }
}

const PROXY_VARIABLES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A configuration for this login host, where the environment names this proxy and these hosts without one.
fn config(login_url: &str, more: &str, (proxy, no_proxy): (&str, Option<&str>)) -> Config {
    let text = format!(
        "[kafka]\nbootstrap = \"localhost:9092\"\n[registry]\nurl = \"{login_url}\"\n[salesforce]\n\
         login_url = \"{login_url}\"\nrequest_timeout = \"10s\"\n{more}\n[salesforce.auth]\n\
         flow = \"client_credentials\"\nclient_id = \"rollbook\"\n"
    );
    let environment = |name: &str| match name {
        "ROLLBOOK_SALESFORCE_CLIENT_SECRET" => Some("canary".to_owned()),
        "NO_PROXY" => no_proxy.map(str::to_owned),
        name => PROXY_VARIABLES.contains(&name).then(|| proxy.to_owned()),
    };
    Config::parse(&text, Path::new(""), &environment).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// Tries to log in, which cannot succeed.
fn log_in(config: &Config) {
    let client = Client::new(config.require_salesforce().unwrap()).unwrap();
    assert!(http::block_on(async { client.log_in().await }).is_err(), "nobody gives a token");
}

#[test]
fn what_is_on_this_machine_is_reached_straight_whatever_the_environment_says() {
    let (proxy, target) = (Listener::start(), Listener::start());
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}", target.address.port());
        let config = config(&url, "", (&proxy.url(), None));
        log_in(&config);
        let registry = Registry::new(config.registry.as_ref().unwrap()).unwrap();
        assert!(http::block_on(async { registry.schema(7).await }).is_err());
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
    let asked: Vec<String> = target.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    assert!(asked.iter().any(|line| line.starts_with("POST /services/oauth2/token ")), "{asked:?}");
    assert!(asked.iter().any(|line| line.starts_with("GET /schemas/ids/7 ")), "{asked:?}");
}

#[test]
fn a_proxy_of_the_environment_is_asked_for_other_hosts_but_those_of_no_proxy() {
    let proxy = Listener::start();
    // Names of the top-level domain `invalid` exist nowhere.
    log_in(&config("https://login.rollbook.invalid", "", (&proxy.url(), Some("rollbook.invalid"))));
    assert_eq!(proxy.heads(), Vec::<String>::new());
    log_in(&config("https://login.rollbook.invalid", "", (&proxy.url(), Some("another.invalid"))));
    let heads = proxy.heads();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT login.rollbook.invalid:443 "), "{heads:?}");
    assert!(!heads[0].contains("canary"), "the secret goes through the tunnel alone");
}

#[test]
fn the_proxy_of_the_setting_wins_and_gets_its_own_login_alone() {
    let (set, other) = (Listener::start(), Listener::start());
    let folder = TempDir::new_in(harness::folder()).unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "hush\n").unwrap();
    let login = format!("proxy_username = \"me\"\nproxy_password_file = {password:?}");
    let through = |host: &str, no_proxy| {
        let more = format!("proxy = \"{}\"\n{login}", set.url());
        config(&format!("https://{host}"), &more, (&other.url(), no_proxy))
    };
    log_in(&through("login.rollbook.invalid", None));
    let heads = set.heads();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT login.rollbook.invalid:443 "), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic bwu6ahvzaa=="), "{heads:?}");
    log_in(&through("login.rollbook.invalid", Some(".rollbook.invalid")));
    log_in(&config("https://login.rollbook.invalid", "proxy = \"\"", (&other.url(), None)));
    assert_eq!((set.heads().len(), other.heads().len()), (1, 0), "both went straight");
    let shown = through("login.rollbook.invalid", None).to_toml();
    assert!(shown.contains(&format!("proxy = \"http://********@{}\"", set.address)), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_setting_that_names_no_proxy_is_a_problem() {
    let problem = |lines: &str| {
        let text = format!(
            "[kafka]\nbootstrap = \"localhost:9092\"\n[salesforce]\nlogin_url = \"https://a.my.salesforce.com\"\n{lines}\n\
             [salesforce.auth]\nflow = \"client_credentials\"\nclient_id = \"rollbook\"\n"
        );
        let environment = |name: &str| (name == "ROLLBOOK_SALESFORCE_CLIENT_SECRET").then(|| "secret".to_owned());
        let invalid = Config::parse(&text, Path::new(""), &environment).err();
        invalid.map(|invalid| invalid.to_string()).unwrap_or_default()
    };
    for wrong in ["proxy", "ftp://proxy.example", "socks5://proxy.example:1080", "http://me:hush@proxy.example"] {
        let report = problem(&format!("proxy = \"{wrong}\""));
        assert!(report.contains("1 problem\n  salesforce.proxy: ") && !report.contains("hush"), "{wrong}: {report}");
    }
    let report = problem("proxy = \"http://proxy.example\"\nproxy_username = \"me\"");
    assert!(report.contains("salesforce.proxy: has a user name or a password, but not both"), "{report}");
    assert_eq!(problem("proxy = \"http://proxy.example:3128/\""), "");
}

#[test]
fn the_binary_asks_an_org_on_this_machine_itself() {
    let proxy = Listener::start();
    let org = http::block_on(Emulator::start(Options::new(Schema::load_embedded()))).expect("a free port");
    let credentials = org.credentials();
    let folder = TempDir::new_in(harness::folder()).unwrap();
    let (file, secret) = (folder.path().join("rollbook.toml"), folder.path().join("secret"));
    std::fs::write(&secret, credentials.client_secret.expose_secret()).unwrap();
    let mut text = "[kafka]\nbootstrap = \"localhost:9092\"\n".to_owned();
    text.write_str(&harness::settings::salesforce(&org.base_url(), &credentials.client_id, &secret)).unwrap();
    std::fs::write(&file, text).unwrap();
    let mut doctor = command(&["doctor"]);
    doctor.env("ROLLBOOK_CONFIG", &file).env_remove("NO_PROXY").env_remove("no_proxy");
    doctor.envs(PROXY_VARIABLES.map(|name| (name, proxy.url())));
    let output = doctor.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(proxy.heads(), Vec::<String>::new());
    assert!(org.api_calls() > 0);
}
