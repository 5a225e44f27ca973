//! The HTTP server around the service: reads a call, lets a fault hit it, hands it to the room that answers it.

mod listen;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::auth::Credentials;
use super::fault::{Fault, FaultAction};
use super::org::Org;
use super::pace::pause;
use super::service::{self, Options, Shared};
use super::under_way::Ticket;
use super::wire::{Body, Call, Method, Part, Refusal, Reply};
use super::{bulk, control, rest};
use listen::{Cut, CutListener};

/// Larger request bodies are refused; 200 rows of a collection never come near it.
const BODY_BYTES_MAX: usize = 50 << 20;
/// The rows of a bulk job.
const UPLOAD_BYTES_MAX: usize = 150 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("serving failed")]
    Serve(#[source] std::io::Error),
    #[error(transparent)]
    Service(#[from] service::Error),
}

/// A running emulator, for tests and the demo. Dropping it stops it.
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
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

async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    // Dropped with this future, however that ends.
    let mut workers = JoinSet::new();
    for _ in 0..bulk::WORKERS {
        workers.spawn(bulk::run(Arc::clone(&shared)));
    }
    let service = Router::new().fallback(handle).with_state(shared).into_make_service_with_connect_info::<Cut>();
    let serving = axum::serve(CutListener(listener), service).with_graceful_shutdown(shutdown);
    serving.await.map_err(Error::Serve)
}

async fn handle(State(shared): State<Arc<Shared>>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let call = match read(request).await {
        Ok(call) => call,
        Err(reply) => return respond(reply),
    };
    if call.path.first().is_some_and(|first| first == "emulator") {
        return respond(control::respond(&shared, &call));
    }
    // On a task of its own: a client that hangs up does not stop what it began.
    match tokio::spawn(carry_out(shared, call)).await {
        Ok(Some(reply)) => respond(reply),
        Ok(None) => {
            cut.cut();
            // Nobody reads this.
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// None: the connection is to be cut.
async fn carry_out(shared: Arc<Shared>, call: Call) -> Option<Reply> {
    let _ticket = match admit(&shared, &call) {
        Ok(ticket) => ticket,
        Err(reply) => return Some(reply),
    };
    pause(shared.pace.latency).await;
    let fault = shared.lock().faults.take(&call);
    let Some((delay, action)) = fault else { return Some(answer(&shared, &call).await) };
    shared.lock().counters.hit(&action);
    pause(delay).await;
    match action {
        FaultAction::Answer { status, body } => {
            let kind = if body.starts_with('<') { "text/html" } else { "application/json;charset=UTF-8" };
            shared.lock().counters.answered(&call, status);
            Some(Reply::text(status, kind, body))
        }
        FaultAction::CutBefore => None,
        FaultAction::CutAfter => {
            answer(&shared, &call).await;
            None
        }
        FaultAction::Proceed => Some(answer(&shared, &call).await),
    }
}

/// Logins and what is not the REST API last as long as they like.
fn admit<'a>(shared: &'a Shared, call: &Call) -> Result<Option<Ticket<'a>>, Reply> {
    if !call.path.iter().take(2).eq(["services", "data"]) {
        return Ok(None);
    }
    shared.under_way.enter().map(Some).map_err(|refusal| {
        let counters = &mut shared.lock().counters;
        counters.answered(call, refusal.status);
        counters.refused(refusal.code);
        refusal.reply().with_header("Sforce-Limit-Info", counters.limit_info())
    })
}

async fn answer(shared: &Shared, call: &Call) -> Reply {
    shared.transact(|service, turn| rest::respond(service, call, turn)).await
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
    let upload = call.path.last().is_some_and(|last| last.eq_ignore_ascii_case("batches"));
    let body = to_bytes(body, if upload { UPLOAD_BYTES_MAX } else { BODY_BYTES_MAX })
        .await
        .map_err(|_| Reply::text(413, "text/html", "<h1>Request Entity Too Large</h1>".into()))?;
    if call.header("content-type").is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let request = Request::from_parts(parts, HttpBody::from(body.clone()));
        // What cannot be read has no parts; the resource says which it misses.
        call.parts = read_parts(request).await.unwrap_or_default();
    }
    call.body = body.into();
    Ok(call)
}

async fn read_parts(mut request: Request) -> Option<Vec<Part>> {
    // The body is read already, up to a limit of its own.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.ok()?;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.ok()? {
        let name = field.name().unwrap_or_default().to_owned();
        parts.push(Part { name, content: field.bytes().await.ok()?.into() });
    }
    Some(parts)
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
        let mut service = self.shared.lock();
        let result = work(&mut service.org);
        if let Err(error) = service.org.commit() {
            tracing::error!(error = &error as &dyn std::error::Error, "direct changes were not kept");
        }
        service.count_changes();
        result
    }

    pub fn add_fault(&self, fault: Fault) {
        self.shared.lock().faults.add(fault);
    }

    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// The consumer's secret is another from now on; tokens that were given stay good.
    pub fn set_client_secret(&self, secret: SecretString) {
        self.shared.lock().sessions.set_client_secret(secret);
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
