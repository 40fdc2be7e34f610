//! The log of OpenSSH (`-v`) while it connects, as an error of ours.

use std::path::PathBuf;
use std::{fs, io, slice};

use russh::keys::PublicKey;

use crate::model::clean::strip;
use crate::remote::session::{HUNG_UP, SessionError};
use crate::ssh::host_key::{fingerprint, record_name};
use crate::ssh::ssh_config::HostSettings;
use crate::ssh::target::{too_slow, unusable};

/// The last line after a host key was refused.
const UNVERIFIED: &str = "Host key verification failed";
/// Beginnings of lines that explain nothing by themselves.
const CHATTER: [&str; 15] = [
    "debug",
    "OpenSSH_",
    "@@@",
    "@ ",
    "Warning: Permanently added",
    "Authenticated to",
    "Authenticated using",
    UNVERIFIED,
    "IT IS POSSIBLE",
    "Someone could be",
    "It is also possible",
    "Please contact",
    "Pseudo-terminal",
    "Transferred: ",
    "Bytes per second: ",
];
/// Beginnings of lines about a host that cannot be reached. The rest of the line is the reason.
const UNREACHED: [&str; 6] = [
    "Connection refused",
    "No route to host",
    "Network is unreachable",
    "Could not resolve hostname",
    "Host is down",
    "Cannot assign requested address",
];
/// Words about a connection that took too long.
const LATE: [&str; 2] = ["timed out", "Timeout, server"];
/// Words about a connection that the server ended before the login.
const ENDED: [&str; 4] =
    ["Connection closed by", "Connection reset by", "closed by remote host", "Broken pipe"];

/// The log of an `ssh` that connects, and what was said beside it: by a ProxyCommand, or by the
/// `ssh` to a jump host.
pub(crate) struct OpenSshLog {
    own: String,
    beside: String,
}

impl OpenSshLog {
    pub(crate) fn new(own: &str, beside: &str) -> Self {
        Self { own: strip(own), beside: strip(beside) }
    }

    /// Returns the reason why no connection was made.
    pub(crate) fn failure(&self, settings: &HostSettings) -> SessionError {
        if let Some(hop) = settings.proxy_jump.last().filter(|_| self.broke_before()) {
            let inner = Self { own: self.beside.clone(), beside: String::new() };
            let (hostname, port) = inner.place().unwrap_or((&hop.host, hop.port.unwrap_or(22)));
            let (hostname, user) = (hostname.to_owned(), hop.user.clone());
            let user = user.unwrap_or_else(|| settings.user.clone());
            let of_hop =
                HostSettings { hostname, port, user, host_key_alias: None, ..settings.clone() };
            let source = Box::new(inner.own_failure(&of_hop));
            return SessionError::Jump { hop: hop.host.clone(), source };
        }
        self.own_failure(settings)
    }

    /// Returns name and port of the host that it connected to.
    fn place(&self) -> Option<(&str, u16)> {
        let (host, port) =
            self.after("Authenticating to ")?.split_once(" as ")?.0.rsplit_once(':')?;
        Some((host, port.parse().ok()?))
    }

    /// Returns whether it was another program, on the way to the host, that failed.
    fn broke_before(&self) -> bool {
        let failed = |line: &str| !is_chatter(line) || line.starts_with(UNVERIFIED);
        !self.own.contains("Server host key:") && self.beside.lines().any(failed)
    }

    fn own_failure(&self, settings: &HostSettings) -> SessionError {
        if let Some(error) = self.host_key(settings) {
            return error;
        }
        let (address, by_hand) = (settings.address(), settings.by_hand.clone());
        let too_many = || self.own.contains("Too many authentication failures").then_some("");
        if let Some(methods) = self.after("Permission denied (").or_else(too_many) {
            let tried = self.tried(methods.trim_end_matches(").").trim_end_matches(')'));
            let user = settings.user.clone();
            return SessionError::Auth { user, address, tried, by_hand };
        }
        let reason = self.last_line();
        if LATE.iter().any(|late| reason.contains(late)) {
            return too_slow(format!("connecting to {address}"), settings.connect_timeout);
        }
        if UNREACHED.iter().any(|word| reason.contains(word)) {
            let why = reason.rsplit(": ").next().unwrap_or(reason).to_owned();
            return SessionError::Unreachable { address, source: io::Error::other(why), by_hand };
        }
        if reason.starts_with("command-line") || reason.contains("Bad configuration option") {
            return unusable("ssh_config", reason);
        }
        let hung_up = ENDED.iter().any(|word| reason.contains(word)) && self.beside.is_empty();
        let reason = match (hung_up, last_said(&self.beside)) {
            (true, _) => HUNG_UP.to_owned(),
            (false, Some(said)) => format!("{reason}; ProxyCommand says: {said}"),
            (false, None) => reason.to_owned(),
        };
        SessionError::Handshake { address, reason }
    }

    /// Returns the error if the host's key was refused.
    fn host_key(&self, settings: &HostSettings) -> Option<SessionError> {
        let own = &self.own;
        let name = self.shown_name().map_or_else(|| record_name(settings), str::to_owned);
        let (kind, fingerprint) = self.shown_key();
        let by_hand = settings.by_hand.clone();
        let listed = self.after(" revoked by file ").map(PathBuf::from);
        let marked = own.contains("REVOKED HOST KEY DETECTED");
        if marked || listed.is_some() {
            let files = listed.as_ref().map_or(&settings.known_hosts[..], slice::from_ref);
            let prints = [Some(&*fingerprint), self.shown_authority()].into_iter().flatten();
            let mut places =
                prints.filter_map(|print| Some((print, place_of(print, files, marked)?)));
            let (fingerprint, file, line) = match places.next() {
                Some((print, (file, line))) => (print, file, Some(line)),
                None => (&*fingerprint, files.first().cloned().unwrap_or_default(), None),
            };
            let fingerprint = fingerprint.into();
            return Some(SessionError::HostKeyRevoked { name, fingerprint, file, line });
        }
        if own.contains("HOST IDENTIFICATION HAS CHANGED") {
            let place = own.lines().find(|line| line.starts_with("Offending "));
            let place = place.and_then(|line| line.split_once(" in ")?.1.rsplit_once(':'));
            let (file, line) = place.unwrap_or_default();
            let (file, line) = (PathBuf::from(file), line.parse().unwrap_or(1));
            return Some(SessionError::HostKeyChanged {
                name,
                kind,
                fingerprint,
                file,
                line,
                by_hand,
            });
        }
        if !own.contains(UNVERIFIED) {
            return None;
        }
        if let Some(reason) = self.after("Certificate invalid: ") {
            return Some(SessionError::HostCertificate { name, reason: reason.to_owned() });
        }
        let (files, other) = (settings.known_hosts.clone(), None);
        Some(SessionError::HostKeyUnknown { name, kind, fingerprint, files, other, by_hand })
    }

    /// Returns the name under which the key of a host, or of a jump host, was looked up.
    fn shown_name(&self) -> Option<&str> {
        let unknown = || self.after(" host key is known for ");
        self.after("Host key for ").or_else(unknown)?.split(' ').next()
    }

    /// Returns the type and the fingerprint of the key that the host showed.
    pub(crate) fn shown_key(&self) -> (String, Box<str>) {
        let certificate = || self.after("Server host certificate: ");
        let shown = self.after("Server host key: ").or_else(certificate).unwrap_or_default();
        let kind = shown.split(' ').next().unwrap_or_default().to_owned();
        (kind, print_in(shown).unwrap_or_default().into())
    }

    /// Returns the fingerprint of the authority that signed the key of the host.
    fn shown_authority(&self) -> Option<&str> {
        print_in(self.after("Server host certificate: ")?.split_once(" CA ")?.1)
    }

    /// Returns whether the host has no key of the kinds that were asked for.
    pub(crate) fn lacks_key_kind(&self) -> bool {
        self.own.contains("no matching host key type")
    }

    /// Returns whether the key of the host was unknown, and is now written down.
    pub(crate) fn wrote_key(&self) -> bool {
        self.own.contains("Warning: Permanently added")
    }

    /// Returns whether the server is dropbear.
    pub(crate) fn is_dropbear(&self) -> bool {
        self.after("remote software version ").is_some_and(|name| name.contains("dropbear"))
    }

    /// Returns the server's reason why it opened no channel: the last one, if it said any.
    pub(crate) fn refusal(&self) -> Option<&str> {
        let mut lines = self.own.lines().rev();
        lines.find_map(|line| line.split_once("open failed: ")).map(|(_, reason)| reason)
    }

    /// Returns the last words of a connection that is gone.
    pub(crate) fn goodbye(&self) -> String {
        match self.last_line() {
            line if LATE.iter().any(|late| line.contains(late)) => {
                "the host did not answer any more".to_owned()
            }
            line if ENDED.iter().any(|word| line.contains(word)) => HUNG_UP.to_owned(),
            line => line.to_owned(),
        }
    }

    /// Returns the rest of the first line that contains `word`.
    fn after(&self, word: &str) -> Option<&str> {
        self.own.lines().find_map(|line| line.split_once(word)).map(|(_, rest)| rest.trim())
    }

    /// Returns one line for each key that was tried, each trouble, and what the server would take.
    fn tried(&self, methods: &str) -> Vec<String> {
        let partly = self.own.contains(" with partial success");
        let unsigned = !partly && self.own.contains("Server accepts key: ");
        let offered = self.own.lines().filter_map(|line| line.split_once("Offering public key: "));
        let mut tried: Vec<String> = offered
            .map(|(_, key)| {
                let wanted = self.own.contains(&format!("Server accepts key: {key}"));
                let why = match (wanted, partly) {
                    (true, true) => "accepted, but it is not enough",
                    (true, false) => "accepted, but it could not sign",
                    (false, _) => "not accepted",
                };
                format!("{}: {why}", key.trim_end_matches(" explicit").trim_end_matches(" agent"))
            })
            .collect();
        let trouble = self.own.lines().filter(|line| !is_chatter(line));
        tried.extend(
            trouble.filter(|line| !line.contains("Permission denied (")).map(str::to_owned),
        );
        if tried.is_empty() {
            tried.push("there is no key to try".to_owned());
        } else if unsigned {
            tried.push("a key with a passphrase must be in an agent: `ssh-add`".to_owned());
        }
        if !methods.is_empty() {
            tried.push(format!("the server takes {}", methods.replace(',', ", ")));
        }
        if methods.contains("password") || methods.contains("keyboard-interactive") {
            let how = "no question is asked here: log in beforehand with a ControlMaster, or set \
                       SSH_ASKPASS and SSH_ASKPASS_REQUIRE=force";
            tried.push(how.to_owned());
        }
        tried
    }

    fn last_line(&self) -> &str {
        last_said(&self.own).unwrap_or(HUNG_UP)
    }
}

/// Returns the first fingerprint in a line.
fn print_in(line: &str) -> Option<&str> {
    line.split([' ', ',']).find(|word| word.starts_with("SHA256:"))
}

/// Returns file and line of a key: only on lines with `@revoked`, as in known_hosts, or only on
/// lines without, as in a list of revoked keys. A list in binary form has no lines.
fn place_of(print: &str, files: &[PathBuf], marked: bool) -> Option<(PathBuf, usize)> {
    let is_it = |line: &str| {
        let mut words = line.split_whitespace().peekable();
        let is_marked = words.peek() == Some(&"@revoked");
        let words: Vec<&str> = words.collect();
        let keys = words.windows(2).filter_map(|two| PublicKey::from_openssh(&two.join(" ")).ok());
        marked == is_marked && keys.into_iter().any(|key| fingerprint(&key) == print)
    };
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let at = text.lines().position(is_it)?;
        Some((file.clone(), at + 1))
    })
}

/// Returns the last line that explains something.
fn last_said(log: &str) -> Option<&str> {
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !is_chatter(line))
}

fn is_chatter(line: &str) -> bool {
    line.trim().is_empty() || CHATTER.iter().any(|word| line.starts_with(word))
}
