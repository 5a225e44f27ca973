//! Query text to tokens.

use super::fault::Fault;

/// A token and where it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub at: usize,
    pub kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// A name or a keyword: which one depends on the place.
    Word(&'a str),
    /// Between the quotes, escapes still in it: `LIKE` reads them otherwise than `=`.
    Text(&'a str),
    /// Number, date or time: whatever begins with a digit or a sign.
    Literal(&'a str),
    Symbol(&'a str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 14] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", ":", "{", "}"];

/// The tokens, with `End` as the last one.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else {
            tokens.push(Token { at, kind: Kind::End });
            return Ok(tokens);
        };
        let (kind, length) = next(trimmed, first, at)?;
        tokens.push(Token { at, kind });
        at += length;
    }
}

fn next(text: &str, first: char, at: usize) -> Result<(Kind<'_>, usize), Fault> {
    if first == '\'' {
        let inside = quoted(text, at)?;
        return Ok((Kind::Text(inside), inside.len() + 2));
    }
    if first.is_ascii_digit() || matches!(first, '-' | '+') {
        let literal = run_of(text, |c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '+'));
        return Ok((Kind::Literal(literal), literal.len()));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let word = run_of(text, |c| c.is_ascii_alphanumeric() || c == '_');
        return Ok((Kind::Word(word), word.len()));
    }
    match SYMBOLS.into_iter().find(|symbol| text.starts_with(symbol)) {
        Some(symbol) => Ok((Kind::Symbol(symbol), symbol.len())),
        None => Err(Fault::malformed(at, format!("line 1:{at} no viable alternative at character '{first}'"))),
    }
}

fn run_of(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

fn quoted(text: &str, at: usize) -> Result<&str, Fault> {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return Ok(text.get(1..offset).unwrap_or_default()),
            _ => {}
        }
    }
    Err(Fault::malformed(at, "mismatched character '<EOF>' expecting '''"))
}

/// A character of a quoted text, escapes resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Piece {
    Char(char),
    /// `%` of a pattern.
    Any,
    /// `_` of a pattern.
    One,
}

/// Resolves the escapes of a quoted text; `pattern` gives `%` and `_` their meaning.
pub(super) fn unescape(raw: &str, pattern: bool, at: usize) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '\\' => Piece::Char(escape(&mut chars, pattern, at)?),
            '%' if pattern => Piece::Any,
            '_' if pattern => Piece::One,
            c => Piece::Char(c),
        });
    }
    Ok(pieces)
}

fn escape(chars: &mut std::str::Chars<'_>, pattern: bool, at: usize) -> Result<char, Fault> {
    let unknown = |c: &str| Fault::malformed(at, format!("Illegal string escape '\\{c}'"));
    Ok(match chars.next() {
        Some('n' | 'N') => '\n',
        Some('r' | 'R') => '\r',
        Some('t' | 'T') => '\t',
        Some('b' | 'B') => '\u{8}',
        Some('f' | 'F') => '\u{c}',
        Some(c @ ('"' | '\'' | '\\')) => c,
        Some(c @ ('%' | '_')) if pattern => c,
        Some('u' | 'U') => {
            let digits: String = chars.take(4).collect();
            let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
            code.and_then(char::from_u32).ok_or_else(|| unknown(&format!("u{digits}")))?
        }
        Some(c) => return Err(unknown(&c.to_string())),
        None => return Err(unknown("")),
    })
}

/// The text behind the quotes.
pub(super) fn plain(raw: &str, at: usize) -> Result<String, Fault> {
    let pieces = unescape(raw, false, at)?;
    Ok(pieces.into_iter().filter_map(|piece| if let Piece::Char(c) = piece { Some(c) } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_and_unknown_ones_refused() {
        assert_eq!(plain(r#"a\'b\\c\n\t\u00e9\""#, 0).expect("known escapes"), "a'b\\c\n\té\"");
        assert!(plain(r"\q", 0).is_err() && plain(r"\u12", 0).is_err() && plain(r"\%", 0).is_err());
        let pattern = unescape(r"a\%%_", true, 0).expect("pattern");
        assert_eq!(pattern, [Piece::Char('a'), Piece::Char('%'), Piece::Any, Piece::One]);
    }

    #[test]
    fn a_quote_that_never_closes_is_refused() {
        assert!(tokens(r"'a\'").is_err());
        assert!(tokens("SELECT ;").is_err());
    }
}
