//! Tokens to a query, by recursive descent over the part of SOQL's grammar that is answered.

use super::fault::{Code, Error, Fault};
use super::lexer::{Kind, Token, tokens};
use super::query::{
    Call, Condition, Days, FieldSet, Function, Item, Literal, LiteralValue, Name, Op, OrderBy, OrderKey, Path, Query,
    Select,
};

/// Longest query, in characters: Salesforce's own bound.
const TEXT_MAX: usize = 100_000;
/// Nested parentheses; SOQL has no such bound, a recursive parser has.
const DEPTH_MAX: usize = 50;
const OFFSET_MAX: usize = 2_000;

/// Reads a query. Whether its names exist is checked when it runs.
pub fn parse(text: &str) -> Result<Query, Error> {
    read(text).map(|select| Query { text: text.to_owned(), select }).map_err(|fault| fault.tell(text))
}

fn read(text: &str) -> Result<Select, Fault> {
    if text.chars().count() > TEXT_MAX {
        return Err(Fault::malformed(0, format!("SOQL statements cannot be longer than {TEXT_MAX} characters.")));
    }
    let mut parser = Parser { tokens: &tokens(text)?, next: 0, depth: 0 };
    let select = parser.select()?;
    if parser.peek().kind == Kind::End { Ok(select) } else { Err(parser.unexpected()) }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Token<'a> {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get((self.next + by).min(last)).copied().unwrap_or(Token { at: 0, kind: Kind::End })
    }

    fn unexpected(&self) -> Fault {
        let token = self.peek();
        let shown = match token.kind {
            Kind::Word(text) | Kind::Literal(text) | Kind::Symbol(text) => format!("'{text}'"),
            Kind::Text(text) => format!("''{text}''"),
            Kind::End => "<EOF>".to_owned(),
        };
        Fault::malformed(token.at, format!("unexpected token: {shown}"))
    }

    /// The next token, if it is a word.
    fn word(&self) -> Option<&'a str> {
        if let Kind::Word(word) = self.peek().kind { Some(word) } else { None }
    }

    /// The next token, if it is a number, date or time.
    fn unquoted(&self) -> Option<&'a str> {
        if let Kind::Literal(text) = self.peek().kind { Some(text) } else { None }
    }

    fn sees(&self, keyword: &str) -> bool {
        self.word().is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let seen = self.sees(keyword);
        self.next += usize::from(seen);
        seen
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let seen = self.peek().kind == Kind::Symbol(symbol);
        self.next += usize::from(seen);
        seen
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Fault> {
        if self.takes(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), Fault> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn name(&mut self) -> Result<Name, Fault> {
        match self.peek() {
            Token { at, kind: Kind::Word(word) } if !reserved(word) => {
                self.next += 1;
                Ok(Name { text: word.to_owned(), at })
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self) -> Result<Path, Fault> {
        let first = self.name()?;
        let mut segments = vec![first.text];
        while self.takes_symbol(".") {
            segments.push(self.name()?.text);
        }
        Ok(Path { segments, at: first.at })
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut all = vec![one(self)?];
        while self.takes_symbol(",") {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn select(&mut self) -> Result<Select, Fault> {
        self.keyword("SELECT")?;
        let items = self.list(Self::item)?;
        self.keyword("FROM")?;
        let object = self.name()?;
        let alias = self.alias();
        let filter = if self.takes("WHERE") { Some(self.condition()?) } else { None };
        let group_by = if self.takes("GROUP") {
            self.keyword("BY")?;
            self.list(Self::path)?
        } else {
            Vec::new()
        };
        let order_by = if self.takes("ORDER") {
            self.keyword("BY")?;
            self.list(Self::order_by)?
        } else {
            Vec::new()
        };
        let limit = if self.takes("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.takes("OFFSET") { self.offset(&object.text)? } else { 0 };
        Ok(Select { items, object, alias, filter, group_by, order_by, limit, offset })
    }

    /// A word that starts no clause.
    fn alias(&mut self) -> Option<String> {
        let word = self.word().filter(|word| !reserved(word) && !starts_clause(word))?;
        self.next += 1;
        Some(word.to_owned())
    }

    fn item(&mut self) -> Result<Item, Fault> {
        let at = self.peek().at;
        if self.ahead(1).kind != Kind::Symbol("(") {
            return Ok(Item::Field { path: self.path()?, alias: self.alias() });
        }
        if self.sees("FIELDS") {
            return self.fields(at);
        }
        if self.sees("COUNT") && self.ahead(2).kind == Kind::Symbol(")") {
            self.next += 3;
            return Ok(Item::Count { at });
        }
        Ok(Item::Aggregate { call: self.call()?, alias: self.alias() })
    }

    fn fields(&mut self, at: usize) -> Result<Item, Fault> {
        self.next += 2;
        let set = match self.word().map(str::to_ascii_uppercase).as_deref() {
            Some("ALL") => FieldSet::All,
            Some("STANDARD") => FieldSet::Standard,
            Some("CUSTOM") => FieldSet::Custom,
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        self.symbol(")")?;
        Ok(Item::Fields { set, at })
    }

    fn call(&mut self) -> Result<Call, Fault> {
        let Some(function) = self.word().and_then(Function::named) else {
            // Other functions exist in Salesforce, none is answered here.
            self.next += 1;
            return Err(self.unexpected());
        };
        self.next += 1;
        self.symbol("(")?;
        let path = self.path()?;
        self.symbol(")")?;
        Ok(Call { function, path })
    }

    /// `a AND b AND c`, `a OR b`, `NOT a`: mixing them takes parentheses.
    fn condition(&mut self) -> Result<Condition, Fault> {
        if self.takes("NOT") {
            return Ok(Condition::Not(Box::new(self.simple()?)));
        }
        let first = self.simple()?;
        let (word, combine): (&str, fn(Vec<Condition>) -> Condition) = match () {
            () if self.sees("AND") => ("AND", Condition::And),
            () if self.sees("OR") => ("OR", Condition::Or),
            () => return Ok(first),
        };
        let mut all = vec![first];
        while self.takes(word) {
            all.push(self.simple()?);
        }
        if self.sees("AND") || self.sees("OR") { Err(self.unexpected()) } else { Ok(combine(all)) }
    }

    fn simple(&mut self) -> Result<Condition, Fault> {
        if !self.takes_symbol("(") {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::malformed(self.peek().at, "conditions are nested too deeply"));
        }
        let inside = self.condition()?;
        self.depth -= 1;
        self.symbol(")")?;
        Ok(inside)
    }

    fn comparison(&mut self) -> Result<Condition, Fault> {
        let path = self.path()?;
        if self.takes("NOT") {
            self.keyword("IN")?;
            return self.members(path, true);
        }
        if self.takes("IN") {
            return self.members(path, false);
        }
        let op = match self.peek().kind {
            Kind::Symbol("=") => Op::Equal,
            Kind::Symbol("!=" | "<>") => Op::NotEqual,
            Kind::Symbol("<") => Op::Less,
            Kind::Symbol("<=") => Op::LessOrEqual,
            Kind::Symbol(">") => Op::Greater,
            Kind::Symbol(">=") => Op::GreaterOrEqual,
            Kind::Word(word) if word.eq_ignore_ascii_case("LIKE") => Op::Like,
            Kind::Word(_) | Kind::Text(_) | Kind::Literal(_) | Kind::Symbol(_) | Kind::End => {
                return Err(self.unexpected());
            }
        };
        self.next += 1;
        Ok(Condition::Compare { path, op, value: self.literal()? })
    }

    fn members(&mut self, path: Path, negated: bool) -> Result<Condition, Fault> {
        self.symbol("(")?;
        if self.sees("SELECT") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(self.unexpected());
            }
            let select = Box::new(self.select()?);
            self.depth -= 1;
            self.symbol(")")?;
            return Ok(Condition::SemiJoin { path, negated, select });
        }
        let values = self.list(Self::literal)?;
        self.symbol(")")?;
        Ok(Condition::In { path, negated, values })
    }

    fn literal(&mut self) -> Result<Literal, Fault> {
        let Token { at, kind } = self.peek();
        let value = match kind {
            Kind::Text(raw) => LiteralValue::Text(raw.to_owned()),
            Kind::Literal(text) => written(text).ok_or_else(|| self.unexpected())?,
            Kind::Word(word) if word.eq_ignore_ascii_case("null") => LiteralValue::Null,
            Kind::Word(word) if word.eq_ignore_ascii_case("true") => LiteralValue::Bool(true),
            Kind::Word(word) if word.eq_ignore_ascii_case("false") => LiteralValue::Bool(false),
            Kind::Word(word) => return self.days(word, at),
            Kind::Symbol(_) | Kind::End => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(Literal { value, at })
    }

    /// `TODAY`, `LAST_N_DAYS:7`; the first one includes today, the next one starts tomorrow.
    fn days(&mut self, word: &str, at: usize) -> Result<Literal, Fault> {
        let (first, last) = match word.to_ascii_uppercase().as_str() {
            "TODAY" => (0, 0),
            "YESTERDAY" => (-1, -1),
            "TOMORROW" => (1, 1),
            name @ ("LAST_N_DAYS" | "NEXT_N_DAYS") => {
                self.next += 1;
                self.symbol(":")?;
                let days = self.unquoted().and_then(|text| text.parse().ok());
                let days: i32 = days.filter(|days| (1..=36_500).contains(days)).ok_or_else(|| self.unexpected())?;
                if name == "LAST_N_DAYS" { (-days, 0) } else { (1, days) }
            }
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(Literal { value: LiteralValue::Days(Days { first, last }), at })
    }

    fn order_by(&mut self) -> Result<OrderBy, Fault> {
        let key = if self.ahead(1).kind == Kind::Symbol("(") {
            OrderKey::Aggregate(self.call()?)
        } else {
            OrderKey::Field(self.path()?)
        };
        let descending = self.takes("DESC");
        if !descending {
            self.takes("ASC");
        }
        let nulls_last = self.takes("NULLS") && {
            let last = self.takes("LAST");
            if !last {
                self.keyword("FIRST")?;
            }
            last
        };
        Ok(OrderBy { key, descending, nulls_last })
    }

    fn count(&mut self) -> Result<usize, Fault> {
        let digits = self.unquoted().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok()).ok_or_else(|| self.unexpected())?;
        self.next += 1;
        Ok(number)
    }

    fn offset(&mut self, object: &str) -> Result<usize, Fault> {
        let at = self.peek().at;
        let offset = self.count()?;
        if offset > OFFSET_MAX {
            let problem = format!("Maximum SOQL offset allowed for apiName {object} is {OFFSET_MAX}");
            return Err(Fault::new(Code::NumberOutsideValidRange, at, problem));
        }
        Ok(offset)
    }
}

/// Words that no field or object may be named in a query.
fn reserved(word: &str) -> bool {
    const WORDS: [&str; 16] = [
        "AND", "ASC", "DESC", "EXCLUDES", "FROM", "GROUP", "HAVING", "IN", "INCLUDES", "LIKE", "LIMIT", "NOT", "NULL",
        "OR", "SELECT", "WHERE",
    ];
    WORDS.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// Words that begin a clause after the object, and so are no alias of it.
fn starts_clause(word: &str) -> bool {
    const WORDS: [&str; 7] = ["ORDER", "OFFSET", "USING", "WITH", "FOR", "ALL", "UPDATE"];
    WORDS.iter().any(|clause| clause.eq_ignore_ascii_case(word))
}

/// A number, a date or a time as it stands in the query.
fn written(text: &str) -> Option<LiteralValue> {
    if text.contains('T') || text.contains(':') {
        return text.parse().ok().map(LiteralValue::Time);
    }
    if text.len() == 10 && text.get(4..5) == Some("-") {
        return text.parse().ok().map(LiteralValue::Date);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain).map(LiteralValue::Number)
}
