//! The text of a private key, in every form that ssh-keygen, openssl and PuTTY write, and the
//! damage that variables and editors do to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::{Error, PrivateKey};

/// The reason why a text is no key. It holds nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// It needs a passphrase, or another one.
    Encrypted,
    /// The fault, after the word for the text: `it is empty`.
    Flawed(String),
}

/// Returns the key in `text`. Line ends of Windows, blanks around a line and a missing last newline
/// do no harm.
pub(crate) fn private_key(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, NoKey> {
    let lines: Vec<&str> = text.trim().lines().map(str::trim).collect();
    match russh::keys::decode_secret_key(&lines.join("\n"), passphrase) {
        Ok(key) => Ok(key),
        Err(Error::KeyIsEncrypted) => Err(NoKey::Encrypted),
        Err(error) => Err(flaw(text, passphrase.is_some(), &error)),
    }
}

/// Returns the damage that a variable or an editor did to the text of a key, else what the library
/// says of it, which is about the form of its bytes.
fn flaw(text: &str, opened: bool, error: &Error) -> NoKey {
    let trimmed = text.trim();
    let squeezed: String = trimmed.split_whitespace().collect();
    let is_base64 = || STANDARD.decode(&squeezed).is_ok_and(|it| it.starts_with(b"-----BEGIN"));
    let is_public = || trimmed.split_whitespace().nth(1).is_some_and(|it| it.starts_with("AAAA"));
    let flaw = if trimmed.is_empty() {
        "it is empty"
    } else if trimmed.starts_with("PuTTY-") && !opened && !text.contains("Encryption: none") {
        return NoKey::Encrypted;
    } else if text.starts_with('\u{feff}') {
        "it begins with a byte order mark, which no key may"
    } else if trimmed.starts_with(['"', '\'']) {
        "it stands in quotes"
    } else if !trimmed.contains("-----BEGIN") && is_base64() {
        "it is a key in base64, to be decoded first: `base64 -d`"
    } else if !trimmed.contains("-----BEGIN") && is_public() {
        "it is a public key, and the private one is needed"
    } else if !trimmed.contains("-----BEGIN") {
        "it has no line `-----BEGIN … PRIVATE KEY-----`"
    } else if trimmed.contains("\\n") {
        "its line ends are written as `\\n`: `printf '%b'` makes lines of them"
    } else if trimmed.lines().count() < 3 {
        "its line ends are lost: all stands on one line"
    } else if !trimmed.contains("-----END") {
        "its end is missing"
    } else if trimmed.contains("ENCRYPTED") {
        // Of old encryptions, the library knows only some.
        if !opened {
            return NoKey::Encrypted;
        }
        "it does not open"
    } else if !trimmed.contains("PRIVATE KEY-----") {
        "it is something else than a private key"
    } else {
        return NoKey::Flawed(format!("it is damaged: {error}"));
    };
    NoKey::Flawed(flaw.to_owned())
}
