//! HTTPS: which certificates are accepted.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
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
    let (listed, signed) = match trust {
        Trust::Public => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        Trust::Anybody => (Vec::new(), None),
        Trust::Only { pem, .. } => {
            let listed: Vec<_> =
                CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(listed.iter().cloned());
            let roots = Arc::new(roots);
            let signed = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let signed = signed.build().map_err(|error| Error::General(error.to_string()))?;
            (listed, Some(signed))
        }
    };
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Verifier { listed, signed, algorithms };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder.with_no_client_auth())
}

/// Accepts certificates in a list, and those that they signed, for the names in them; without a
/// list, any. Signatures are always verified.
#[derive(Debug)]
struct Verifier {
    /// These need not belong to an authority.
    listed: Vec<CertificateDer<'static>>,
    /// `None`: any certificate is accepted.
    signed: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
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
        let Some(signed) = &self.signed else { return Ok(ServerCertVerified::assertion()) };
        if !self.listed.contains(&shown.clone().into_owned()) {
            return signed.verify_server_cert(shown, between, name, ocsp, now);
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        Ok(ServerCertVerified::assertion())
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
