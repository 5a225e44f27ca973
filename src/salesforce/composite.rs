//! Several requests in one call, which costs one: up to five collections or queries, one after the other.
//!
//! The answer is 200 whatever became of the parts; each has a status and a body of its own. Texts of a body that read
//! like `@{name.path}` are references to earlier answers, wherever they come from: rows that hold such a text by chance
//! must be sent in a call that has no parts.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::collections::rows_of;
use super::wire::{QueryPage, Record, SaveResult};
use super::{Client, Error, query};

/// One collection of a save.
#[derive(Debug)]
pub struct Collection {
    pub target: Target,
    pub rows: Vec<Record>,
    /// How later collections refer to the results of this one.
    pub reference: String,
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Upserts of this object, by the external id that this field has.
    Upsert { object: &'static str, external_id: &'static str },
    /// Updates by the `id` that each row holds.
    Update,
}

struct Part {
    method: Method,
    path: String,
    reference: String,
    body: Option<Value>,
}

#[derive(Deserialize)]
struct Answers {
    #[serde(rename = "compositeResponse")]
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    body: Value,
    http_status_code: u16,
    reference_id: String,
}

impl Client {
    /// Saves collections in their order, in one call. Each has results of its own, or is refused as a whole.
    pub async fn save(&self, mut collections: Vec<Collection>) -> Result<Vec<Result<Vec<SaveResult>, Error>>, Error> {
        if collections.len() == 1
            && let Some(Collection { target, rows, .. }) = collections.pop()
        {
            let results = match target {
                Target::Upsert { object, external_id } => self.upsert(object, external_id, rows).await?,
                Target::Update => self.update(rows).await?,
            };
            return Ok(vec![Ok(results)]);
        }
        let sent: Vec<usize> = collections.iter().map(|collection| collection.rows.len()).collect();
        let parts = collections.into_iter().map(|Collection { target, rows, reference }| {
            let path = match target {
                Target::Upsert { object, external_id } => {
                    self.path(&format!("composite/sobjects/{object}/{external_id}"))
                }
                Target::Update => self.path("composite/sobjects"),
            };
            Part { method: Method::PATCH, path, reference, body: Some(rows_of(rows)) }
        });
        let answers = self.composite(parts.collect()).await?;
        let results = answers.into_iter().zip(sent).map(|(answer, sent)| {
            let results: Vec<SaveResult> = self.part(answer)?;
            if results.len() == sent { Ok(results) } else { Err(Error::Body { status: 200 }) }
        });
        Ok(results.collect())
    }

    /// The records of some queries, in one call. Each query must have no more results than fit on one page.
    pub async fn query_all(&self, queries: &[String]) -> Result<Vec<Record>, Error> {
        self.queries(query::LIVE, queries).await
    }

    /// The same, records of the recycle bin included.
    pub async fn query_with_deleted(&self, queries: &[String]) -> Result<Vec<Record>, Error> {
        self.queries(query::WITH_DELETED, queries).await
    }

    async fn queries(&self, kind: &str, queries: &[String]) -> Result<Vec<Record>, Error> {
        if let [soql] = queries {
            return self.pages(&query::resource(kind, soql)).await;
        }
        let part = |(number, soql): (usize, &String)| Part {
            method: Method::GET,
            path: self.path(&query::resource(kind, soql)),
            reference: format!("query{number}"),
            body: None,
        };
        let mut records = Vec::new();
        for answer in self.composite(queries.iter().enumerate().map(part).collect()).await? {
            let mut page: QueryPage = self.part(answer)?;
            if !page.done {
                return Err(Error::Body { status: 200 });
            }
            records.append(&mut page.records);
        }
        Ok(records)
    }

    async fn composite(&self, parts: Vec<Part>) -> Result<Vec<Answer>, Error> {
        let references: Vec<String> = parts.iter().map(|part| part.reference.clone()).collect();
        let requests = parts.into_iter().map(|Part { method, path, reference, body }| {
            let mut request = json!({ "method": method.as_str(), "url": path, "referenceId": reference });
            if let (Some(body), Some(request)) = (body, request.as_object_mut()) {
                request.insert("body".to_owned(), body);
            }
            request
        });
        // Without `collateSubrequests` the parts are carried out in their order.
        let body = json!({
            "allOrNone": false, "collateSubrequests": false, "compositeRequest": requests.collect::<Vec<_>>(),
        });
        let Answers { answers } = self.call(Method::POST, &self.path("composite"), Some(&body)).await?;
        // An answer that cannot be told to its part is no answer.
        let told = answers.iter().map(|answer| &answer.reference_id).eq(&references);
        if told { Ok(answers) } else { Err(Error::Body { status: 200 }) }
    }

    fn part<T: serde::de::DeserializeOwned>(&self, answer: Answer) -> Result<T, Error> {
        let Answer { body, http_status_code: status, .. } = answer;
        if (200..300).contains(&status) {
            serde_json::from_value(body).map_err(|_| Error::Body { status })
        } else {
            Err(self.refused(status, serde_json::from_value(body).ok()))
        }
    }
}
