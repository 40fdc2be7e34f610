//! The algorithms that we use, less those that `ssh_config` leaves out.

use std::borrow::Cow;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{AlgorithmKind, Preferred, cipher, compression, kex, mac};

use crate::remote::session::SessionError;

/// AES in hardware is the fastest; CTR modes cost more than twice as much, so they come last.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
/// These prove the integrity of what they carry, and need no MAC.
const WITHOUT_MAC: [cipher::Name; 3] =
    [cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];
const MACS: &[mac::Name] =
    &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];
/// The NIST curves are all that some appliances and FIPS hosts have.
const EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
];
/// Not methods of key exchange, but extensions that the list of methods announces.
const EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];
/// The smallest RSA key, in bits, unless `ssh_config` asks for more; the default of ssh.
const RSA_BITS: u32 = 1024;

/// One list of algorithms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct List {
    /// The option, as `ssh_config` spells it.
    pub(crate) option: &'static str,
    /// `None`: `ssh_config` does not say, and every algorithm may be used.
    pub(crate) names: Option<Vec<String>>,
}

impl List {
    /// Returns whether the algorithm of this name may be used.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }

    /// Returns those of `ours` that may be used.
    fn of<T: Clone + AsRef<str>>(&self, ours: &[T]) -> Vec<T> {
        ours.iter().filter(|one| self.allows(one.as_ref())).cloned().collect()
    }

    /// Returns the option with its value; `None` if `ssh_config` does not set it.
    pub(crate) fn shown(&self) -> Option<String> {
        Some(format!("{} {}", self.option, self.names.as_ref()?.join(",")))
    }

    /// Returns those of `ours` that may be used. Fails if `ssh_config` leaves none.
    fn some<T: Clone + AsRef<str>>(&self, ours: &[T]) -> Result<Vec<T>, SessionError> {
        let left = self.of(ours);
        if !left.is_empty() {
            return Ok(left);
        }
        let ours: Vec<&str> = ours.iter().map(AsRef::as_ref).collect();
        Err(SessionError::Unsupported {
            setting: self.shown().unwrap_or_default(),
            reason: format!("none of them is supported, only {}", ours.join(", ")),
        })
    }
}

/// The algorithms that may be used: ours, less those that `ssh_config` leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    pub(crate) exchanges: List,
    pub(crate) ciphers: List,
    pub(crate) macs: List,
    /// Algorithms of host keys and host certificates.
    pub(crate) host_keys: List,
    /// Algorithms of the user's keys and certificates.
    pub(crate) user_keys: List,
    /// Algorithms of the signatures in host certificates.
    pub(crate) authorities: List,
    /// The smallest RSA key that `ssh_config` allows, in bits.
    pub(crate) rsa_bits: u32,
}

impl Allowed {
    /// Fails if `ssh_config` leaves nothing of a list.
    pub(crate) fn check(&self) -> Result<(), SessionError> {
        let keys: Vec<_> = key_types().iter().map(|one| name_of(one, false)).collect();
        let certified: Vec<_> = key_types().iter().map(|one| name_of(one, true)).collect();
        self.exchanges.some(EXCHANGES)?;
        self.host_keys.some(&[keys, certified].concat())?;
        let ciphers = self.ciphers.some(CIPHERS)?;
        if !ciphers.iter().any(|cipher| WITHOUT_MAC.contains(cipher)) {
            self.macs.some(MACS)?;
        }
        Ok(())
    }

    /// Returns what to offer a server of which these types of keys and certificates are wanted.
    pub(crate) fn preferred(&self, keys: Vec<Algorithm>, certified: Vec<Algorithm>) -> Preferred {
        let mut ciphers = self.ciphers.of(CIPHERS);
        let mut macs = self.macs.of(MACS);
        if macs.is_empty() {
            ciphers.retain(|cipher| WITHOUT_MAC.contains(cipher));
            macs = MACS.to_vec();
        }
        Preferred {
            kex: Cow::Owned([self.exchanges.of(EXCHANGES), EXTENSIONS.to_vec()].concat()),
            cipher: Cow::Owned(ciphers),
            mac: Cow::Owned(macs),
            key: Cow::Owned(keys),
            host_key_certificates: Cow::Owned(certified),
            compression: Cow::Borrowed(&[compression::NONE]),
        }
    }

    /// Returns the option of `ssh_config` that restricts a kind of algorithms, with its value.
    pub(crate) fn restricting(&self, kind: &AlgorithmKind) -> Option<String> {
        match kind {
            AlgorithmKind::Kex => self.exchanges.shown(),
            AlgorithmKind::Key => self.host_keys.shown(),
            AlgorithmKind::Cipher => self.ciphers.shown(),
            AlgorithmKind::Mac => self.macs.shown(),
            AlgorithmKind::Compression => None,
        }
    }

    /// Returns the reason if a key is too weak to prove anything.
    pub(crate) fn weakness(&self, key: &KeyData) -> Option<String> {
        let least = self.rsa_bits.max(RSA_BITS);
        match key {
            KeyData::Dsa(_) => Some("DSA keys are not used any more".to_owned()),
            KeyData::Rsa(rsa) if rsa.key_size() < least => Some(format!(
                "it is an RSA key of {} bits, and RequiredRSASize is {least}",
                rsa.key_size(),
            )),
            _ => None,
        }
    }

    /// Returns the names under which a key of the user may sign: two for an RSA key, best first;
    /// none if `ssh_config` allows none.
    pub(crate) fn signing(&self, key: &Algorithm, certified: bool) -> Vec<Algorithm> {
        let all = match key {
            Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
                .map(|hash| Algorithm::Rsa { hash: Some(hash) })
                .to_vec(),
            other => vec![other.clone()],
        };
        all.into_iter().filter(|one| self.user_keys.allows(&name_of(one, certified))).collect()
    }
}

/// Returns the name of an algorithm as ssh spells it.
pub(crate) fn name_of(algorithm: &Algorithm, certified: bool) -> String {
    if certified { algorithm.to_certificate_type() } else { algorithm.to_string() }
}

/// Returns the types of host keys to ask for when nothing is on record, best first.
pub(crate) fn key_types() -> Vec<Algorithm> {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let hashes = [HashAlg::Sha512, HashAlg::Sha256];
    let mut types = vec![Algorithm::Ed25519];
    types.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    types.extend(hashes.map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    types
}
