//! The HTTP server around the org: reads a call, lets a fault hit it, answers it under one lock.

mod listen;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::auth::{Credentials, Identity, JwtKey, Sessions};
use super::fault::{Fault, FaultAction, Faults};
use super::org::{JournalError, Org};
use super::schema::Schema;
use super::wire::{Body, Call, Method, Refusal, Reply};
use super::{control, rest};
use listen::{Cut, CutListener};

/// Larger request bodies are refused; 200 rows of a collection never come near it.
const BODY_BYTES_MAX: usize = 50 << 20;

/// How the emulator is set up.
#[derive(Clone)]
pub struct Options {
    pub schema: Schema,
    /// Where changes are kept. None: in memory only.
    pub data: Option<PathBuf>,
    pub credentials: Credentials,
    /// Calls per 24 hours; the default is a developer org's.
    pub daily_api_requests: u64,
    /// Token of the control surface under `/emulator`.
    pub control_token: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("serving failed")]
    Serve(#[source] std::io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A running emulator, for tests and the demo. Dropping it stops it.
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

/// What all connections share.
pub struct Shared {
    pub(super) state: Mutex<Service>,
    pub(super) control_token: SecretString,
}

/// Everything behind the lock.
pub struct Service {
    pub org: Org,
    pub sessions: Sessions,
    pub faults: Faults,
    pub counters: control::Counters,
    pub cursors: rest::Cursors,
}

impl Options {
    /// An emulator in memory with credentials of its own making.
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            data: None,
            credentials: Credentials {
                client_id: "rollbook".into(),
                client_secret: random_secret(),
                jwt_key: JwtKey::None,
                username: "integration@rollbook.example".into(),
                password: None,
                refresh_token: None,
                rotate_refresh_tokens: false,
                token_lifetime: None,
            },
            daily_api_requests: 15_000,
            control_token: random_secret(),
        }
    }
}

/// A secret nobody can guess.
pub fn random_secret() -> SecretString {
    let mut bytes = [0_u8; 24];
    openssl::rand::rand_bytes(&mut bytes).expect("the system's source of randomness answers");
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// Serves until `shutdown` is done. `announce` is called when the org is there.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    announce: impl FnOnce(),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let shared = Shared::open(options)?;
    announce();
    run(listener, shared, shutdown).await
}

impl Shared {
    fn open(options: Options) -> Result<Arc<Self>, Error> {
        let org = Org::open(options.schema, options.data.as_deref(), &options.credentials.username)?;
        let identity = Identity {
            org_id: org.org_id().to_owned(),
            user_id: org.user_id().to_owned(),
            username: options.credentials.username.clone(),
        };
        let service = Service {
            org,
            sessions: Sessions::new(options.credentials, identity),
            faults: Faults::default(),
            counters: control::Counters::new(options.daily_api_requests),
            cursors: rest::Cursors::default(),
        };
        Ok(Arc::new(Self { state: Mutex::new(service), control_token: options.control_token }))
    }

    /// A panic in one request must not take the org away from all others.
    pub(super) fn lock(&self) -> MutexGuard<'_, Service> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let service = Router::new().fallback(handle).with_state(shared).into_make_service_with_connect_info::<Cut>();
    let serving = axum::serve(CutListener(listener), service).with_graceful_shutdown(shutdown);
    serving.await.map_err(Error::Serve)
}

async fn handle(State(shared): State<Arc<Shared>>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().as_str().to_owned();
    let call = match read(request).await {
        Ok(call) => call,
        Err(reply) => return respond(reply),
    };
    if call.path.first().is_some_and(|first| first == "emulator") {
        return respond(control::respond(&shared, &call));
    }
    let fault = shared.lock().faults.take(&method, &path);
    let action = match fault {
        Some((delay, action)) => {
            tokio::time::sleep(delay).await;
            action
        }
        None => FaultAction::Proceed,
    };
    match action {
        FaultAction::Answer { status, body } => {
            let kind = if body.starts_with('<') { "text/html" } else { "application/json;charset=UTF-8" };
            shared.lock().counters.answered(&call, status);
            return respond(Reply::text(status, kind, body));
        }
        FaultAction::CutBefore => cut.cut(),
        FaultAction::CutAfter => {
            rest::respond(&mut shared.lock(), &call);
            cut.cut();
        }
        FaultAction::Proceed => return respond(rest::respond(&mut shared.lock(), &call)),
    }
    // The connection is cut: nobody reads this.
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

async fn read(request: Request) -> Result<Call, Reply> {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let base_url = format!("http://{}", header(header::HOST).unwrap_or("localhost"));
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut name = parts.method.as_str();
    if target.len() > 16_384 {
        return Err(Refusal::new(414, "URI_TOO_LONG", "Maximum size of request URI exceeded").reply());
    }
    let mut call = Call::new(Method::Get, target, &base_url);
    if name == "POST" {
        name = call.query.iter().find(|(key, _)| key == "_HttpMethod").map_or(name, |(_, value)| value);
    }
    let Some(method) = Method::parse(name) else {
        return Err(Refusal::new(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed").reply());
    };
    call.method = method;
    call.headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    call.body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| Reply::text(413, "text/html", "<h1>Request Entity Too Large</h1>".into()))?
        .into();
    Ok(call)
}

fn respond(reply: Reply) -> Response {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let response = match reply.body {
        Body::Empty => response.body(HttpBody::empty()),
        Body::Json(value) => response
            .header(header::CONTENT_TYPE, "application/json;charset=UTF-8")
            .body(HttpBody::from(value.to_string())),
        Body::Text { content_type, text } => {
            response.header(header::CONTENT_TYPE, content_type).body(HttpBody::from(text))
        }
    };
    response.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Emulator {
    /// Starts on a free loopback port.
    pub async fn start(options: Options) -> Result<Self, Error> {
        Self::start_at(options, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    pub async fn start_at(options: Options, address: SocketAddr) -> Result<Self, Error> {
        let listening = TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = listening.map_err(|source| Error::Listen { address, source })?;
        let shared = Shared::open(options)?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A dropped sender means the same as a sent word: stop.
            stopped.await.ok();
        };
        let task = tokio::spawn(run(listener, Arc::clone(&shared), shutdown));
        Ok(Self { shared, address, stop: Some(stop), task })
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Finishes the calls under way, then stops.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.take();
        (&mut self.task).await.unwrap_or(Ok(()))
    }

    pub fn credentials(&self) -> Credentials {
        self.shared.lock().sessions.credentials().clone()
    }

    /// Works on the org directly: reads for comparisons, inserts for the demo. Holds up every call meanwhile; what it
    /// changed is one transaction.
    pub fn with_org<T>(&self, work: impl FnOnce(&mut Org) -> T) -> T {
        let org = &mut self.shared.lock().org;
        let result = work(org);
        if let Err(error) = org.commit() {
            tracing::error!(error = &error as &dyn std::error::Error, "direct changes were not kept");
        }
        result
    }

    pub fn add_fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    pub fn expire_tokens(&self) {
        self.shared.lock().sessions.expire_all();
    }

    /// A token without a login.
    pub fn token(&self) -> String {
        self.shared.lock().sessions.issue()
    }

    /// API calls counted against the daily limit so far.
    pub fn api_calls(&self) -> u64 {
        self.shared.lock().counters.api_calls()
    }

    /// Answers so far by kind of resource, for example `collections_upsert`.
    pub fn calls(&self, kind: &str) -> u64 {
        self.shared.lock().counters.of_kind(kind)
    }

    pub fn set_daily_api_requests(&self, limit: u64) {
        self.shared.lock().counters.set_limit(limit);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if self.stop.take().is_some() {
            self.task.abort();
        }
    }
}
