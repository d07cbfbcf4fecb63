//! HTML that is well-formed and escaped by construction: markup is written in the source, everything else is text.

use std::fmt::Write as _;

/// Escaped, balanced HTML.
#[derive(Default)]
pub struct Html(String);

impl Html {
    pub fn into_string(self) -> String {
        self.0
    }

    /// What a browser must know first: the encoding, and that the page fits a phone.
    pub fn meta() -> Html {
        Html(
            "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                .to_owned(),
        )
    }

    /// Style sheets, whose `>` must stay; static, so that no data gets here.
    pub fn style(css: &'static str) -> Html {
        Html(format!("<style>{css}</style>"))
    }

    /// JSON for machines. `<` only occurs within its strings, where `\u003c` means the same and ends no script.
    pub fn json(json: &str) -> Html {
        let json = json.replace('<', "\\u003c");
        Html(format!(
            "<script type=\"application/json\" id=\"data\">{json}</script>"
        ))
    }
}

impl From<&str> for Html {
    fn from(text: &str) -> Html {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '&' => escaped.push_str("&amp;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                // No HTML document may hold them, escaped or not; errors of a server might.
                c if c.is_control() && !c.is_whitespace() => escaped.push('\u{fffd}'),
                c => escaped.push(c),
            }
        }
        Html(escaped)
    }
}

impl From<String> for Html {
    fn from(text: String) -> Html {
        text.as_str().into()
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(parts: I) -> Html {
        let mut all = Html::default();
        parts.into_iter().for_each(|part| all.0.push_str(&part.0));
        all
    }
}

impl<const N: usize> From<[Html; N]> for Html {
    fn from(parts: [Html; N]) -> Html {
        parts.into_iter().collect()
    }
}

impl Extend<Html> for Html {
    fn extend<I: IntoIterator<Item = Html>>(&mut self, parts: I) {
        parts.into_iter().for_each(|part| self.0.push_str(&part.0));
    }
}

/// An element: `tag("td class=\"n\"", "text")`. The name with its fixed attributes is static, so that no data gets there.
pub fn tag(open: &'static str, inside: impl Into<Html>) -> Html {
    tag_with(open, &[], inside)
}

/// An element with attributes whose values are data.
pub fn tag_with(
    open: &'static str,
    attributes: &[(&'static str, String)],
    inside: impl Into<Html>,
) -> Html {
    let mut out = format!("<{open}");
    for (name, value) in attributes {
        let _ = write!(out, " {name}=\"{}\"", Html::from(value.as_str()).0);
    }
    let name = open.split(' ').next().unwrap_or(open);
    let _ = write!(out, ">{}</{name}>", inside.into().0);
    Html(out)
}

/// A column: its heading, and whether it holds figures (which stand to the right).
pub type Column<'a> = (&'a str, bool);

/// A table that scrolls in its own box where the screen is narrow. The first cell of a row names it.
pub fn table(caption: &str, columns: &[Column<'_>], rows: Vec<Vec<Html>>) -> Html {
    let class = |figures: bool| if figures { "n" } else { "t" }.to_owned();
    let heading = |&(name, figures): &Column<'_>| {
        tag_with("th scope=\"col\"", &[("class", class(figures))], name)
    };
    let row = |cells: Vec<Html>| -> Html {
        let cells = cells.into_iter().zip(columns).enumerate();
        let cell = |(i, (cell, &(_, figures)))| {
            let open = if i == 0 { "th scope=\"row\"" } else { "td" };
            tag_with(open, &[("class", class(figures))], cell)
        };
        tag("tr", cells.map(cell).collect::<Html>())
    };
    let inside = [
        tag("caption", tag("span", caption)),
        tag(
            "thead",
            tag("tr", columns.iter().map(heading).collect::<Html>()),
        ),
        tag("tbody", rows.into_iter().map(row).collect::<Html>()),
    ];
    // Reachable by keyboard, so that it can be scrolled without a mouse.
    let name = ("aria-label", caption.to_owned());
    tag_with(
        "div class=\"scroll\" tabindex=\"0\" role=\"region\"",
        &[name],
        tag("table", inside),
    )
}

/// Terms and what they stand for.
pub fn terms(pairs: Vec<(&str, Html)>) -> Html {
    let pair = |(term, what)| tag("div", [tag("dt", term), tag("dd", what)]);
    tag("dl", pairs.into_iter().map(pair).collect::<Html>())
}
