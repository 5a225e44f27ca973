//! The wish to stop, seen by threads and tasks alike.

use std::sync::Arc;

use tokio::sync::watch;

/// Cloned to everybody who must stop.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Shutdown {
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// True from the request on.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Returns when the shutdown is requested.
    pub async fn wait(&self) {
        let mut wish = self.0.subscribe();
        wish.wait_for(|requested| *requested).await.expect("the sender lives as long as its handle");
    }
}
