//! How a job's CSV is written, as its description asks for it.

use serde_json::Value;

use crate::emulator::org::Body;
use crate::emulator::wire::Refusal;

/// How the columns and lines of a job's CSV end.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    delimiter: (&'static str, u8),
    pub crlf: bool,
}

const DELIMITERS: [(&str, u8); 6] =
    [("COMMA", b','), ("BACKQUOTE", b'`'), ("CARET", b'^'), ("PIPE", b'|'), ("SEMICOLON", b';'), ("TAB", b'\t')];

impl Format {
    /// What a new job asks for; commas and line feeds if it does not ask.
    pub fn parse(body: &Body) -> Result<Self, Refusal> {
        let delimiter = choice(body, "columnDelimiter")?.unwrap_or("COMMA");
        let known = DELIMITERS.into_iter().find(|(name, _)| *name == delimiter);
        let delimiter = known.ok_or_else(|| unknown_choice("columnDelimiter", delimiter))?;
        let crlf = match choice(body, "lineEnding")? {
            None | Some("LF") => false,
            Some("CRLF") => true,
            Some(other) => return Err(unknown_choice("lineEnding", other)),
        };
        Ok(Self { delimiter, crlf })
    }

    pub fn delimiter_name(self) -> &'static str {
        self.delimiter.0
    }

    pub fn delimiter(self) -> u8 {
        self.delimiter.1
    }

    /// As a new job asks for it.
    pub fn describe(self) -> Body {
        let named = [("columnDelimiter", self.delimiter.0), ("lineEnding", self.line_ending())];
        named.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    pub fn line_ending(self) -> &'static str {
        if self.crlf { "CRLF" } else { "LF" }
    }
}

/// A member of a job's description that must be a text.
pub fn choice<'a>(body: &'a Body, name: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::bad("JSON_PARSER_ERROR", format!("{name} must be a string at [line:1, column:2]"))),
    }
}

pub fn unknown_choice(name: &str, value: &str) -> Refusal {
    Refusal::bad("INVALIDJOB", format!("InvalidJob : Invalid value for {name}: {value}"))
}
