//! Tokens of the text form, with their places.

use std::borrow::Cow;
use std::ops::Range;
use thiserror::Error;

/// Where and why a text is not a graph.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The offending bytes of the text.
    pub span: Range<usize>,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let before = &text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        ParseError {
            message: message.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
        }
    }
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// `%name`: a node.
    Node(Cow<'a, str>),
    /// `@name`: a graph or a parameter.
    At(Cow<'a, str>),
    /// `"text"`.
    Text(Cow<'a, str>),
    /// A run of letters, digits and `_.+-`: a word, a number, sizes.
    Atom(&'a str),
    /// One of `=,:()[]{}`.
    Mark(char),
    /// The end of the text.
    End,
}

/// A token and the bytes it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub span: Range<usize>,
}

/// Whether `name` needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_name_byte)
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_./:-".contains(&b)
}

/// Cuts a text into tokens, one at a time.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.bytes().position(|b| !belongs(b)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    pub fn next(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.rest().as_bytes().first() {
            None => Kind::End,
            Some(b'%') => Kind::Node(self.name()?),
            Some(b'@') => Kind::At(self.name()?),
            Some(b'"') => Kind::Text(self.quoted()?),
            Some(&b) if b"=,:()[]{}".contains(&b) => {
                self.at += 1;
                Kind::Mark(char::from(b))
            }
            Some(_) => match self.run(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(&b)) {
                "" => {
                    let c = self.rest().chars().next().expect("the text has not ended");
                    return Err(ParseError::new(self.text, start..start + c.len_utf8(), format!("unexpected character {c:?}")));
                }
                atom => Kind::Atom(atom),
            },
        };
        Ok(Token { kind, span: start..self.at })
    }

    fn name(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let start = self.at;
        self.at += 1;
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        match self.run(is_name_byte) {
            "" => Err(ParseError::new(self.text, start..self.at, "a name is missing here")),
            name => Ok(Cow::Borrowed(name)),
        }
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let unclosed = || ParseError::new(self.text, start..start + 1, "the closing quote is missing");
        let end = rest.bytes().position(|b| matches!(b, b'"' | b'\\' | b'\n')).ok_or_else(unclosed)?;
        if rest.as_bytes()[end] == b'"' {
            self.at += end + 2;
            return Ok(Cow::Borrowed(&rest[..end]));
        }
        let mut out = String::from(&rest[..end]);
        let mut chars = rest[end..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + 1 + end + i + 1;
                    return Ok(Cow::Owned(out));
                }
                '\n' => return Err(unclosed()),
                '\\' => {
                    let escape = start + 1 + end + i;
                    let bad = || ParseError::new(self.text, escape..escape + 1, "unknown escape");
                    match chars.next().map(|(_, c)| c) {
                        Some('n') => out.push('\n'),
                        Some('t') => out.push('\t'),
                        Some('r') => out.push('\r'),
                        Some(c @ ('"' | '\\')) => out.push(c),
                        Some('u') => {
                            let tail = rest[end + i + 2..].strip_prefix('{').ok_or_else(bad)?;
                            let digits = tail.split('}').next().filter(|d| (1..=6).contains(&d.len())).ok_or_else(bad)?;
                            let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or_else(bad)?;
                            out.push(c);
                            chars.by_ref().take(digits.len() + 2).for_each(drop);
                        }
                        _ => return Err(bad()),
                    }
                }
                c => out.push(c),
            }
        }
        Err(unclosed())
    }
}

/// `name` as it is after `%` or `@`.
pub(super) fn quote(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    Cow::Owned(out)
}
