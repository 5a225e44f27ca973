//! One port for `/metrics`, `/livez`, `/readyz` and `/status`: it shows what others tell, and decides nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::status::Status;

/// Where `rollbook status` asks.
pub const STATUS_PATH: &str = "/status";

/// The port, bound but not served yet, so that a taken one is an error at start.
pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Server {
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Serves until `stop` is true.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let stopped = async move {
            // A sender that is gone means the same.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        axum::serve(self.listener, router(metrics, health)).with_graceful_shutdown(stopped).await
    }
}

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    let health_routes = Router::new()
        .route("/livez", get(serve_live))
        .route("/readyz", get(serve_ready))
        .with_state(Arc::clone(&health));
    let both = Router::new().route("/metrics", get(serve_metrics)).route(STATUS_PATH, get(serve_status));
    both.with_state((metrics, health)).merge(health_routes)
}

async fn serve_metrics(State((metrics, health)): State<(Arc<Metrics>, Arc<Health>)>) -> impl IntoResponse {
    metrics.ready.set(health.ready().0.into());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render())
}

async fn serve_live(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let (live, loops) = health.live();
    (status(live), Json(json!({ "live": live, "loops": loops })))
}

async fn serve_ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let (ready, loops) = health.ready();
    (status(ready), Json(json!({ "ready": ready, "loops": loops })))
}

async fn serve_status(State((metrics, health)): State<(Arc<Metrics>, Arc<Health>)>) -> impl IntoResponse {
    Json(Status::of(&metrics, &health, Timestamp::now()))
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
