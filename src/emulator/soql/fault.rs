//! Refused queries, told as Salesforce tells them: the line, a caret below the place, then what is wrong.

use std::fmt;

/// Why a query was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: Code,
    pub message: String,
}

/// `errorCode` of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    MalformedQuery,
    InvalidField,
    InvalidType,
    InvalidQueryFilterOperator,
    NumberOutsideValidRange,
}

/// A refusal before it is told: where in the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub code: Code,
    /// Byte offset into the query.
    pub at: usize,
    pub problem: String,
}

/// Characters shown before and after the place.
const SHOWN: usize = 40;

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedQuery => "MALFORMED_QUERY",
            Self::InvalidField => "INVALID_FIELD",
            Self::InvalidType => "INVALID_TYPE",
            Self::InvalidQueryFilterOperator => "INVALID_QUERY_FILTER_OPERATOR",
            Self::NumberOutsideValidRange => "NUMBER_OUTSIDE_VALID_RANGE",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Fault {
    pub fn new(code: Code, at: usize, problem: impl Into<String>) -> Self {
        Self { code, at, problem: problem.into() }
    }

    pub fn malformed(at: usize, problem: impl Into<String>) -> Self {
        Self::new(Code::MalformedQuery, at, problem)
    }

    pub fn field(at: usize, problem: impl Into<String>) -> Self {
        Self::new(Code::InvalidField, at, problem)
    }

    pub fn operator(at: usize, problem: impl Into<String>) -> Self {
        Self::new(Code::InvalidQueryFilterOperator, at, problem)
    }

    /// The message that a client sees.
    pub fn tell(&self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        let row = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let skipped = column.saturating_sub(SHOWN);
        let shown: String = line.chars().skip(skipped).take(column - skipped + SHOWN).collect();
        let caret = " ".repeat(column - skipped);
        let place = column + 1;
        let problem = &self.problem;
        let message = format!("\n{shown}\n{caret}^\nERROR at Row:{row}:Column:{place}\n{problem}");
        Error { code: self.code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_place() {
        let text = "SELECT Id\n FROM é x";
        let told = Fault::malformed(text.len() - 1, "unexpected token: 'x'").tell(text);
        assert_eq!(told.message, "\n FROM é x\n        ^\nERROR at Row:2:Column:9\nunexpected token: 'x'");
        let past_the_end = Fault::malformed(3, "unexpected token: <EOF>").tell("abc");
        assert!(past_the_end.message.contains("Column:4"), "{past_the_end}");
    }
}
