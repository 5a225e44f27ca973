//! Secrets: made, and compared with what somebody gives.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

/// A secret nobody can guess.
pub fn random_secret() -> SecretString {
    let mut bytes = [0_u8; 24];
    openssl::rand::rand_bytes(&mut bytes).expect("the system's source of randomness answers");
    URL_SAFE_NO_PAD.encode(bytes).into()
}

/// Compares secrets in a time that does not tell how much of them is right.
pub fn same(given: &str, expected: &str) -> bool {
    let digest = |text: &str| openssl::sha::sha256(text.as_bytes());
    openssl::memcmp::eq(&digest(given), &digest(expected))
}
