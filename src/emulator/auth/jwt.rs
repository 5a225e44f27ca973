//! The assertion of the JWT bearer flow: signature and claims.
//!
//! `exp` comes as a number of seconds, as text (simple-salesforce) and in milliseconds (the sf command line): real
//! orgs take all three, so refusing two of them would be strict in the wrong place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use openssl::x509::X509;
use serde_json::Value;

/// What the signature is checked against.
#[derive(Clone)]
pub enum JwtKey {
    /// The flow is refused.
    None,
    /// Any signature will do: for rehearsals without a key pair.
    Any,
    Public(PKey<Public>),
}

/// The claims of a well-signed assertion.
pub struct Claims(Value);

impl JwtKey {
    /// A public key or a certificate, PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, openssl::error::ErrorStack> {
        let key = match X509::from_pem(pem) {
            Ok(certificate) => certificate.public_key()?,
            Err(_) => PKey::public_key_from_pem(pem)?,
        };
        Ok(Self::Public(key))
    }

    pub fn verify(&self, assertion: &str) -> Result<Claims, &'static str> {
        const INVALID: &str = "invalid assertion";
        let (signed, signature) = assertion.rsplit_once('.').ok_or(INVALID)?;
        let (header, claims) = signed.split_once('.').ok_or(INVALID)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|_| INVALID);
        let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| INVALID)?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(INVALID);
        }
        let good = match self {
            Self::None => return Err("user hasn't approved this consumer"),
            Self::Any => true,
            Self::Public(key) => rs256(key, signed, &decode(signature)?).unwrap_or(false),
        };
        if !good {
            return Err(INVALID);
        }
        serde_json::from_slice(&decode(claims)?).map(Claims).map_err(|_| INVALID)
    }
}

impl Claims {
    /// Checks issuer, subject and expiry; hands back the audience.
    pub fn check(&self, client_id: &str, username: &str) -> Result<&str, &'static str> {
        let text = |name: &str| self.0.get(name).and_then(Value::as_str);
        if text("iss") != Some(client_id) {
            return Err("invalid client credentials");
        }
        if text("sub").or(text("prn")) != Some(username) {
            return Err("user hasn't approved this consumer");
        }
        let expires = self.expires_ms().ok_or("invalid assertion")?;
        if expires <= jiff::Timestamp::now().as_millisecond() {
            return Err("expired authorization code");
        }
        text("aud").ok_or("audience is invalid")
    }

    fn expires_ms(&self) -> Option<i64> {
        /// Seconds pass this in the year 5138, milliseconds passed it in 1973.
        const MILLIS_FROM: i64 = 100_000_000_000;
        let exp = self.0.get("exp")?;
        #[expect(clippy::cast_possible_truncation, reason = "a cut to whole seconds is meant")]
        let exp = exp.as_i64().or_else(|| exp.as_f64().map(|exp| exp as i64)).or_else(|| exp.as_str()?.parse().ok())?;
        Some(if exp < MILLIS_FROM { exp * 1000 } else { exp })
    }
}

fn rs256(key: &PKey<Public>, signed: &str, signature: &[u8]) -> Result<bool, openssl::error::ErrorStack> {
    let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
    verifier.update(signed.as_bytes())?;
    verifier.verify(signature)
}
