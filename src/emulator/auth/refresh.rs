//! The refresh token grant. An org that rotates takes a token once, and its answer has the next one. Who sends a used
//! one again is a thief, or was robbed: everything that came of it ends.

use std::collections::HashSet;

use secrecy::{ExposeSecret as _, SecretString};

use super::secret::same;

/// The refresh tokens of one consumer and user.
pub struct RefreshTokens {
    valid: Option<SecretString>,
    rotate: bool,
    used: HashSet<String>,
}

/// Why a token gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown,
    UsedBefore,
}

impl RefreshTokens {
    pub fn new(valid: Option<SecretString>, rotate: bool) -> Self {
        Self { valid, rotate, used: HashSet::new() }
    }

    /// The token's successor, if there is one. `make` makes it.
    pub fn exchange(&mut self, token: &str, make: impl FnOnce() -> SecretString) -> Result<Option<String>, Refused> {
        if self.used.contains(token) {
            self.valid = None;
            return Err(Refused::UsedBefore);
        }
        if !self.is_valid(token) {
            return Err(Refused::Unknown);
        }
        if !self.rotate {
            return Ok(None);
        }
        self.used.insert(token.to_owned());
        let successor = make();
        let shown = successor.expose_secret().to_owned();
        self.valid = Some(successor);
        Ok(Some(shown))
    }

    /// Whether there was such a token.
    pub fn revoke(&mut self, token: &str) -> bool {
        let found = self.is_valid(token);
        if found {
            self.valid = None;
        }
        found
    }

    fn is_valid(&self, token: &str) -> bool {
        self.valid.as_ref().is_some_and(|valid| same(token, valid.expose_secret()))
    }
}
