//! Passwords: SCRAM-SHA-256 as PostgreSQL has it (RFC 5802 and 7677), the server's side, without channel binding.
//!
//! The front knows verifiers, from which no password can be read, and a password never crosses the wire. Who has no verifier goes
//! through the same exchange and fails at its end, so that nobody learns which roles there are.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// The mechanism's name in the protocol.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";
/// What PostgreSQL makes verifiers with.
const ITERATIONS: u32 = 4096;
/// Bytes of a client's nonce, at most.
const MAX_NONCE: usize = 1024;

type Key = [u8; 32];

/// What is kept of a role's password: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as in `pg_authid`.
#[derive(Clone, PartialEq, Eq)]
struct Verifier {
    iterations: u32,
    /// In base64.
    salt: String,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    fn parse(text: &str) -> Option<Verifier> {
        let mut parts = text.split('$');
        let (mechanism, cost, keys) = (parts.next()?, parts.next()?, parts.next()?);
        let (iterations, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|n| *n > 0)?;
        let salt_bytes = BASE64.decode(salt).ok().filter(|s| !s.is_empty());
        if mechanism != MECHANISM || parts.next().is_some() || salt_bytes.is_none() {
            return None;
        }
        Some(Verifier {
            iterations,
            salt: salt.to_owned(),
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

fn key(text: &str) -> Option<Key> {
    BASE64.decode(text).ok()?.try_into().ok()
}

/// The roles that must prove a password, with what it is checked against.
pub(crate) struct Passwords {
    verifiers: BTreeMap<String, Verifier>,
    /// Makes up the salts of those that have none.
    secret: Key,
}

impl Passwords {
    /// # Errors
    /// The role whose verifier is none.
    pub fn new(configured: &BTreeMap<String, String>) -> Result<Passwords, String> {
        let parsed = configured.iter().map(|(role, text)| {
            let verifier = Verifier::parse(text).ok_or_else(|| role.clone())?;
            Ok((role.clone(), verifier))
        });
        let verifiers = parsed.collect::<Result<_, String>>()?;
        // Equal at all proxies with these verifiers and after each start, or it would tell who has none.
        let mut secret = Sha256::new_with_prefix(b"steeldb 2026 salts of nobody");
        for (role, text) in configured {
            secret.update(role.len().to_be_bytes());
            secret.update(role);
            secret.update(text);
        }
        Ok(Passwords {
            verifiers,
            secret: secret.finalize().into(),
        })
    }

    /// The exchange with a client that says it is this role. `nonce`: never used before.
    pub fn exchange(&self, role: &str, nonce: &[u8; 18]) -> Exchange {
        let known = self.verifiers.get(role).cloned();
        let verifier = known.clone().unwrap_or_else(|| Verifier {
            iterations: ITERATIONS,
            salt: BASE64.encode(&hmac(&self.secret, &[role.as_bytes()])[..16]),
            stored_key: [0; 32],
            server_key: [0; 32],
        });
        Exchange {
            verifier,
            known: known.is_some(),
            nonce: BASE64.encode(nonce),
        }
    }
}

/// One log-in: first the client's first message, then its final one.
pub(crate) struct Exchange {
    verifier: Verifier,
    known: bool,
    nonce: String,
}

/// What the client said first and was answered.
pub(crate) struct Asked {
    verifier: Verifier,
    known: bool,
    /// `c=` of the final message: what was said about channel binding.
    binding: String,
    nonce: String,
    /// The part of the signed text that is known.
    said: String,
}

/// What a message is not.
pub(crate) type Malformed = &'static str;

impl Exchange {
    /// Takes the client's first message; the answer is to be sent.
    ///
    /// # Errors
    /// When it is not of this mechanism's form.
    pub fn first(self, message: &str) -> Result<(Asked, String), Malformed> {
        // The front offers no channel binding; a client that could do it says so by "y".
        let flag = message.get(..2).unwrap_or_default();
        if flag != "n," && flag != "y," {
            return Err("channel binding is not supported");
        }
        let (authorization, bare) = message[2..]
            .split_once(',')
            .ok_or("the client's first message ends early")?;
        if !authorization.is_empty() {
            return Err("an authorization identity is not supported");
        }
        let mut attributes = bare.split(',');
        // The role is that of the startup packet, as in PostgreSQL.
        let name = attributes.next().unwrap_or_default();
        let nonce = attributes.next().unwrap_or_default();
        let nonce = nonce.strip_prefix("r=").unwrap_or_default();
        let printable = |c: char| c.is_ascii_graphic();
        if !name.starts_with("n=")
            || nonce.is_empty()
            || nonce.len() > MAX_NONCE
            || !nonce.chars().all(printable)
        {
            return Err("the client's first message names no user or no nonce");
        }
        let nonce = format!("{nonce}{}", self.nonce);
        let answer = format!(
            "r={nonce},s={},i={}",
            self.verifier.salt, self.verifier.iterations
        );
        let asked = Asked {
            verifier: self.verifier,
            known: self.known,
            binding: BASE64.encode(format!("{flag},")),
            said: format!("{bare},{answer}"),
            nonce,
        };
        Ok((asked, answer))
    }
}

impl Asked {
    /// Takes the client's final message. With the right password there is an answer, by which the client knows the server.
    ///
    /// # Errors
    /// When it is not of this mechanism's form.
    pub fn finish(self, message: &str) -> Result<Option<String>, Malformed> {
        let (unproven, proof) = message
            .rsplit_once(",p=")
            .ok_or("the client's final message holds no proof")?;
        let mut attributes = unproven.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        if binding != Some(&self.binding) || nonce != Some(&self.nonce) {
            return Err("the client's final message does not belong to its first one");
        }
        let proof = key(proof).ok_or("the client's proof is no base64 of 32 bytes")?;
        let signed = format!("{},{unproven}", self.said);
        let signature = hmac(&self.verifier.stored_key, &[signed.as_bytes()]);
        let mut client_key = proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let stored: Key = Sha256::digest(client_key).into();
        let right = bool::from(stored.ct_eq(&self.verifier.stored_key)) && self.known;
        let answer = || {
            let signature = hmac(&self.verifier.server_key, &[signed.as_bytes()]);
            format!("v={}", BASE64.encode(signature))
        };
        Ok(right.then(answer))
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // RFC 7677, 3: user "user", password "pencil".
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn pencil() -> Verifier {
        let salted = {
            let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
            let mut block = hmac(b"pencil", &[&salt, &1_u32.to_be_bytes()]);
            let mut sum = block;
            for _ in 1..4096 {
                block = hmac(b"pencil", &[&block]);
                sum.iter_mut().zip(block).for_each(|(a, b)| *a ^= b);
            }
            sum
        };
        Verifier {
            iterations: 4096,
            salt: "W22ZaJ0SNY7soEsUEjb6gQ==".to_owned(),
            stored_key: Sha256::digest(hmac(&salted, &[b"Client Key"])).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    fn exchange(known: bool) -> Exchange {
        Exchange {
            verifier: pencil(),
            known,
            nonce: SERVER_NONCE.to_owned(),
        }
    }

    #[test]
    fn the_exchange_of_the_rfc_comes_out_as_there() {
        let (asked, answer) = exchange(true).first(CLIENT_FIRST).unwrap();
        assert_eq!(
            answer,
            format!("r=rOprNGfwEbeRWgbNEkqO{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        );
        let answer = asked.finish(CLIENT_FINAL).unwrap();
        assert_eq!(
            answer.as_deref(),
            Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn a_verifier_is_read_as_postgresql_writes_it_and_nothing_else_is_one() {
        let text = postgres_protocol::password::scram_sha_256(b"pencil");
        assert!(Verifier::parse(&text).is_some(), "{text}");
        for bad in [
            "",
            "pencil",
            "md5aa8b15d46b3ac6b2ac8a0c3c7a1bd0b0",
            &text.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
            &text.replace("4096", "0"),
            &text[..text.len() - 4],
            &format!("{text}$"),
        ] {
            assert!(Verifier::parse(bad).is_none(), "{bad}");
        }
        let configured = BTreeMap::from([("app".to_owned(), "pencil".to_owned())]);
        assert_eq!(Passwords::new(&configured).err().as_deref(), Some("app"));
    }

    #[test]
    fn who_is_not_known_is_asked_like_everybody_and_fails_at_the_end() {
        let configured = BTreeMap::from([(
            "app".to_owned(),
            postgres_protocol::password::scram_sha_256(b"pencil"),
        )]);
        let salt = |role| {
            // As after another start.
            let passwords = Passwords::new(&configured).unwrap();
            let (_, answer) = passwords
                .exchange(role, &[1; 18])
                .first(CLIENT_FIRST)
                .ok()
                .unwrap();
            answer
        };
        assert_eq!(salt("nobody"), salt("nobody"), "as one with a password");
        assert_ne!(salt("nobody"), salt("somebody"));
        let (asked, _) = exchange(false).first(CLIENT_FIRST).ok().unwrap();
        assert_eq!(asked.finish(CLIENT_FINAL), Ok(None));
    }

    #[test]
    fn another_nonce_another_proof_and_another_binding_are_refused() {
        let finish = |message: &str| {
            let (asked, _) = exchange(true).first(CLIENT_FIRST).ok().unwrap();
            asked.finish(message)
        };
        assert!(finish(CLIENT_FINAL).unwrap().is_some());
        let wrong = CLIENT_FINAL.replace("p=dHzb", "p=eHzb");
        assert_eq!(finish(&wrong), Ok(None));
        for malformed in [
            CLIENT_FINAL.replace("r=rOpr", "r=rOpq"),
            CLIENT_FINAL.replace("c=biws", "c=eSws"),
            CLIENT_FINAL.replace(",p=", ",q="),
            CLIENT_FINAL.replace("dVQ=", ""),
        ] {
            assert!(finish(&malformed).is_err(), "{malformed}");
        }
        for first in [
            "p=tls-unique,,n=,r=abc",
            "n,a=x,n=,r=abc",
            "n,,n=,r=",
            "n,,",
            "n",
            "",
        ] {
            assert!(exchange(true).first(first).is_err(), "{first}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(first in ".{0,40}", last in ".{0,40}") {
            let _ = exchange(true).first(&first);
            let (asked, _) = exchange(true).first(CLIENT_FIRST).ok().unwrap();
            let _ = asked.finish(&last);
        }
    }
}
