//! Rights and passwords of a broker's users, changed while it runs. rdkafka has no calls for it, and Kafka's own tools take
//! seconds each, so the three requests are written here as the protocol has them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;

use super::kafka::User;

/// Settings of a broker that asks its users for rights; the tests' own clients, on the plain listener, may do all.
pub const AUTHORIZER: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
    super.users=User:ANONYMOUS\n";

const WITHIN: Duration = Duration::from_secs(30);

const CREATE_ACLS: (i16, i16) = (30, 1);
const DELETE_ACLS: (i16, i16) = (31, 1);
const ALTER_SCRAM: (i16, i16) = (51, 0);

const ANY: u8 = 1;
const LITERAL: u8 = 3;
const DENY: u8 = 2;
const ALLOW: u8 = 3;
const SCRAM_SHA_256: u8 = 1;
const ITERATIONS: i32 = 4096;

#[derive(Clone, Copy, Debug)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    DescribeConfigs = 10,
    IdempotentWrite = 12,
}

/// What a right is about.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    TransactionalId(&'a str),
}

impl Resource<'_> {
    fn parts(&self) -> (u8, &str) {
        match self {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
            Resource::Cluster => (4, "kafka-cluster"),
            Resource::TransactionalId(name) => (5, name),
        }
    }
}

/// The rights of one user, at a broker's plain listener.
pub struct Rights {
    pub bootstrap: String,
    pub user: &'static str,
}

impl Rights {
    /// Everything, on whatever there is.
    pub fn allow_all(&self) {
        let all = [Resource::Topic("*"), Resource::Group("*"), Resource::TransactionalId("*"), Resource::Cluster];
        self.create(&all.map(|resource| (resource, Operation::All)), ALLOW);
    }

    /// These, in place of all that are allowed.
    pub fn allow_only(&self, rights: &[(Resource<'_>, Operation)]) {
        self.delete(ALLOW);
        self.create(rights, ALLOW);
    }

    /// Takes a right away. What is denied is denied, whatever else is allowed.
    pub fn deny(&self, rights: &[(Resource<'_>, Operation)]) {
        self.create(rights, DENY);
    }

    /// Gives back whatever was taken away.
    pub fn give_back(&self) {
        self.delete(DENY);
    }

    fn delete(&self, permission: u8) {
        let mut body = Vec::new();
        body.extend(1_i32.to_be_bytes());
        body.push(ANY);
        string(&mut body, None);
        body.push(LITERAL);
        string(&mut body, Some(&format!("User:{}", self.user)));
        string(&mut body, None);
        body.extend([ANY, permission]);
        let answer = ask(&self.bootstrap, DELETE_ACLS, &[], &body);
        assert_eq!(code_at(&answer, 8), 0, "the rights are changed");
    }

    fn create(&self, rights: &[(Resource<'_>, Operation)], permission: u8) {
        let mut body = Vec::new();
        body.extend(i32::try_from(rights.len()).expect("there are few").to_be_bytes());
        for (resource, operation) in rights {
            let (kind, name) = resource.parts();
            body.push(kind);
            string(&mut body, Some(name));
            body.push(LITERAL);
            string(&mut body, Some(&format!("User:{}", self.user)));
            string(&mut body, Some("*"));
            body.extend([*operation as u8, permission]);
        }
        let answer = ask(&self.bootstrap, CREATE_ACLS, &[], &body);
        // A result without an error is four bytes.
        for place in 0..rights.len() {
            assert_eq!(code_at(&answer, 8 + place * 4), 0, "right {place} is changed");
        }
    }
}

/// Another password for a user, from now on.
pub fn change_password(bootstrap: &str, user: User, password: &str) {
    let salt = b"salt of the tests";
    let mut salted = [0; 32];
    let rounds = usize::try_from(ITERATIONS).expect("it is positive");
    pbkdf2_hmac(password.as_bytes(), salt, rounds, MessageDigest::sha256(), &mut salted).expect("OpenSSL hashes");
    // Compact arrays and texts have their length and one more, as a varint; all are short here.
    let short = |bytes: &[u8]| [&[u8::try_from(bytes.len() + 1).expect("it is short")], bytes].concat();
    let mut body = vec![1, 2];
    body.extend(short(user.name.as_bytes()));
    body.push(SCRAM_SHA_256);
    body.extend(ITERATIONS.to_be_bytes());
    body.extend(short(salt));
    body.extend(short(&salted));
    body.extend([0, 0]);
    let answer = ask(bootstrap, ALTER_SCRAM, &[0], &body);
    // Tags of the header, throttle time, one result: the user, and the code.
    assert_eq!(code_at(&answer, 1 + 4 + 1 + 1 + user.name.len()), 0, "the password is changed");
}

fn code_at(answer: &[u8], place: usize) -> i16 {
    let bytes = answer.get(place..place + 2).and_then(|bytes| bytes.try_into().ok());
    i16::from_be_bytes(bytes.expect("the answer has a code"))
}

fn string(bytes: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(-1, |text| i16::try_from(text.len()).expect("it is short"));
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.unwrap_or_default().as_bytes());
}

/// The answer behind its correlation id.
fn ask(bootstrap: &str, (key, version): (i16, i16), header_tags: &[u8], body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    string(&mut request, Some("tests"));
    request.extend(header_tags);
    request.extend(body);
    let mut broker = TcpStream::connect(bootstrap).expect("the broker listens");
    broker.set_read_timeout(Some(WITHIN)).expect("a time is set");
    broker.write_all(&i32::try_from(request.len()).expect("it is short").to_be_bytes()).expect("the broker reads");
    broker.write_all(&request).expect("the broker reads");
    let mut length = [0; 4];
    broker.read_exact(&mut length).expect("the broker answers");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    broker.read_exact(&mut answer).expect("the broker answers");
    answer.split_off(4)
}
