//! Signatures of artifacts: by minisign, or by `ssh-keygen -Y sign`, which `ssh-keygen` itself
//! verifies: it knows every kind of key, certificates, and all that `allowed_signers` may say.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use minisign_verify::{PublicKey, Signature};

use super::faults::SignatureFault;
use super::page;
use crate::config::access::SignedBy;

/// Fails unless the signature is one of this file, by whom the config names.
pub(super) fn verify(by: &SignedBy, signature: &str, file: &File) -> Result<(), SignatureFault> {
    match by {
        SignedBy::Minisign { key } => minisign(key, signature, file),
        SignedBy::Ssh { allowed_signers, identity, namespace } => {
            ssh(allowed_signers, identity.as_deref(), namespace, signature, file)
        }
    }
}

fn minisign(key: &str, signature: &str, file: &File) -> Result<(), SignatureFault> {
    let key = PublicKey::from_base64(key).map_err(|_| SignatureFault::OtherKey)?;
    let signature = Signature::decode(signature).map_err(|_| SignatureFault::NoMinisign)?;
    let mut verifier = key.verify_stream(&signature).map_err(|error| match error {
        minisign_verify::Error::UnsupportedLegacyMode => SignatureFault::OldForm,
        _ => SignatureFault::OtherKey,
    })?;
    let mut whole = file;
    let mut buffer = vec![0; 256 * 1024];
    let failed = |source| SignatureFault::Io { source };
    whole.rewind().map_err(failed)?;
    loop {
        match whole.read(&mut buffer).map_err(failed)? {
            0 => break,
            got => verifier.update(&buffer[..got]),
        }
    }
    verifier.finalize().map_err(|_| SignatureFault::Wrong)
}

fn ssh(
    allowed_signers: &Path,
    identity: Option<&str>,
    namespace: &str,
    signature: &str,
    file: &File,
) -> Result<(), SignatureFault> {
    let failed = |source| SignatureFault::Io { source };
    let mut beside = tempfile::NamedTempFile::new().map_err(failed)?;
    beside.write_all(signature.as_bytes()).map_err(failed)?;
    // It says no more than that it failed where the file is missing.
    File::open(allowed_signers).map_err(failed)?;
    let keygen = |action: &str| {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", action, "-f"]).arg(allowed_signers).arg("-s").arg(beside.path());
        keygen
    };
    let identity = if let Some(identity) = identity {
        identity.to_owned()
    } else {
        let found = run(keygen("find-principals").stdin(Stdio::null()))?;
        let names = String::from_utf8_lossy(&found.stdout);
        let name = names.split(['\n', ',']).next().unwrap_or_default().trim().to_owned();
        if !found.status.success() || name.is_empty() {
            let allowed_signers = allowed_signers.display().to_string();
            return Err(SignatureFault::Nobody { allowed_signers });
        }
        name
    };
    let mut whole = file.try_clone().map_err(failed)?;
    whole.rewind().map_err(failed)?;
    let mut verify = keygen("verify");
    let verified = run(verify.args(["-n", namespace, "-I", &identity]).stdin(whole))?;
    if verified.status.success() {
        return Ok(());
    }
    // It is silent where no line has both the key and the identity.
    Err(match page::line(&String::from_utf8_lossy(&verified.stderr)) {
        Some(said) if said.contains("incorrect signature") => SignatureFault::Wrong,
        Some(said) => SignatureFault::Ssh { said },
        None => {
            let allowed_signers = format!("{} for {identity}", allowed_signers.display());
            SignatureFault::Nobody { allowed_signers }
        }
    })
}

fn run(command: &mut Command) -> Result<Output, SignatureFault> {
    command.output().map_err(|source| SignatureFault::NoProgram { source })
}
