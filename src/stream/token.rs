//! One-shot tokens: what the URL of a stream holds, and for what request it was given out.
//!
//! Whoever has a token may use it once; nothing else is asked of a client. So a token cannot be guessed, and is
//! of no use a minute after it was given out.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::rand::GetRandomFlags;

/// How long a token can be used.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Tokens at one time.
pub const MAX: usize = 1000;
/// Random bytes in a token.
const BYTES: usize = 24;

/// A token. It is a secret: it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        let mut filled = 0;
        while filled < BYTES {
            filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Its text, fit for a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// There are as many tokens as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX} streams were asked for within a minute and not opened yet; try again later")]
pub struct Full;

/// Tokens that were given out and not used.
#[derive(Debug)]
pub struct Tokens<T> {
    given: HashMap<Token, T>,
    /// In the order they were given out in; used ones stay until their time is over or room is wanted.
    order: VecDeque<(Instant, Token)>,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self {
            given: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Tokens<T> {
    /// Keeps what `token` stands for. `now` never goes back from call to call.
    pub fn insert(&mut self, token: Token, value: T, now: Instant) -> Result<(), Full> {
        self.expire(now);
        if self.given.len() >= MAX {
            return Err(Full);
        }
        if self.order.len() >= 2 * MAX {
            self.order
                .retain(|(_, token)| self.given.contains_key(token));
        }
        self.order.push_back((now, token.clone()));
        self.given.insert(token, value);
        Ok(())
    }

    /// Takes what `token` stands for, if it is there and `fits`; a token that does not fit stays.
    pub fn take(&mut self, token: &str, now: Instant, fits: impl Fn(&T) -> bool) -> Option<T> {
        self.expire(now);
        // Tokens in `order` that are not in `given` are used up.
        let token = Token(token.to_owned());
        self.given.get(&token).filter(|value| fits(value))?;
        self.given.remove(&token)
    }

    /// How many could be used.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether none could be used.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && now.saturating_duration_since(*since) >= LIFETIME
        {
            if let Some((_, token)) = self.order.pop_front() {
                self.given.remove(&token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn tokens_are_long_differ_and_are_not_shown() {
        let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 32);
        assert!(
            a.as_str()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert!(!format!("{a:?}").contains(a.as_str()));
    }

    #[test]
    fn a_token_is_good_once_for_a_minute_and_for_its_purpose() {
        let mut tokens = Tokens::default();
        let start = Instant::now();
        let token = Token::random().unwrap();
        tokens.insert(token.clone(), 7, start).unwrap();
        assert_eq!(tokens.take("nonsense", start, |_| true), None);
        assert_eq!(tokens.take(token.as_str(), start, |_| false), None);
        assert_eq!(tokens.take(token.as_str(), start, |_| true), Some(7));
        assert_eq!(tokens.take(token.as_str(), start, |_| true), None);
        let late = Token::random().unwrap();
        tokens.insert(late.clone(), 8, start).unwrap();
        assert_eq!(tokens.take(late.as_str(), start + LIFETIME, |_| true), None);
        assert!(tokens.is_empty());
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut tokens = Tokens::default();
        let start = Instant::now();
        for n in 0..MAX {
            tokens.insert(Token(n.to_string()), n, start).unwrap();
        }
        assert_eq!(tokens.insert(Token("x".into()), 0, start), Err(Full));
        assert_eq!(tokens.take("5", start, |_| true), Some(5));
        tokens.insert(Token("x".into()), 0, start).unwrap();
        let later = start + LIFETIME;
        tokens.insert(Token("y".into()), 1, later).unwrap();
        assert_eq!(tokens.len(), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16),
        Take(u16),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3000u16).prop_map(Step::Insert),
            (0..3000u16).prop_map(Step::Take),
            (0..20_000u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_with_times(steps in prop::collection::vec(step(), 0..400)) {
            let mut now = Instant::now();
            let mut tokens = Tokens::default();
            let mut model: BTreeMap<String, (Instant, u16)> = BTreeMap::new();
            // A name is used once, as random ones are.
            let mut names = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(n) if names.insert(n) => {
                        tokens.insert(Token(n.to_string()), n, now).unwrap();
                        model.insert(n.to_string(), (now, n));
                    }
                    Step::Insert(_) => {}
                    Step::Take(n) => {
                        let taken = tokens.take(&n.to_string(), now, |_| true);
                        prop_assert_eq!(taken, model.remove(&n.to_string()).map(|(_, n)| n));
                    }
                    Step::Wait(millis) => {
                        now += Duration::from_millis(millis);
                        model.retain(|_, (since, _)| now - *since < LIFETIME);
                    }
                }
                prop_assert!(tokens.order.len() <= 2 * MAX + 1);
            }
        }
    }
}
