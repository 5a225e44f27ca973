//! Asks a schema registry, by Confluent's API, for the schema behind an id.

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};

/// A client of the registry.
pub struct Registry {
    http: Client,
    url: String,
    user: Option<(String, Option<SecretString>)>,
}

/// The registry did not answer, or not as it should; asking again may help.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the registry's client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("cannot read `{path}`")]
    Authority { path: String, source: std::io::Error },
    #[error("the registry cannot be asked")]
    Request(#[source] reqwest::Error),
    #[error("the registry answered {0}")]
    Status(StatusCode),
}

#[derive(serde::Deserialize)]
struct Answer {
    schema: String,
}

impl Registry {
    pub fn new(config: &crate::config::Registry) -> Result<Self, RegistryError> {
        let mut http = Client::builder().timeout(std::time::Duration::from_secs(10));
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path)
                .map_err(|source| RegistryError::Authority { path: path.display().to_string(), source })?;
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&pem).map_err(RegistryError::Client)?);
        }
        let user = config.username.clone().map(|name| (name, config.password.clone()));
        Ok(Self {
            http: http.build().map_err(RegistryError::Client)?,
            url: config.url.trim_end_matches('/').to_owned(),
            user,
        })
    }

    /// None: the registry says that there is no such schema.
    pub async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let mut request = self.http.get(format!("{}/schemas/ids/{id}", self.url));
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, password.as_ref().map(ExposeSecret::expose_secret));
        }
        let answer = request.send().await.map_err(|error| RegistryError::Request(error.without_url()))?;
        match answer.status() {
            StatusCode::OK => {
                let answer: Answer =
                    answer.json().await.map_err(|error| RegistryError::Request(error.without_url()))?;
                Ok(Some(answer.schema))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(RegistryError::Status(status)),
        }
    }
}
