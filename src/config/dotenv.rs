//! Reads dotenv text as the dotenv libraries do. Where they disagree, the text is refused, with its
//! line: a value is never guessed.

use std::collections::BTreeMap;

use super::rules::is_variable;

/// A value of a dotenv text.
pub struct DotenvValue {
    pub name: String,
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// The reason why a dotenv text is refused, and the line. No text contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct DotenvError {
    /// From 1.
    pub line: usize,
    pub fault: DotenvFault,
}

/// The reason why a line of a dotenv text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotenvFault {
    #[error("neither `NAME=value` nor a comment")]
    NotAssigned,
    #[error("a name that is not of letters, digits and `_`, or begins with a digit")]
    Name,
    #[error("the value of `{name}` begins with {quote}, and nothing closes it")]
    Unclosed { name: String, quote: char },
    #[error("there is text behind the closing quote of `{name}`")]
    Behind { name: String },
    /// npm and Ruby end the value there, Python and PHP do not.
    #[error("the value of `{name}` holds `#` with no blank before it")]
    Hash { name: String },
    /// Each library has its own list of escapes.
    #[error("the value of `{name}` holds `\\{escape}` between double quotes")]
    Escape { name: String, escape: char },
    /// Between single quotes npm keeps both characters, Python the quote, and PHP ends the value.
    #[error("the value of `{name}` holds a backslash before a quote of the kind around it")]
    EscapedQuote { name: String },
    #[error("the value of `{name}` refers to `{of}`, which no line before it sets")]
    Unknown { name: String, of: String },
    /// Ruby, Vite and shells expand `$NAME`; npm, Python and PHP do not.
    #[error("the value of `{name}` holds `$`, which some libraries expand and others do not")]
    Expansion { name: String },
}

impl DotenvFault {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAssigned => "write `NAME=value`, or put `#` in front of it",
            Self::Name => "rename it, or delete the line",
            Self::Unclosed { .. } => "close it, or put the whole value between the other quotes",
            Self::Behind { .. } | Self::Hash { .. } => "put the whole value between quotes",
            Self::Escape { .. } => "single quotes keep a backslash as it is; `\\\\` is one too",
            Self::EscapedQuote { .. } => "put the value between double quotes",
            Self::Unknown { .. } | Self::Expansion { .. } => {
                "only `${NAME}` of a line before it is expanded; single quotes keep it as it is"
            }
        }
    }
}

/// Returns the values of a dotenv text in their order. `${NAME}` is taken from lines before it, or
/// from `known`; of a name that is set twice, the last value counts.
pub fn parse(
    text: &str,
    known: &BTreeMap<String, String>,
) -> Result<Vec<DotenvValue>, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut reader =
        DotenvReader { rest: &text, line: 1, name: String::new(), known: known.clone() };
    let mut values = Vec::new();
    while let Some(value) = reader.next()? {
        reader.known.insert(value.name.clone(), value.value.clone());
        values.push(value);
    }
    Ok(values)
}

/// The rest of a text.
struct DotenvReader<'t> {
    rest: &'t str,
    line: usize,
    /// The name whose value is read.
    name: String,
    known: BTreeMap<String, String>,
}

impl<'t> DotenvReader<'t> {
    fn next(&mut self) -> Result<Option<DotenvValue>, DotenvError> {
        loop {
            self.skip(char::is_whitespace);
            if !self.rest.starts_with('#') {
                break;
            }
            self.end_of_line();
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let line = self.line;
        let at = |error: DotenvFault| DotenvError { line, fault: error };
        self.name = self.assigned().map_err(at)?;
        let apart = self.skip(is_blank) > 0;
        let value = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"' | '`')) => self.quoted(quote),
            _ => self.unquoted(apart),
        };
        Ok(Some(DotenvValue { name: self.name.clone(), value: value.map_err(at)?, line }))
    }

    /// Takes `export NAME =` from the text and returns the name.
    fn assigned(&mut self) -> Result<String, DotenvFault> {
        if let Some(rest) =
            self.rest.strip_prefix("export").filter(|rest| rest.starts_with(is_blank))
        {
            self.rest = rest;
            self.skip(is_blank);
        }
        let line = self.rest.split('\n').next().unwrap_or_default();
        let (name, _) = line.split_once('=').ok_or(DotenvFault::NotAssigned)?;
        self.take(name.len() + 1);
        let name = name.trim_end();
        if name.contains(char::is_whitespace) || name.is_empty() {
            return Err(DotenvFault::NotAssigned);
        }
        if !is_variable(name) {
            return Err(DotenvFault::Name);
        }
        Ok(name.to_owned())
    }

    /// Takes a value without quotes, up to a comment or the end of its line.
    fn unquoted(&mut self, apart: bool) -> Result<String, DotenvFault> {
        let line = self.end_of_line();
        let text = match line.find('#') {
            Some(0) if apart => "",
            Some(at) if line[..at].ends_with(is_blank) => &line[..at],
            Some(_) => return Err(DotenvFault::Hash { name: self.name.clone() }),
            None => line,
        };
        self.expanded(text.trim_end(), false)
    }

    /// Takes a value between quotes, and the rest of its last line.
    fn quoted(&mut self, quote: char) -> Result<String, DotenvFault> {
        self.take(1);
        let end = self.closing(quote)?;
        let text = self.take(end);
        self.take(1);
        let behind = self.end_of_line().trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(DotenvFault::Behind { name: self.name.clone() });
        }
        if quote == '"' { self.expanded(text, true) } else { Ok(text.to_owned()) }
    }

    /// Returns the place of the quote that closes a value.
    fn closing(&self, quote: char) -> Result<usize, DotenvFault> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            if c == quote && !(escaped && quote == '"') {
                let unclear = || DotenvFault::EscapedQuote { name: self.name.clone() };
                return if escaped { Err(unclear()) } else { Ok(at) };
            }
            escaped = c == '\\' && (!escaped || quote != '"');
        }
        Err(DotenvFault::Unclosed { name: self.name.clone(), quote })
    }

    /// Returns a text with `${NAME}` replaced, and escapes if it stood between double quotes.
    fn expanded(&self, text: &str, escapes: bool) -> Result<String, DotenvFault> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['\\', '$']) {
            out.push_str(&rest[..at]);
            let mark = &rest[at..=at];
            rest = &rest[at + 1..];
            let next = rest.chars().next();
            if mark == "$" {
                match next {
                    Some('{') => rest = self.reference(rest, &mut out)?,
                    Some(c) if c == '(' || c == '_' || c.is_ascii_alphabetic() => {
                        return Err(DotenvFault::Expansion { name: self.name.clone() });
                    }
                    _ => out.push('$'),
                }
            } else if let Some(escape) = next.filter(|_| escapes) {
                let fault = || DotenvFault::Escape { name: self.name.clone(), escape };
                out.push(unescaped(escape).ok_or_else(fault)?);
                rest = &rest[escape.len_utf8()..];
            } else {
                out.push_str(mark);
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Adds what the reference `{NAME}` at the beginning of a text stands for, and returns the text
    /// behind it.
    fn reference<'r>(&self, text: &'r str, out: &mut String) -> Result<&'r str, DotenvFault> {
        let name = self.name.clone();
        let inner = text[1..].split_once('}').filter(|(of, _)| is_variable(of));
        let Some((of, rest)) = inner else { return Err(DotenvFault::Expansion { name }) };
        let unknown = || DotenvFault::Unknown { name, of: of.to_owned() };
        out.push_str(self.known.get(of).ok_or_else(unknown)?);
        Ok(rest)
    }

    /// Takes the rest of the line with its newline, and returns it without.
    fn end_of_line(&mut self) -> &'t str {
        let len = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = self.take(len);
        self.take(usize::from(!self.rest.is_empty()));
        line
    }

    fn skip(&mut self, wanted: fn(char) -> bool) -> usize {
        let len = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.take(len).len()
    }

    fn take(&mut self, len: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn is_blank(c: char) -> bool {
    c != '\n' && c.is_whitespace()
}

/// Returns the character that an escape stands for in most libraries.
fn unescaped(escape: char) -> Option<char> {
    match escape {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '"' | '\\' | '$' | '`' => Some(escape),
        _ => None,
    }
}
