//! Letters as JSON.

use serde_json::{Value, json};

use crate::cli::time;
use crate::letters::Letter;

/// Without key, value, headers and detail: nothing personal.
pub(super) fn line_json(letter: &Letter) -> Value {
    json!({
        "position": letter.position(),
        "at": time(letter.at()),
        "stage": letter.stage(),
        "reason": letter.reason(),
        "source": letter.source(),
        "object": letter.content.object,
    })
}

pub(super) fn whole_json(letter: &Letter) -> Value {
    let content = &letter.content;
    let headers = content.headers.iter().map(|(key, value)| (key.clone(), value.as_deref().map_or(Value::Null, bytes)));
    json!({
        "position": letter.position(),
        "at": time(letter.at()),
        "stage": letter.stage(),
        "reason": letter.reason(),
        "detail": content.detail,
        "hint": content.hint,
        "attempts": content.attempts,
        "object": content.object,
        "external_id": content.external_id,
        "fields": content.fields,
        "cut": content.cut.as_ref().map(|cut| json!({ "value_bytes": cut.value_bytes, "xxh3": cut.digest })),
        "source": {
            "topic": content.topic,
            "partition": content.partition,
            "offset": content.offset,
            "timestamp": content.timestamp.map(time),
            "key": content.key.as_deref().map(bytes),
            "headers": headers.map(|(key, value)| json!([key, value])).collect::<Value>(),
            "value": content.value.as_deref().map(bytes),
        },
    })
}

/// Text where it is one, as JSON where it is that; base64 otherwise.
fn bytes(bytes: &[u8]) -> Value {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let object = serde_json::from_str(text).ok().filter(Value::is_object);
            object.unwrap_or_else(|| text.into())
        }
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}
