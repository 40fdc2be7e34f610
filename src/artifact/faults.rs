//! The reasons why a store cannot be asked, and why a signature is not good.

use std::io;

/// The reason why a store cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum CredentialFault {
    #[error("no credentials were found: {looked}")]
    None { looked: String },
    #[error("`{set}` is set and `{unset}` is not")]
    Half { set: String, unset: String },
    #[error("neither {config} nor {credentials} has the profile `{profile}`")]
    NoProfile { profile: String, config: String, credentials: String },
    /// A way that the programs of AWS know and shipit does not.
    #[error("the profile `{profile}` has its credentials by `{key}`, which shipit does not follow")]
    Elsewhere { profile: String, key: String },
    #[error("`AWS_WEB_IDENTITY_TOKEN_FILE` gives credentials in a way that shipit does not follow")]
    WebIdentity,
    #[error("{address} did not answer as it should: {reason}")]
    Metadata { address: String, reason: String },
    #[error("the endpoint {endpoint} is neither https:// nor on this machine")]
    PlainEndpoint { endpoint: String },
}

impl CredentialFault {
    /// Returns what to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        let export = "aws configure export-credentials --format env";
        Some(match self {
            Self::None { .. } => "`export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…`, or name a \
                                  `profile` in [artifact.s3]"
                .to_owned(),
            Self::Half { unset, .. } => format!("`export {unset}=…`, then run this again"),
            Self::NoProfile { .. } => "`aws configure list-profiles` lists them".to_owned(),
            Self::Elsewhere { profile, .. } => {
                format!("`eval \"$({export} --profile {profile})\"`, then run this again")
            }
            Self::WebIdentity => format!("`eval \"$({export})\"`, then run this again"),
            Self::PlainEndpoint { .. } => {
                "let it speak TLS, or bring it to this machine: `ssh -L 9000:STORE:9000 …`"
                    .to_owned()
            }
            Self::Metadata { .. } => return None,
        })
    }
}

/// The reason why a signature is not good.
#[derive(Debug, thiserror::Error)]
pub enum SignatureFault {
    /// It is of another file, or of another version of it.
    #[error("the file is not what was signed")]
    Wrong,
    #[error("it was made with another key than `minisign` in [artifact.signature]")]
    OtherKey,
    #[error("it is no signature of minisign")]
    NoMinisign,
    /// Made by `minisign -l`, or by a version before 0.8.
    #[error("it was made in the old form of minisign, which takes the whole file into memory")]
    OldForm,
    #[error("no key in {allowed_signers} has made it")]
    Nobody { allowed_signers: String },
    /// The words of ssh-keygen.
    #[error("{said}")]
    Ssh { said: String },
    #[error("`ssh-keygen` could not be run")]
    NoProgram { source: io::Error },
    #[error("the file could not be read")]
    Io { source: io::Error },
}

impl SignatureFault {
    /// Returns what to do about it. `at` is the name of the signature.
    pub(super) fn hint(&self, at: &str) -> Option<String> {
        Some(match self {
            Self::Wrong | Self::Ssh { .. } => {
                format!("sign it again where it is built, and publish it together with {at}")
            }
            Self::OldForm => "sign it without `-l`, with minisign 0.10 or later".to_owned(),
            Self::OtherKey | Self::Nobody { .. } => {
                "if the new signer is meant, put the key into deploy.toml or `allowed_signers`"
                    .into()
            }
            Self::NoProgram { .. } => "it comes with OpenSSH's client".to_owned(),
            Self::NoMinisign | Self::Io { .. } => return None,
        })
    }
}
