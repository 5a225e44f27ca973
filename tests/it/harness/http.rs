//! Requests of the tests to servers that they started. Blocking, and usable from async tests too.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::runtime::{Builder, Runtime};

/// No server of a test takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub fn get(url: &str) -> Result<Answer, String> {
    send(client().get(url))
}

pub fn post(url: &str, content_type: &str, body: &str) -> Result<Answer, String> {
    send(client().post(url).header(CONTENT_TYPE, content_type).body(body.to_owned()))
}

/// For requests that need more than the two above.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("the settings are constant")
    });
    &CLIENT
}

pub fn send(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    block_on(async {
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.text().await.map_err(|error| format!("{error:?}"))? })
    })
}

/// Runs a future from anywhere: on a thread of its own, since a runtime cannot be entered twice on one thread.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads can be started")
    });
    thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(future)).join().expect("the future does not panic"))
}
