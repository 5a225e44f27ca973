mod config;
mod metrics;
