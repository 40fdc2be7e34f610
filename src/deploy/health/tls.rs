//! HTTPS: what is verified, and by whose certificates.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::Miss;
use crate::config::checks::Trust;
use crate::remote::session::Stream;

/// Speaks TLS over `stream`, as a client of `name`.
pub(super) async fn wrap(
    stream: Box<dyn Stream>,
    trust: &Trust,
    name: &str,
) -> Result<Box<dyn Stream>, Miss> {
    let hopeless = |error: &dyn std::fmt::Display| Miss {
        hopeless: true,
        ..Miss::new(format!("could not be asked: {error}"))
    };
    let config = config(trust).map_err(|error| hopeless(&error))?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| hopeless(&error))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(server, stream);
    Ok(Box::new(connecting.await.map_err(|error| not_trusted(&error, trust))?))
}

fn not_trusted(error: &io::Error, trust: &Trust) -> Miss {
    let miss = Miss::silent(error);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    if inner == Some(&unknown) && *trust == Trust::Public {
        return miss.hint(Some(
            "`ca` names a file with certificates of your own, `insecure = true` takes any"
                .to_owned(),
        ));
    }
    miss
}

fn config(trust: &Trust) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Public => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        Trust::Anybody => Arc::new(Anybody(provider)),
        Trust::Only { pem, .. } => Arc::new(Listed::new(pem, provider)?),
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes any certificate; whoever shows it must still hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

/// Takes the certificates of a list, for the names in them, and what they signed. A certificate
/// that stands in the list itself need not be one of an authority, nor be told apart from one.
#[derive(Debug)]
struct Listed {
    listed: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

impl Listed {
    fn new(pem: &str, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let listed: Vec<_> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(listed.iter().cloned());
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let signed = signed.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { listed, signed })
    }
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.iter().any(|listed| listed == shown) {
            let parsed = ParsedCertificate::try_from(shown)?;
            rustls::client::verify_server_name(&parsed, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.signed.verify_server_cert(shown, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
