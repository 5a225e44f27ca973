//! The `sf` command line, unmodified, against the emulator: it logs in, queries, and deploys the tree of
//! `deploy/salesforce` into an org that has nothing of it, by SOAP and by REST.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use rollbook::emulator::schema::Schema;
use rollbook::emulator::{Emulator, JwtKey, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness;

/// An emulated org without the tree, a project with it, and a command line with a home of its own.
struct Scene {
    emulator: Emulator,
    key: PKey<Private>,
    folder: TempDir,
    node: PathBuf,
    cli: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let key: PKey<Private> = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
        let mut options = Options::new(Schema::standard());
        options.credentials.jwt_key = JwtKey::from_pem(&key.public_key_to_pem().expect("PEM")).expect("a public key");
        let emulator = Emulator::start(options).await.expect("a free port");
        let packages = harness::node("tests/clients/sf").join("node_modules");
        let node = ["x64", "arm64"].map(|cpu| packages.join(format!("node-linux-{cpu}/bin/node")));
        let node = node.into_iter().find(|node| node.exists()).expect("npm installs the one for this machine");
        let folder = TempDir::new_in(harness::folder()).expect("the folder is writable");
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/salesforce");
        copy(&tree, &folder.path().join("project"));
        Self { emulator, key, folder, node, cli: packages.join("@salesforce/cli/bin/run.js") }
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Exit code and what `--json` prints.
    fn sf(&self, line: &str, more: &[(&str, &str)]) -> (i32, Value) {
        // A blank inside of an argument is written as one that does not break.
        let arguments = line.split(' ').map(|argument| argument.replace('\u{a0}', " "));
        let mut command = Command::new(&self.node);
        command.arg(&self.cli).args(arguments).arg("--json").current_dir(self.project());
        command.env("HOME", self.folder.path()).envs(more.iter().copied());
        for setting in [
            "SF_DISABLE_TELEMETRY",
            "SF_AUTOUPDATE_DISABLE",
            "SF_SKIP_NEW_VERSION_CHECK",
            "SF_USE_GENERIC_UNIX_KEYCHAIN",
        ] {
            command.env(setting, "true");
        }
        let output = command.output().expect("node starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let said = serde_json::from_str(&said).unwrap_or_else(|error| {
            panic!("sf {line}: {error}: {said}{}", String::from_utf8_lossy(&output.stderr));
        });
        (output.status.code().unwrap_or(-1), said)
    }

    #[track_caller]
    fn works(&self, line: &str, more: &[(&str, &str)]) -> Value {
        let (code, mut said) = self.sf(line, more);
        assert_eq!(code, 0, "sf {line}: {said:#}");
        said["result"].take()
    }

    fn log_in_with_a_token(&self) {
        let line =
            format!("org login access-token --instance-url {} --no-prompt --alias emu", self.emulator.base_url());
        let said = self.works(&line, &[("SF_ACCESS_TOKEN", &self.emulator.token())]);
        assert_eq!(said["username"], self.emulator.credentials().username);
    }

    fn log_in_with_a_key(&self) {
        let file = self.folder.path().join("key.pem");
        fs::write(&file, self.key.private_key_to_pem_pkcs8().expect("PEM")).expect("the folder is writable");
        let credentials = self.emulator.credentials();
        let line = format!(
            "org login jwt --client-id {} --jwt-key-file {} --username {} --instance-url {} --alias emu",
            credentials.client_id,
            file.display(),
            credentials.username,
            self.emulator.base_url()
        );
        assert_eq!(self.works(&line, &[])["username"], credentials.username);
    }

    /// What the integration user sees of the org.
    fn schema(&self) -> Vec<String> {
        let schema = self.emulator.with_org(|org| org.schema());
        described(&schema)
    }
}

/// Objects and fields in an order of their own: a deployment comes in another one than the tree.
fn described(schema: &Schema) -> Vec<String> {
    let fields = schema.objects().flat_map(|object| object.fields.iter().map(move |field| (object, field)));
    let mut all: Vec<String> = fields.map(|(object, field)| format!("{} {field:?}", object.name)).collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is writable");
    for entry in fs::read_dir(from).expect("the tree is readable").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).expect("the folder is writable");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sf_deploys_the_tree_by_soap() {
    let scene = Scene::new().await;
    scene.log_in_with_a_token();
    let before = scene.schema();
    let dry = scene.works("project deploy start -d force-app --dry-run --wait 2 -o emu", &[]);
    assert_eq!((&dry["success"], &dry["checkOnly"]), (&json!(true), &json!(true)));
    assert_eq!(scene.schema(), before, "a dry run changes nothing");
    let deployed = scene.works("project deploy start -d force-app --wait 2 -o emu", &[]);
    assert_eq!((&deployed["status"], &deployed["numberComponentErrors"]), (&json!("Succeeded"), &json!(0)));
    assert_eq!(scene.schema(), described(&Schema::load_embedded()));
    assert!(scene.emulator.calls("metadata_soap") > 0 && scene.emulator.calls("metadata_rest") == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sf_deploys_the_tree_by_rest_and_queries() {
    let scene = Scene::new().await;
    scene.log_in_with_a_key();
    let deployed =
        scene.works("project deploy start -d force-app --wait 2 -o emu", &[("SF_ORG_METADATA_REST_DEPLOY", "true")]);
    assert_eq!((&deployed["status"], &deployed["numberComponentErrors"]), (&json!("Succeeded"), &json!(0)));
    assert_eq!(scene.schema(), described(&Schema::load_embedded()));
    assert!(scene.emulator.calls("metadata_rest") > 0 && scene.emulator.calls("metadata_soap") == 0);
    let row = json!({ "external_id__c": "a_b", "plays__c": 2 });
    scene.emulator.with_org(|org| org.put("UserSessionEngagement__c", row)).expect("the object is there");
    let found = scene
        .works("data query -o emu -q SELECT\u{a0}external_id__c,plays__c\u{a0}FROM\u{a0}UserSessionEngagement__c", &[]);
    assert_eq!((found["totalSize"].as_u64(), found["records"][0]["plays__c"].as_f64()), (Some(1), Some(2.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sf_shows_what_is_wrong_with_a_component() {
    let scene = Scene::new().await;
    scene.log_in_with_a_token();
    let fields = scene.project().join("force-app/main/default/objects/UserSessionEngagement__c/fields");
    let file = fields.join("plays__c.field-meta.xml");
    let text = fs::read_to_string(&file).expect("the field is there");
    fs::write(&file, text.replace("<type>Number</type>", "<type>Hat</type>")).expect("the folder is writable");
    let before = scene.schema();
    let (code, said) = scene.sf("project deploy start -d force-app --wait 2 -o emu", &[]);
    assert_ne!(code, 0, "{said:#}");
    let failures = said["result"]["details"]["componentFailures"].as_array().cloned().unwrap_or_default();
    let wanted = "Error parsing file: 'Hat' is not a valid value for the enum 'FieldType'";
    assert!(failures.iter().any(|failure| failure["problem"] == wanted), "{said:#}");
    assert_eq!(scene.schema(), before, "nothing of it was deployed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_commands_load_read_back_and_export() {
    let scene = Scene::new().await;
    scene.log_in_with_a_token();
    let file = |name: &str, text: &str| {
        fs::write(scene.project().join(name), text).expect("the folder is writable");
        name.to_owned()
    };
    let header = "LastName,Company,Email\n".to_owned();
    let leads = (0..250).fold(header, |csv, at| csv + &format!("Example,Ltd,lead{at}@example.com\n"));
    let leads = file("leads.csv", &leads);
    let said = scene.works(&format!("data import bulk -s Lead -f {leads} --line-ending LF --wait 2 -o emu"), &[]);
    assert_eq!((&said["processedRecords"], &said["failedRecords"]), (&json!(250), &json!(0)), "{said}");

    let changes = "Email,LastName,Company,Title\nlead0@example.com,Changed,Ltd,\nnew@example.com,New,Ltd,\nlead1@example.com,,,#N/A\nbad,Bad,Ltd,\n";
    let changes = file("changes.csv", changes);
    let line = format!("data upsert bulk -s Lead -f {changes} -i Email --line-ending LF --wait 2 -o emu");
    let (_, said) = scene.sf(&line, &[]);
    let job = said["result"]["jobInfo"]["id"].as_str().or(said["data"]["jobId"].as_str());
    let job = job.unwrap_or_else(|| panic!("{said:#}"));
    let said = scene.works(&format!("data bulk results -i {job} -o emu"), &[]);
    let counts = ["processedRecords", "successfulRecords", "failedRecords"].map(|name| said[name].as_u64());
    assert_eq!(counts, [Some(4), Some(3), Some(1)], "{said:#}");
    let failed = said["failedFilePath"].as_str().expect("a file");
    let failed = fs::read_to_string(scene.project().join(failed)).expect("it was written");
    assert!(failed.contains("INVALID_EMAIL_ADDRESS:Email: invalid email address: bad:Email --"), "{failed}");

    let query = "SELECT Email, LastName FROM Lead ORDER BY Email".replace(' ', "\u{a0}");
    let line = format!("data export bulk -q {query} --output-file out.csv --wait 2 -o emu");
    let said = scene.works(&line, &[]);
    assert_eq!(said["totalSize"], 251, "{said:#}");
    let exported = fs::read_to_string(scene.project().join("out.csv")).expect("it was written");
    assert_eq!(exported.lines().count(), 252);
    assert!(exported.contains("Changed"), "{exported}");
}
