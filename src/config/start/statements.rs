//! Statements of Ruby and PHP, as words: enough to see what a config of another tool sets.

use std::iter::Peekable;
use std::str::Chars;

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Ruby,
    Php,
}

/// One word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A quoted text, as it stands between its quotes.
    Text(String),
    /// A name, a symbol, a key or a number.
    Name(String),
    /// A list such as `%w[app db]`.
    Words(Vec<String>),
    Sign(char),
}

/// One statement at the top of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    pub(super) tokens: Vec<Token>,
}

/// Words after which a Ruby statement holds others, up to its `end`.
const OPENING: [&str; 9] =
    ["if", "unless", "case", "begin", "def", "class", "module", "while", "until"];

impl Statement {
    pub(super) fn begins(&self, name: &str) -> bool {
        self.tokens.first().is_some_and(|first| first.is(name))
    }

    fn has(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token.is(name))
    }

    /// Returns whether the next line belongs to it.
    fn goes_on(&self) -> bool {
        matches!(self.tokens.last(), Some(Token::Sign(',' | '.' | '+' | '|' | '=' | '\\')))
    }

    fn opens(&self) -> bool {
        (self.has("do") || OPENING.iter().any(|word| self.begins(word))) && !self.has("end")
    }
}

impl Token {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Name(word) if word == name)
    }
}

/// Returns the statements at the top of a file. Of a block, only the line that opens it is there.
pub(super) fn statements(text: &str, language: Language) -> Vec<Statement> {
    let text = text.strip_prefix("<?php").unwrap_or(text);
    let mut lexer = Lexer { chars: text.chars().peekable(), line: 1, language };
    let (mut all, mut open) = (Vec::new(), Statement::default());
    let mut depth = 0_usize;
    while let Some(token) = lexer.token() {
        match token {
            Token::Sign('\n') => {
                let ends = language == Language::Ruby && depth == 0 && !open.goes_on();
                if ends && !lexer.chain_follows() {
                    all.push(std::mem::take(&mut open));
                }
                continue;
            }
            Token::Sign(';') if depth == 0 => {
                all.push(std::mem::take(&mut open));
                continue;
            }
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if open.tokens.is_empty() {
            open.line = lexer.line;
        }
        let closes = token == Token::Sign('}') && depth == 0 && language == Language::Php;
        open.tokens.push(token);
        if closes && ["function", "if", "foreach", "else"].iter().any(|word| open.begins(word)) {
            all.push(std::mem::take(&mut open));
        }
    }
    all.push(open);
    all.retain(|statement| !statement.tokens.is_empty());
    if language == Language::Ruby { outside_blocks(all) } else { all }
}

fn outside_blocks(all: Vec<Statement>) -> Vec<Statement> {
    let (mut kept, mut inside) = (Vec::new(), 0_usize);
    for statement in all {
        let opens = statement.opens();
        if statement.begins("end") {
            inside = inside.saturating_sub(1);
        } else if inside == 0 {
            kept.push(statement);
        }
        inside += usize::from(opens);
    }
    kept
}

/// Returns the texts of a list, such as `fetch(:linked_dirs, []).push("log")`. `None`: it has
/// something beside texts, these signs and these names.
pub(super) fn texts(tokens: &[Token], signs: &str, names: &[&str]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text) if !text.contains("#{") => texts.push(text.clone()),
            Token::Words(words) => texts.extend(words.iter().cloned()),
            Token::Sign(sign) if signs.contains(*sign) => {}
            Token::Name(word) if names.contains(&word.as_str()) => {}
            _ => return None,
        }
    }
    Some(texts)
}

/// Returns the place of the first such sign that stands outside of brackets.
pub(super) fn outside_brackets(tokens: &[Token], sign: char) -> Option<usize> {
    let mut depth = 0_i32;
    tokens.iter().position(|token| {
        let found = depth == 0 && *token == Token::Sign(sign);
        depth += match token {
            Token::Sign('(' | '[' | '{') => 1,
            Token::Sign(')' | ']' | '}') => -1,
            _ => 0,
        };
        found
    })
}

struct Lexer<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
    language: Language,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Token> {
        loop {
            let c = self.chars.next()?;
            let next = self.chars.peek().copied();
            match (c, next, self.language) {
                ('\n', ..) => {
                    self.line += 1;
                    return Some(Token::Sign('\n'));
                }
                (':', ..) => {}
                (c, ..) if c.is_whitespace() => {}
                ('#', ..) | ('/', Some('/'), Language::Php) => self.skip_line(),
                ('/', Some('*'), Language::Php) => self.skip_remark(),
                ('\'' | '"', ..) => return Some(self.text(c)),
                ('%', Some('w' | 'W' | 'i' | 'I'), Language::Ruby) => return Some(self.words()),
                ('=', Some('>'), _) => _ = self.chars.next(),
                ('-', Some('>'), Language::Php) => {
                    self.chars.next();
                    return Some(Token::Sign('.'));
                }
                (c, ..) if is_word(c) => return Some(self.name(c)),
                (c, ..) => return Some(Token::Sign(c)),
            }
        }
    }

    /// Returns whether the next thing is a method of the value that stands here.
    fn chain_follows(&self) -> bool {
        self.chars.clone().find(|c| !c.is_whitespace()) == Some('.')
    }

    fn skip_line(&mut self) {
        while self.chars.next_if(|c| *c != '\n').is_some() {}
    }

    fn skip_remark(&mut self) {
        let mut before = ' ';
        for c in self.chars.by_ref() {
            self.line += usize::from(c == '\n');
            if before == '*' && c == '/' {
                return;
            }
            before = c;
        }
    }

    /// Reads up to the closing quote, or to the end of the line: an apostrophe in a text that is
    /// not understood must not hide the rest of the file.
    fn text(&mut self, quote: char) -> Token {
        let (mut text, mut braces) = (String::new(), 0_usize);
        while let Some(c) = self.chars.next_if(|c| *c != '\n') {
            match c {
                c if c == quote && braces == 0 => return Token::Text(text),
                '{' if quote == '"' && (braces > 0 || text.ends_with('#')) => braces += 1,
                '}' if braces > 0 => braces -= 1,
                '\'' | '"' if braces > 0 => {
                    let Token::Text(inner) = self.text(c) else { break };
                    text.extend([c.to_string(), inner]);
                }
                '\\' => {
                    text.extend(self.chars.next_if(|c| *c != '\n'));
                    continue;
                }
                _ => {}
            }
            text.push(c);
        }
        Token::Sign(quote)
    }

    fn words(&mut self) -> Token {
        self.chars.next();
        let close = match self.chars.next() {
            Some('[') => ']',
            Some('(') => ')',
            Some('{') => '}',
            Some('<') => '>',
            Some(other) => other,
            None => ' ',
        };
        let text: String = self.chars.by_ref().take_while(|c| *c != close).collect();
        self.line += text.matches('\n').count();
        Token::Words(text.split_whitespace().map(str::to_owned).collect())
    }

    fn name(&mut self, first: char) -> Token {
        let mut name = String::from(first);
        while let Some(c) = self.chars.next_if(|c| is_word(*c)) {
            name.push(c);
        }
        Token::Name(name)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "_$@?!".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, language: Language) -> Vec<usize> {
        statements(text, language).iter().map(|statement| statement.line).collect()
    }

    #[test]
    fn ruby_statements_end_where_they_end_and_blocks_stay_closed() {
        let text = "set :a, \"x#{fetch(:b, \"}\")}\" # don't\nset :list,\n  %w[a\n b]\n\
                    task :x do\n  set :a, 1 if y\n  if z\n    p 'don't'\n  end\nend\nset :b, fetch(:b)\n  .push('c')\n";
        assert_eq!(lines(text, Language::Ruby), [1, 2, 5, 11]);
        let first = &statements(text, Language::Ruby)[0];
        assert_eq!(first.tokens.last(), Some(&Token::Text("x#{fetch(:b, \"}\")}".to_owned())));
    }

    #[test]
    fn php_statements_end_at_semicolons_outside_of_brackets() {
        let text = "<?php\nnamespace Deployer; // x;\nhost('a')\n  ->set('b', 'c;'); /* d;\n */\n\
                    task('x', function () {\n  run('y');\n});\nfunction z() {\n  a();\n}\nset('k', 3);\n";
        assert_eq!(lines(text, Language::Php), [2, 3, 6, 9, 12]);
    }
}
