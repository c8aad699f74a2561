//! `WWW-Authenticate`: how a registry wants to be spoken to (pure).

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from a token service.
    Bearer {
        /// The token service.
        realm: String,
        /// What it knows the registry as.
        service: Option<String>,
    },
}

/// The challenges of one header, those that we can meet.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((scheme, after)) = scheme(rest) {
        let (params, after) = params(after);
        rest = after;
        let param = |name: &str| {
            params
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = param("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: param("service"),
            });
        }
    }
    found
}

/// Takes the name of a scheme from the front.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Takes `key=value` pairs from the front, up to the next scheme.
fn params(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', '\t', ',']);
        let end = start.find(|c| !is_token(c)).unwrap_or(start.len());
        let (key, after) = start.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // No pair: the next scheme, the end, or something that no one can read.
            let next = if key.is_empty() { "" } else { start };
            return (found, next);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.to_owned(), after)
            }
        };
        if key.is_empty() {
            return (found, "");
        }
        found.push((key.to_owned(), value));
        text = after;
    }
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_registries_send() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull""#
            ),
            [Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("r.example".into())
            }]
        );
        assert_eq!(parse(r#"Basic realm="a, \"b\"""#), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, bearer Realm=https://x/t , basic realm=x"#),
            [
                Challenge::Bearer {
                    realm: "https://x/t".into(),
                    service: None
                },
                Challenge::Basic
            ]
        );
        assert_eq!(parse("Bearer service=\"x\""), []);
        assert_eq!(parse("Digest realm=\"x\""), []);
        assert_eq!(parse(""), []);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn likely_text_is_survived(text in "(Bearer|Basic|[a-z=\", \\\\]){0,30}") {
            let _ = parse(&text);
        }
    }
}
