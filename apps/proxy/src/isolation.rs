//! Which streams may share a circuit.
//!
//! A client's user name and password choose its isolation token, whatever protocol carried them: SOCKS5 and HTTP with
//! equal credentials share circuits, different credentials never do. Streams without credentials share one token per
//! table, that is, per listener. The table is bounded; a token that nobody has used for a while is forgotten, and the
//! same credentials later get a new token and so new circuits.
//!
//! The table is a plain value: the caller brings the time.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A user name and a password, used for nothing but telling streams apart. Erased on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Credentials {
    /// Any bytes do; both may be empty.
    #[must_use]
    pub fn new(user: &[u8], password: &[u8]) -> Credentials {
        Credentials { user: user.to_vec(), password: password.to_vec() }
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Credentials) -> bool {
        self.user == other.user && self.password == other.password
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
        self.password.hash(state);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// Streams with equal tokens may share a circuit; others never do. A number that means nothing outside its table and
/// is never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// The token of streams that came without credentials.
    pub const SHARED: Token = Token(0);

    /// The number behind the token.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Every token is in use: no further credentials can be kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many isolation tokens in use")]
pub struct TooManyTokens;

struct Entry {
    token: Token,
    users: usize,
    idle_since: Instant,
}

/// Credentials → token, bounded, with idle expiry.
pub struct Isolation<S = std::hash::RandomState> {
    entries: HashMap<Credentials, Entry, S>,
    capacity: usize,
    idle: Duration,
    next: u64,
}

impl Isolation {
    /// A table of at most `capacity` credentials; each is forgotten when it was unused for `idle`.
    #[must_use]
    pub fn new(capacity: usize, idle: Duration) -> Isolation {
        Isolation::with_hasher(capacity, idle, std::hash::RandomState::new())
    }
}

impl<S: BuildHasher> Isolation<S> {
    /// As [`Isolation::new`], with a hasher of the caller's choice.
    pub fn with_hasher(capacity: usize, idle: Duration, hasher: S) -> Isolation<S> {
        Isolation { entries: HashMap::with_hasher(hasher), capacity, idle, next: Token::SHARED.0 + 1 }
    }

    /// The token of these credentials, counted as used until [`Isolation::release`]. When the table is full, the
    /// token that was idle longest makes room; it is returned second and its circuits should be closed.
    ///
    /// # Errors
    /// [`TooManyTokens`] if the table is full and every token in it is in use.
    pub fn acquire(
        &mut self,
        now: Instant,
        credentials: Option<&Credentials>,
    ) -> Result<(Token, Option<Token>), TooManyTokens> {
        let Some(credentials) = credentials else {
            return Ok((Token::SHARED, None));
        };
        if let Some(entry) = self.entries.get_mut(credentials) {
            entry.users += 1;
            return Ok((entry.token, None));
        }
        let evicted = if self.entries.len() >= self.capacity { Some(self.evict()?) } else { None };
        let token = Token(self.next);
        self.next += 1;
        self.entries.insert(credentials.clone(), Entry { token, users: 1, idle_since: now });
        Ok((token, evicted))
    }

    /// One stream of these credentials has ended.
    pub fn release(&mut self, now: Instant, credentials: Option<&Credentials>) {
        if let Some(entry) = credentials.and_then(|c| self.entries.get_mut(c)) {
            entry.users = entry.users.saturating_sub(1);
            entry.idle_since = now;
        }
    }

    /// Forgets what was idle for too long and returns it: circuits of these tokens should be closed.
    pub fn expire(&mut self, now: Instant) -> Vec<Token> {
        let idle = self.idle;
        let mut gone = Vec::new();
        self.entries.retain(|_, entry| {
            let keep = entry.users > 0 || now.saturating_duration_since(entry.idle_since) < idle;
            if !keep {
                gone.push(entry.token);
            }
            keep
        });
        gone
    }

    /// How many credentials are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no credentials are remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn evict(&mut self) -> Result<Token, TooManyTokens> {
        let oldest = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.users == 0)
            .min_by_key(|(_, entry)| (entry.idle_since, entry.token))
            .map(|(credentials, entry)| (credentials.clone(), entry.token));
        let (credentials, token) = oldest.ok_or(TooManyTokens)?;
        self.entries.remove(&credentials);
        Ok(token)
    }
}

impl<S> fmt::Debug for Isolation<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolation").field("tokens", &self.entries.len()).field("capacity", &self.capacity).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, password: &str) -> Credentials {
        Credentials::new(user.as_bytes(), password.as_bytes())
    }

    #[test]
    fn equal_credentials_share_and_others_do_not() {
        let now = Instant::now();
        let mut table = Isolation::new(8, Duration::from_secs(60));
        let mut token = |c: Option<&Credentials>| table.acquire(now, c).expect("room").0;
        let a = token(Some(&who("ab", "c")));
        assert_eq!(a, token(Some(&who("ab", "c"))));
        assert_ne!(a, token(Some(&who("a", "bc"))), "the border between name and password counts");
        assert_ne!(token(Some(&who("", ""))), Token::SHARED);
        assert_eq!(token(None), Token::SHARED);
    }

    #[test]
    fn idle_tokens_are_forgotten_and_come_back_new() {
        let start = Instant::now();
        let mut table = Isolation::new(8, Duration::from_secs(60));
        let c = who("u", "p");
        let (first, _) = table.acquire(start, Some(&c)).expect("room");
        let later = start + Duration::from_secs(120);
        assert!(table.expire(later).is_empty(), "in use");
        table.release(later, Some(&c));
        assert!(table.expire(later + Duration::from_secs(59)).is_empty());
        assert_eq!(table.expire(later + Duration::from_secs(60)), vec![first]);
        let (second, _) = table.acquire(later, Some(&c)).expect("room");
        assert_ne!(first, second);
    }

    #[test]
    fn a_full_table_gives_up_the_longest_idle_or_refuses() {
        let start = Instant::now();
        let mut table = Isolation::new(2, Duration::from_secs(60));
        let (a, b, c) = (who("a", ""), who("b", ""), who("c", ""));
        let (token_a, _) = table.acquire(start, Some(&a)).expect("room");
        table.acquire(start, Some(&b)).expect("room");
        assert_eq!(table.acquire(start, Some(&c)), Err(TooManyTokens));
        assert_eq!(table.acquire(start, None), Ok((Token::SHARED, None)), "no credentials always works");
        table.release(start + Duration::from_secs(1), Some(&a));
        table.release(start + Duration::from_secs(2), Some(&b));
        let (_, evicted) = table.acquire(start + Duration::from_secs(3), Some(&c)).expect("room");
        assert_eq!(evicted, Some(token_a));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn credentials_are_never_shown() {
        let c = who("alice", "hunter2");
        let mut table = Isolation::new(2, Duration::from_secs(60));
        table.acquire(Instant::now(), Some(&c)).expect("room");
        let shown = format!("{c:?} {table:?}");
        assert!(!shown.contains("alice") && !shown.contains("hunter2"));
    }
}
