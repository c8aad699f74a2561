//! Takes credentials out of texts that leave the daemon.

/// What stands in place of a credential.
pub const REDACTED: &str = "[redacted]";

/// Names whose value after `=` or `:` is a secret, in lower case.
const KEYS: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "identity_token",
    "identitytoken",
    "registry_token",
    "registrytoken",
    "authorization",
];

/// Removes user names and passwords in URLs, URL queries (signatures and tokens travel there), authorization
/// headers, and values of names that stand for secrets.
pub fn redact(text: &str) -> String {
    values(&schemes(&urls(text)))
}

/// `https://user:password@host/path?query` becomes `https://[redacted]@host/path?[redacted]`.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after.find(url_end).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        let authority_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (authority, path) = url.split_at(authority_end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str(REDACTED);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        match path.split_once('?') {
            Some((path, _)) => {
                out.push_str(path);
                out.push('?');
                out.push_str(REDACTED);
            }
            None => out.push_str(path),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn url_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')' | ',' | '`' | '|')
}

/// `Bearer TOKEN` and `Basic TOKEN`, but not "basic authentication" or a challenge's `Bearer realm="…"`.
fn schemes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find_word(rest, &["bearer ", "basic "]) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c)))
            .unwrap_or(after.len());
        let (token, tail) = after.split_at(end);
        let challenge = token.ends_with('=') && tail.starts_with('"');
        let looks = token.len() >= 16
            || (token.len() >= 6 && token.contains(|c: char| c.is_ascii_digit() || c == '='));
        out.push_str(if looks && !challenge { REDACTED } else { token });
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// `token=VALUE`, `"password":"VALUE"`, `Authorization: VALUE`.
fn values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let Some((value_at, value_len)) = next_value(rest) else {
            out.push_str(rest);
            return out;
        };
        out.push_str(&rest[..value_at]);
        out.push_str(REDACTED);
        rest = &rest[value_at + value_len..];
    }
}

/// Where the first secret value stands.
fn next_value(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(found) = text[from..].find(['=', ':']) {
        let sign = from + found;
        from = sign + 1;
        let name = text[..sign].trim_end_matches(['"', '\'', '\\']);
        let word_at = name
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .map_or(0, |i| {
                i + name[i..].chars().next().map_or(1, char::len_utf8)
            });
        let word = name[word_at..].to_ascii_lowercase();
        // In a path it is the name of a file, like that of /etc/passwd.
        if !KEYS.contains(&word.as_str()) || name[..word_at].ends_with('/') {
            continue;
        }
        // A colon in prose, as in "fetching a token: no route", is not followed by a value at once.
        let quoted = name.len() < sign;
        let after = &text[sign + 1..];
        let gap = if quoted || word == "authorization" {
            after.len() - after.trim_start_matches([' ', '"', '\'', '\\']).len()
        } else {
            after.len() - after.trim_start_matches(['"', '\'', '\\']).len()
        };
        let value_at = sign + 1 + gap;
        let value = &text[value_at..];
        let end = value
            .find(|c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | ',' | ';' | '\\'))
            .unwrap_or(value.len());
        if end > 0 && !value.starts_with(REDACTED) {
            return Some((value_at, end));
        }
    }
    None
}

/// The place behind the first of `words`, in any case, that begins a word.
fn find_word(text: &str, words: &[&str]) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    words
        .iter()
        .flat_map(|word| {
            lower.match_indices(word).filter_map(|(at, _)| {
                let inner = lower[..at]
                    .chars()
                    .next_back()
                    .is_some_and(char::is_alphanumeric);
                (!inner).then_some(at + word.len())
            })
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_files_are_no_keys() {
        let text = r#"exec: "/etc/passwd": permission denied"#;
        assert_eq!(redact(text), text);
    }

    #[test]
    fn credentials_go() {
        for (given, told) in [
            (
                "GET https://bob:hunter2@r.io/v2/x?sig=abc&t=1: 403",
                "GET https://[redacted]@r.io/v2/x?[redacted]",
            ),
            (
                "fetching (https://r.io/v2/x?X-Amz-Signature=abc) failed",
                "fetching (https://r.io/v2/x?[redacted]) failed",
            ),
            (
                "sent authorization: Bearer eyJhbGciOiJSUzI1NiJ9.e30.x, got 401",
                "sent authorization: [redacted] [redacted], got 401",
            ),
            ("Basic dTpw1A==", "Basic [redacted]"),
            (
                r#"answer {"token":"abc","expires_in":3}"#,
                r#"answer {"token":"[redacted]","expires_in":3}"#,
            ),
            (
                r#"answer { "access_token" : 1, "token": "a b" }"#,
                r#"answer { "access_token" : 1, "token": "[redacted] b" }"#,
            ),
            ("password=hunter2&user=bob", "password=[redacted]&user=bob"),
        ] {
            assert!(
                redact(given).starts_with(told),
                "{given} became {}",
                redact(given)
            );
        }
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "config.linux.security_context.run_as_user: -5 is not a user ID",
            r#"www-authenticate: Bearer realm="service""#,
            "basic authentication failed",
            "fetching a token: no route to host",
            "pulling docker.io/library/busybox@sha256:00 from http://127.0.0.1:5000/v2/: EOF",
            "",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn passwords_in_urls_never_survive(
            before in "[a-z :/]{0,10}",
            password in "[A-Z0-9]{8,20}",
            after in "[a-z/?:@ ]{0,20}",
        ) {
            let text = format!("{before} https://user:{password}@host/{after}");
            prop_assert!(!redact(&text).contains(&password));
        }

        #[test]
        fn anything_is_taken(text in "\\PC{0,80}", odd in "[a-z=:\"' ?@/\\\\]{0,60}") {
            redact(&text);
            redact(&odd);
            redact(&format!("token{text}={odd}Bearer {text}://{odd}@"));
        }
    }
}
