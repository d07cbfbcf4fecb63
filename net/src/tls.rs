//! TLS 1.3 with Ed25519 raw public keys (RFC 7250) in both directions.
//!
//! Why raw keys and no certificates: the [`Directory`](crate::Directory) already says whose key is whose, so names, issuers and
//! dates in a certificate would be parsed for nothing. Soundness rests on three things. (1) Both sides send their key
//! and a signature with it over the handshake transcript (RFC 8446, 4.4.3), which rustls has verified before the
//! handshake ends: whoever completes it holds the secret key, in this very handshake. (2) A key must be in the set
//! given here: a listener takes every other peer's key, a dialler only the key of the one peer it dials, so a
//! peer that answers at another's address is refused. (3) There are no tickets, so no session is resumed
//! without a signature. The peer's id is looked up by the proven key and nothing on the wire can claim another.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, ClientConfig, Resumption};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group, sign};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, CommonState, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};

use crate::Identity;

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// DER of an Ed25519 PKCS#8 private key up to the seed (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// Ends the handshake with software that speaks another protocol.
const PROTOCOL: &[u8] = b"steeldb/1";

/// The configuration of a listener that admits the owners of `allowed`.
pub fn server(identity: &Identity, allowed: BTreeSet<[u8; 32]>) -> Result<ServerConfig, Error> {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(KnownKeys { allowed }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(
            identity,
        )?)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a dialler that will speak with the owner of `peer` only.
pub fn client(identity: &Identity, peer: [u8; 32]) -> Result<ClientConfig, Error> {
    let known = KnownKeys {
        allowed: BTreeSet::from([peer]),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(known))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(
            identity,
        )?)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// A name that the TLS library asks for and nobody looks at: the key says who it is.
pub fn no_name() -> ServerName<'static> {
    ServerName::try_from("peer.invalid").expect("a valid host name")
}

/// The key that the other side of a finished handshake has proven to hold; `None` if it did not agree on our protocol.
pub fn proven_key(connection: &CommonState) -> Option<[u8; 32]> {
    match (connection.alpn_protocol(), connection.peer_certificates()) {
        (Some(PROTOCOL), Some([spki])) => key_of(spki),
        _ => None,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        // AES in hardware first; the second for processors without it.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, Error> {
    let mut pkcs8 = PKCS8_PREFIX.to_vec();
    pkcs8.extend_from_slice(&identity.signing_key().to_bytes());
    let key = sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
    let mut spki = SPKI_PREFIX.to_vec();
    spki.extend_from_slice(&identity.public_key());
    Ok(Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(spki)],
        key,
    )))
}

fn key_of(spki: &[u8]) -> Option<[u8; 32]> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// Admits the owners of certain keys, on either side of a connection.
#[derive(Debug)]
struct KnownKeys {
    allowed: BTreeSet<[u8; 32]>,
}

impl KnownKeys {
    fn check(&self, spki: &[u8], more: &[CertificateDer<'_>]) -> Result<(), Error> {
        match key_of(spki) {
            Some(key) if more.is_empty() && self.allowed.contains(&key) => Ok(()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signature, &algorithms)
    }
}

fn only_tls13() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}

impl ServerCertVerifier for KnownKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KnownKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConnection, ServerConnection};

    /// Runs a handshake in memory; the error of the side that refused.
    fn handshake(client: ClientConfig, server: ServerConfig) -> Result<(), Error> {
        let mut client = ClientConnection::new(Arc::new(client), no_name())?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets()?;
        }
        assert!(proven_key(&client).is_some() && proven_key(&server).is_some());
        Ok(())
    }

    /// What presents one identity's public key and signs with another's secret.
    fn thief(stolen: &Identity, own: &Identity) -> Arc<CertifiedKey> {
        let (stolen, own) = (certified(stolen).unwrap(), certified(own).unwrap());
        Arc::new(CertifiedKey::new(stolen.cert.clone(), own.key.clone()))
    }

    #[test]
    fn a_public_key_without_its_secret_opens_no_door() {
        let [alice, bob, eve] = [(); 3].map(|()| Identity::generate());
        let allow = |who: &Identity| BTreeSet::from([who.public_key()]);
        let dial_bob = || client(&alice, bob.public_key()).unwrap();
        let admit_alice = || server(&bob, allow(&alice)).unwrap();
        assert_eq!(handshake(dial_bob(), admit_alice()), Ok(()));

        let bad_signature = Error::InvalidCertificate(CertificateError::BadSignature);
        let mut as_alice = dial_bob();
        let stolen = thief(&alice, &eve);
        as_alice.client_auth_cert_resolver =
            Arc::new(AlwaysResolvesClientRawPublicKeys::new(stolen));
        assert_eq!(
            handshake(as_alice, admit_alice()),
            Err(bad_signature.clone())
        );

        let mut as_bob = admit_alice();
        as_bob.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(thief(&bob, &eve)));
        assert_eq!(handshake(dial_bob(), as_bob), Err(bad_signature));
    }

    #[test]
    fn other_keys_are_refused_by_either_side() {
        let [alice, bob, eve] = [(); 3].map(|()| Identity::generate());
        let refused = Err(CertificateError::ApplicationVerificationFailure.into());
        let dial_bob = |who| client(who, bob.public_key()).unwrap();
        let admit_alice = |at| server(at, BTreeSet::from([alice.public_key()])).unwrap();
        assert_eq!(handshake(dial_bob(&eve), admit_alice(&bob)), refused);
        assert_eq!(handshake(dial_bob(&alice), admit_alice(&eve)), refused);
    }

    #[test]
    fn a_client_without_a_key_is_refused() {
        let [alice, bob] = [(); 2].map(|()| Identity::generate());
        let mut nameless = client(&alice, bob.public_key()).unwrap();
        nameless.client_auth_cert_resolver = Arc::new(NoKey);
        let admit_alice = server(&bob, BTreeSet::from([alice.public_key()])).unwrap();
        assert!(handshake(nameless, admit_alice).is_err());
    }

    #[derive(Debug)]
    struct NoKey;

    impl rustls::client::ResolvesClientCert for NoKey {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn only_raw_public_keys(&self) -> bool {
            true
        }

        fn has_certs(&self) -> bool {
            false
        }
    }
}
