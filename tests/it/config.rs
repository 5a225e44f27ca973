//! The configuration: what is taken, what is refused, and that no secret is ever shown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rollbook::config::{Auth, Config, Invalid};
use secrecy::ExposeSecret;
use tempfile::TempDir;

const MINIMAL: &str = r#"
[kafka]
bootstrap = "localhost:9092"
"#;

fn parse(text: &str) -> Result<Config, Invalid> {
    Config::parse(text, Path::new(""), &|_| None)
}

fn paths(text: &str) -> Vec<String> {
    parse(text).err().map(|invalid| invalid.0.into_iter().map(|problem| problem.path).collect()).unwrap_or_default()
}

#[test]
fn one_setting_is_enough_to_fold() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.application, "rollbook");
    assert_eq!(config.topics.dead_letters, "rollbook.dead-letters");
    assert_eq!(config.fold.commit_interval, Duration::from_millis(100));
    assert!(config.require_salesforce().is_err());
}

#[test]
fn every_problem_is_reported_at_once_with_its_path() {
    let text = r#"
        application = "two words"
        colour = "blue"
        [kafka]
        bootstrap = "localhost"
        properties = { "group.id" = "mine", "no.such.property" = "1" }
        [topics]
        polls = "views"
        partitions = 0
        [fold]
        threads = "four"
        commit_interval = "3s"
        [sink]
        batch_rows_max = 201
        backoff_min = "soon"
        [salesforce]
        login_url = "http://salesforce.example.com"
        [salesforce.auth]
        flow = "password"
        [http]
        listen = "everywhere"
        open = true
    "#;
    let expected = [
        "colour",
        "application",
        "kafka.bootstrap",
        "kafka.properties.\"group.id\"",
        "kafka.properties.\"no.such.property\"",
        "topics.views",
        "topics.partitions",
        "fold.threads",
        "fold.commit_interval_behind",
        "sink.batch_rows_max",
        "sink.backoff_min",
        "salesforce.login_url",
        "salesforce.auth.client_id",
        "salesforce.auth.flow",
        "salesforce.auth.client_secret_file",
        "http.open",
        "http.listen",
    ];
    assert_eq!(paths(text), expected);
}

#[test]
fn a_bootstrap_of_nothing_is_no_bootstrap() {
    for nothing in ["", " ", "broker-1:9092,", "broker-1"] {
        assert_eq!(paths(&format!("[kafka]\nbootstrap = \"{nothing}\"\n")), ["kafka.bootstrap"], "`{nothing}`");
    }
}

#[test]
fn settings_of_the_other_login_are_a_problem() {
    let with = |flow: &str, settings: &str| {
        let flow = format!("flow = \"{flow}\"\nclient_id = \"consumer\"\nusername = \"u\"");
        let login = "login_url = \"https://example.my.salesforce.com\"";
        let text = format!("{MINIMAL}[salesforce]\n{login}\n[salesforce.auth]\n{flow}\n{settings}\n");
        let invalid = Config::parse(&text, Path::new(""), &|_| Some("a secret".to_owned())).err();
        invalid.map(|invalid| invalid.to_string()).unwrap_or_default()
    };
    let report = with("client_credentials", "private_key_file = \"key.pem\"\naudience = \"https://a.example\"");
    for field in ["username", "private_key_file", "audience"] {
        assert!(report.contains(&format!("salesforce.auth.{field}: is not used by the flow")), "{report}");
    }
    let report = with("refresh_token", "private_key_file = \"key.pem\"\naudience = \"https://a.example\"");
    for field in ["username", "private_key_file", "audience"] {
        assert!(report.contains(&format!("salesforce.auth.{field}: is not used by the flow")), "{report}");
    }
    assert!(report.contains("salesforce.auth.refresh_token_file: missing"), "{report}");
    for flow in ["client_credentials", "jwt_bearer"] {
        let report = with(flow, "refresh_token_file = \"token\"");
        assert!(report.contains("salesforce.auth.refresh_token_file: is not used by the flow"), "{report}");
    }
    let report = with("jwt_bearer", "client_secret_file = \"secret\"");
    assert!(report.contains("\n  salesforce.auth.client_secret_file: is not used"), "{report}");
    let no_key = "salesforce.auth.private_key_file: is no unencrypted RSA private key";
    assert!(report.contains("2 problems") && report.contains(no_key) && !report.contains("a secret"), "{report}");
}

fn login_problems(login_url: &str, flow: &str) -> Vec<String> {
    let text = format!("{MINIMAL}[salesforce]\nlogin_url = {login_url:?}\n[salesforce.auth]\nflow = {flow:?}\n");
    let problems = parse(&text).err().map(|invalid| invalid.0).unwrap_or_default();
    let of_the_url = problems.into_iter().filter(|problem| problem.path == "salesforce.login_url");
    of_the_url.map(|problem| format!("{}; {}", problem.message, problem.hint)).collect()
}

#[test]
fn a_host_that_gives_no_token_by_the_flow_is_a_problem() {
    for host in ["login", "test"] {
        let url = format!("https://{host}.salesforce.com/");
        let problems = login_problems(&url, "client_credentials");
        assert!(problems.len() == 1 && problems[0].contains("example.my.salesforce.com"), "{problems:?}");
        for flow in ["jwt_bearer", "refresh_token"] {
            assert_eq!(login_problems(&url, flow), Vec::<String>::new());
        }
    }
    for flow in ["client_credentials", "jwt_bearer", "refresh_token"] {
        for url in ["https://acme.my.salesforce.com", "https://acme--uat.sandbox.my.salesforce.com", "http://org:8100"]
        {
            assert_eq!(login_problems(url, flow), Vec::<String>::new());
        }
        for (url, word) in [
            ("https://acme.lightning.force.com", "for people"),
            ("https://acme.my.salesforce.com/services/oauth2/token", "path of an endpoint"),
        ] {
            let problems = login_problems(url, flow);
            assert!(problems.len() == 1 && problems[0].contains(word), "{problems:?}");
        }
    }
}

#[test]
fn the_audience_of_an_assertion_is_the_login_host_of_production_or_of_sandboxes() {
    let pem = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    let pem = String::from_utf8(pem).unwrap();
    let audience = |login_url: &str, setting: &str| {
        let text = format!(
            "{MINIMAL}[salesforce]\nlogin_url = {login_url:?}\n[salesforce.auth]\nflow = \"jwt_bearer\"\n\
             client_id = \"consumer\"\nusername = \"u\"\n{setting}"
        );
        let config = Config::parse(&text, Path::new(""), &|_| Some(pem.clone())).map_err(|invalid| invalid.to_string());
        match config.unwrap().salesforce.unwrap().auth {
            Auth::JwtBearer { audience, .. } => audience,
            Auth::ClientCredentials { .. } | Auth::RefreshToken { .. } => panic!("the flow is JWT bearer"),
        }
    };
    for (login_url, expected) in [
        ("https://login.salesforce.com/", "https://login.salesforce.com"),
        ("https://test.salesforce.com", "https://test.salesforce.com"),
        ("https://acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme-dev-ed.develop.my.salesforce.com", "https://login.salesforce.com"),
        ("https://Acme--UAT.sandbox.my.salesforce.com", "https://test.salesforce.com"),
        ("https://acme--uat.my.salesforce.com", "https://test.salesforce.com"),
        ("https://acme-1.scratch.my.salesforce.com", "https://test.salesforce.com"),
        ("https://acme.my.site.com/customers", "https://acme.my.site.com/customers"),
        ("http://org:8100", "http://org:8100"),
    ] {
        assert_eq!(audience(login_url, ""), expected, "{login_url}");
    }
    let own = audience("https://acme--uat.my.salesforce.com", "audience = \"https://login.salesforce.com\"");
    assert_eq!(own, "https://login.salesforce.com");
}

#[test]
fn a_refresh_token_that_cannot_be_replaced_is_a_problem_at_the_start() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("token"), "canary\n").unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let with = |file: &str| {
        let text = format!(
            "{MINIMAL}[salesforce]\nlogin_url = \"https://login.salesforce.com\"\n[salesforce.auth]\n\
             flow = \"refresh_token\"\nclient_id = \"consumer\"\nrefresh_token_file = {file:?}\n"
        );
        Config::parse(&text, folder.path(), &|_| None)
    };
    let config = with("token").map_err(|invalid| invalid.to_string()).unwrap();
    assert!(!format!("{}{}", config.to_toml(), config.to_json()).contains("canary"));
    assert!(config.to_toml().contains("refresh_token_file"), "{}", config.to_toml());
    // Nobody makes files beside the last one, not even root.
    for (file, word) in [("absent", "cannot be opened"), ("empty", "empty"), ("/proc/self/comm", "cannot be replaced")]
    {
        let report = with(file).err().unwrap().to_string();
        let path = "salesforce.auth.refresh_token_file: ";
        assert!(report.contains(path) && report.contains(word) && report.contains("1 problem\n"), "{report}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the check leaves nothing behind");
}

#[test]
fn versions_of_the_api_without_upserts_of_collections_are_a_problem() {
    for (version, fine) in [("45.0", false), ("46.0", true), ("62", false), ("-1.0", false), ("67.0", true)] {
        let text = format!("{MINIMAL}[salesforce]\napi_version = {version:?}\n");
        assert_eq!(!paths(&text).contains(&"salesforce.api_version".to_owned()), fine, "{version}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_one_problem_with_its_line() {
    assert_eq!(paths("[kafka]\nbootstrap = \n"), ["line 2"]);
}

#[test]
fn secrets_come_from_files_then_from_the_environment_and_are_never_shown() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("secret"), "canary-file\n").unwrap();
    let text = r#"
        [kafka]
        bootstrap = "localhost:9092"
        properties = { "sasl.username" = "rollbook" }
        properties_files = { "sasl.password" = "secret" }
        [registry]
        url = "https://registry.example.com/apis/ccompat/v7/"
        username = "rollbook"
        [salesforce]
        login_url = "https://example.my.salesforce.com"
        [salesforce.auth]
        flow = "client_credentials"
        client_id = "consumer"
        client_secret_file = "secret"
    "#;
    let environment = |name: &str| name.starts_with("ROLLBOOK_").then(|| "canary-environment".to_owned());
    let config = Config::parse(text, folder.path(), &environment).map_err(|invalid| invalid.to_string()).unwrap();
    let shown = format!("{}{}", config.to_toml(), config.to_json());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("sasl.username") && shown.contains("********"), "{shown}");
    assert_eq!(config.kafka.properties["sasl.password"].expose_secret(), "canary-file");
    let registry = config.registry.unwrap();
    assert_eq!(registry.url, "https://registry.example.com/apis/ccompat/v7");
    assert_eq!(registry.password.unwrap().expose_secret(), "canary-environment");
    let Auth::ClientCredentials { client_secret, .. } = config.salesforce.unwrap().auth else {
        panic!("the flow is client credentials")
    };
    assert_eq!(client_secret.read().unwrap().expose_secret(), "canary-file");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let text = format!("{MINIMAL}\npassword = \"canary\"\n[fold]\nthreads = \"canary\"\n");
    let report = parse(&text).err().unwrap().to_string();
    assert!(report.contains("kafka.password") && !report.contains("canary"), "{report}");
}

fn other_flow(line: &str) -> bool {
    ["# username", "# private_key_file", "# audience", "# refresh_token_file"]
        .iter()
        .any(|field| line.starts_with(field))
}

#[test]
fn the_example_names_every_setting_with_its_default() {
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rollbook.example.toml")).unwrap();
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    // Every commented-out setting is switched on but those of the other flows; each file is one that exists.
    let settings = example
        .split("# flow = ")
        .flat_map(|part| part.lines().skip_while(|line| line.starts_with(['"']) || other_flow(line)))
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.contains(" = ") || line.starts_with('['));
    let with_files = settings.map(|line| match line.split_once(" = \"/") {
        Some((name, _)) => format!("{name} = {secret:?}\n"),
        None => format!("{line}\n"),
    });
    let all = with_files.collect::<String>();
    let config = parse(&all).map_err(|invalid| format!("{invalid}\n{all}")).unwrap();
    let defaults = parse(MINIMAL).unwrap();
    let (shown, default) = (config.to_json(), defaults.to_json());
    for section in ["application", "topics", "fold", "sink", "http"] {
        assert_eq!(shown[section], default[section], "{section}");
    }
    for (section, fields) in shown.as_object().unwrap() {
        for field in fields.as_object().into_iter().flat_map(|fields| fields.keys()) {
            let shown = ["password", "auth"].contains(&field.as_str()) || example.contains(field.as_str());
            assert!(shown, "{section}.{field} is not in the example");
        }
    }
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    for (section, fields) in shown.as_object().unwrap() {
        let fields = fields.as_object().into_iter().flat_map(|fields| fields.keys());
        for setting in fields.map(|field| format!("`{section}.{field}")) {
            let elsewhere = section == "topics" || ["password", "auth"].iter().any(|field| setting.ends_with(field));
            assert!(elsewhere || documented.contains(&setting), "{setting} is not in docs/configuration.md");
        }
    }
}

#[test]
fn states_are_kept_where_the_platform_says_and_never_where_all_users_write() {
    let dir = |environment: &[(&str, &str)]| {
        let named =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::parse(MINIMAL, Path::new(""), &named).unwrap().state.dir.unwrap().display().to_string()
    };
    let user = [("HOME", "/home/me"), ("TMPDIR", "/tmp")];
    assert_eq!(dir(&user), "/home/me/.local/state/rollbook");
    let xdg = [user[0], ("XDG_STATE_HOME", "/home/me/state")];
    assert_eq!(dir(&xdg), "/home/me/state/rollbook");
    assert_eq!(
        dir(&[user[0], ("XDG_STATE_HOME", "state")]),
        "/home/me/.local/state/rollbook",
        "a relative one is none"
    );
    assert_eq!(dir(&[xdg[1], ("STATE_DIRECTORY", "/var/lib/rollbook:/var/lib/more")]), "/var/lib/rollbook/state");
    assert_eq!(dir(&[]), "/var/lib/rollbook", "a service without a home");
    assert_eq!(parse(&format!("{MINIMAL}[state]\ndir = \"\"\n")).unwrap().state.dir, None);
}
