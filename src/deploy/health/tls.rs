//! HTTPS: which certificates are accepted.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::ProbeFailure;
use crate::config::checks::Trust;
use crate::remote::session::ByteStream;

/// Starts TLS over `stream` as a client of `name`.
pub(super) async fn wrap(
    stream: Box<dyn ByteStream>,
    trust: &Trust,
    name: &str,
) -> Result<Box<dyn ByteStream>, ProbeFailure> {
    let hopeless = |error: &dyn std::fmt::Display| {
        ProbeFailure::hopeless(format!("could not be asked: {error}"))
    };
    let config = config(trust).map_err(|error| hopeless(&error))?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| hopeless(&error))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(server, stream);
    Ok(Box::new(connecting.await.map_err(|error| not_trusted(&error, trust))?))
}

fn not_trusted(error: &io::Error, trust: &Trust) -> ProbeFailure {
    let miss = ProbeFailure::silent(error);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    if inner == Some(&unknown) && *trust == Trust::Public {
        return miss.hint(Some(
            "`ca` names a file with certificates of your own, `insecure = true` accepts any"
                .to_owned(),
        ));
    }
    miss
}

fn config(trust: &Trust) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let takes = match trust {
        Trust::Public => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        Trust::Anybody => Takes::Any,
        Trust::Only { pem, .. } => Takes::listed(pem, Arc::clone(&provider))?,
    };
    let verifier = Verifier { takes, algorithms: provider.signature_verification_algorithms };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}

/// Signatures are always verified, whichever certificates are accepted.
#[derive(Debug)]
struct Verifier {
    takes: Takes,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Accepts certificates by a list.
#[derive(Debug)]
enum Takes {
    Any,
    /// Certificates in a list, and those that they signed, for the names in them. One in the list
    /// need not belong to an authority.
    Listed {
        listed: Vec<CertificateDer<'static>>,
        signed: Arc<WebPkiServerVerifier>,
    },
}

impl Takes {
    fn listed(pem: &str, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let listed: Vec<_> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(listed.iter().cloned());
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let signed = signed.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self::Listed { listed, signed })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.takes {
            Takes::Any => Ok(ServerCertVerified::assertion()),
            Takes::Listed { listed, .. } if listed.contains(&shown.clone().into_owned()) => {
                let parsed = ParsedCertificate::try_from(shown)?;
                rustls::client::verify_server_name(&parsed, name)?;
                Ok(ServerCertVerified::assertion())
            }
            Takes::Listed { signed, .. } => {
                signed.verify_server_cert(shown, between, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
