//! What goes over the wire: a call, the reply to it, and the refusal with Salesforce's own code and words.
//!
//! Errors come in three envelopes that clients tell apart: an array of `errorCode` for REST, an array of `statusCode`
//! inside a row of a collection, an object of `error` for OAuth. One type serves all three, so that a rule states its
//! code and text once, whichever way the row came in.

use serde_json::{Map, Value, json};

/// One HTTP request, or one subrequest of a composite call.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Percent-decoded after the split, so that an encoded slash stays inside its segment.
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Of a `multipart/form-data` body.
    pub parts: Vec<Part>,
    /// Scheme and host that the client used: absolute URLs in answers begin with it.
    pub base_url: String,
}

#[derive(Clone, Debug)]
pub struct Part {
    pub name: String,
    pub content: Vec<u8>,
}

/// A call below `/services/data/vNN.0/`, authenticated and paid for.
pub struct DataCall<'a> {
    pub call: &'a Call,
    pub version: u32,
    /// What follows the version.
    pub path: &'a [&'a str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Empty,
    Json(Value),
    Text { content_type: &'static str, text: String },
}

/// Why a call or a row was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    pub fields: Vec<String>,
    /// `duplicateResult`, which only a single write answers with.
    pub duplicates: Option<Box<Value>>,
}

impl Method {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl Call {
    /// A call from its parts; `target` is path and query as they stood in the request line.
    pub fn new(method: Method, target: &str, base_url: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.split('/').filter(|segment| !segment.is_empty()).map(percent_decode).collect();
        Self {
            method,
            path,
            query: parse_form(query),
            headers: Vec::new(),
            body: Vec::new(),
            parts: Vec::new(),
            base_url: base_url.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Refuses every other method.
    pub fn only(&self, allowed: &[Method]) -> Result<(), Refusal> {
        if allowed.contains(&self.method) {
            return Ok(());
        }
        let names: Vec<&str> = allowed.iter().map(|method| method.name()).collect();
        Err(Refusal::method(self.method, &names.join(",")))
    }

    /// The bearer token, or why there is none.
    pub fn token(&self) -> Result<&str, Refusal> {
        let header = self.header("authorization").ok_or_else(Refusal::session)?;
        match header.split_once(' ') {
            Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("oauth") => {
                Ok(token.trim())
            }
            _ => Err(Refusal::new(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")),
        }
    }

    /// The body as a JSON object.
    pub fn json(&self) -> Result<Map<String, Value>, Refusal> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(Refusal::bad(
                "JSON_PARSER_ERROR",
                "Cannot deserialize request body: an object was expected at [line:1, column:1]",
            )),
            Err(error) => Err(Refusal::bad(
                "JSON_PARSER_ERROR",
                format!("Unexpected token at [line:{}, column:{}]", error.line(), error.column()),
            )),
        }
    }
}

impl DataCall<'_> {
    /// `/services/data/vNN.0`
    pub fn base(&self) -> String {
        format!("/services/data/v{}.0", self.version)
    }
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(body) }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty }
    }

    pub fn text(status: u16, content_type: &'static str, text: String) -> Self {
        Self { status, headers: Vec::new(), body: Body::Text { content_type, text } }
    }

    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: Vec::new(), duplicates: None }
    }

    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    #[must_use]
    pub fn on(mut self, field: impl Into<String>) -> Self {
        self.fields.push(field.into());
        self
    }

    pub fn session() -> Self {
        Self::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn method(method: Method, allowed: &str) -> Self {
        let name = method.name();
        Self::new(405, "METHOD_NOT_ALLOWED", format!("HTTP Method '{name}' not allowed. Allowed are {allowed}"))
    }

    /// The addressed record does not exist.
    pub fn no_record() -> Self {
        Self::new(404, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    }

    pub fn no_column(field: &str, object: &str) -> Self {
        Self::bad("INVALID_FIELD", format!("No such column '{field}' on sobject of type {object}"))
    }

    pub fn read_only(fields: Vec<String>) -> Self {
        let mut refusal = Self::bad(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify that \
                 it is read/write for your profile or permission set.",
                fields.join(", ")
            ),
        );
        refusal.fields = fields;
        refusal
    }

    pub fn envelope(&self) -> Value {
        let mut error = json!({ "message": self.message, "errorCode": self.code });
        if let (false, Some(error)) = (self.fields.is_empty(), error.as_object_mut()) {
            error.insert("fields".into(), json!(self.fields));
        }
        if let (Some(duplicates), Some(error)) = (&self.duplicates, error.as_object_mut()) {
            error.insert("duplicateResult".into(), (**duplicates).clone());
        }
        json!([error])
    }

    /// The same error as a row of a collection reports it.
    pub fn row_error(&self) -> Value {
        json!({ "statusCode": self.code, "message": self.message, "fields": self.fields })
    }

    pub fn reply(&self) -> Reply {
        Reply::json(self.status, self.envelope())
    }
}

/// `a=b&c=d` with plus signs for blanks.
pub fn parse_form(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_decode(&part.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// Decodes `%41`; what is not two hex digits stays as it is.
pub fn percent_decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| byte == b'%').and_then(|two| std::str::from_utf8(two).ok());
        if let Some(decoded) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(decoded);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let call = Call::new(Method::Get, "/a%2Fb/c%20d//?q=x+y%2B%zz", "http://h");
        assert_eq!(call.path, ["a/b", "c d"]);
        assert_eq!(call.param("q"), Some("x y+%zz"));
    }
}
