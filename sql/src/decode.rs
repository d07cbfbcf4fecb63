//! The values of string constants and Unicode identifiers.

use crate::lexer::Quote;

/// The value of a string token, `None` for bit strings and escapes that PostgreSQL will refuse.
pub(crate) fn string(token: &str, quote: Quote, escape: char) -> Option<String> {
    match quote {
        Quote::Bits => None,
        Quote::Dollar => {
            let tag = token[1..].find('$')? + 2;
            Some(token[tag..token.len() - tag].to_string())
        }
        Quote::Plain => segments(token, false).map(|raw| raw.replace("''", "'")),
        Quote::Unicode => unicode(&segments(token, false)?.replace("''", "'"), escape),
        Quote::Escape => escaped(&segments(token, true)?),
    }
}

/// A value as a plain string constant.
pub(crate) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// The insides of all the quotes of a string token, one after the other; between them lie only
/// space and comments.
fn segments(token: &str, backslashes: bool) -> Option<String> {
    let bytes = token.as_bytes();
    let mut raw = String::with_capacity(token.len());
    let mut at = token.find('\'')? + 1;
    loop {
        let from = at;
        loop {
            match (bytes.get(at)?, bytes.get(at + 1)) {
                (b'\\', _) if backslashes => at += 2,
                (b'\'', Some(b'\'')) => at += 2,
                (b'\'', _) => break,
                _ => at += 1,
            }
        }
        raw.push_str(&token[from..at]);
        at += 1;
        // The next quote that is not inside a comment opens the next segment.
        loop {
            match bytes.get(at) {
                None => return Some(raw),
                Some(b'-') => at += token[at..].find(['\n', '\r'])?,
                Some(b'\'') => break,
                Some(_) => at += 1,
            }
        }
        at += 1;
    }
}

/// `E'…'`: C-like escapes; octal and hexadecimal ones give bytes.
fn escaped(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    let mut surrogate: Option<u32> = None;
    while let Some(c) = chars.next() {
        if c == '\'' {
            chars.next();
            bytes.push(b'\'');
            continue;
        }
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        match chars.next()? {
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            first @ '0'..='7' => {
                let mut value = first.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    chars.next();
                }
                bytes.push((value & 0xff) as u8);
            }
            'x' if chars.peek().is_some_and(char::is_ascii_hexdigit) => {
                let mut value = 0;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else {
                        break;
                    };
                    value = value * 16 + digit;
                    chars.next();
                }
                bytes.push(value as u8);
            }
            u @ ('u' | 'U') => {
                let length = if u == 'u' { 4 } else { 8 };
                let digits: String = chars.by_ref().take(length).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == length)?;
                let Some(c) = join_surrogates(&mut surrogate, code)? else {
                    continue;
                };
                bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            }
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|s| !s.contains('\0') && surrogate.is_none())
}

/// `U&'…'` and `U&"…"`: `\XXXX` and `\+XXXXXX`, with any escape character.
pub(crate) fn unicode(raw: &str, escape: char) -> Option<String> {
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    let mut surrogate = None;
    while let Some(c) = chars.next() {
        if c != escape {
            value.push(c);
            continue;
        }
        if chars.peek() == Some(&escape) {
            chars.next();
            value.push(escape);
            continue;
        }
        let length = match chars.peek()? {
            '+' => {
                chars.next();
                6
            }
            _ => 4,
        };
        let digits: String = chars.by_ref().take(length).collect();
        let code = u32::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| digits.len() == length)?;
        if let Some(c) = join_surrogates(&mut surrogate, code)? {
            value.push(c);
        }
    }
    Some(value).filter(|_| surrogate.is_none())
}

/// `Some(None)`: the first half of a pair; `None`: no such character.
fn join_surrogates(first: &mut Option<u32>, code: u32) -> Option<Option<char>> {
    match (first.take(), code) {
        (None, 0xd800..=0xdbff) => {
            *first = Some(code);
            Some(None)
        }
        (Some(high), 0xdc00..=0xdfff) => {
            char::from_u32(0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00)).map(Some)
        }
        (None, code) => char::from_u32(code).map(Some),
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_mean_what_postgresql_takes_them_for() {
        for (token, kind, value) in [
            ("'it''s'", Quote::Plain, Some("it's")),
            ("N'a'", Quote::Plain, Some("a")),
            ("'no'  -- it's\n 'w'", Quote::Plain, Some("now")),
            (
                r"E'a\'b''c\n\x41\101\u0042'",
                Quote::Escape,
                Some("a'b'c\nAAB"),
            ),
            (r"E'\ud83d\ude00'", Quote::Escape, Some("😀")),
            (r"E'\ud83d'", Quote::Escape, None),
            (r"E'\xff'", Quote::Escape, None),
            (r"U&'\006eow'", Quote::Unicode, Some("now")),
            (r"U&'\+00006eow\\'", Quote::Unicode, Some("now\\")),
            (r"U&'\00'", Quote::Unicode, None),
            ("$a$x'y$a$", Quote::Dollar, Some("x'y")),
            ("x'00'", Quote::Bits, None),
        ] {
            assert_eq!(string(token, kind, '\\').as_deref(), value, "{token}");
        }
    }
}
