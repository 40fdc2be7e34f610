//! Logging in: the keys there are, the order in which they are tried, and their signatures.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::client::AgentClient;
use russh::keys::agent::{AgentIdentity, AgentSessionBinding};
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::model::mutex::lock;
use crate::ssh::client::Client;
use crate::ssh::given;
use crate::ssh::host_key::fingerprint;
use crate::ssh::key_text::{NoKey, private_key};
use crate::ssh::ssh_config::{HostSettings, is_default_key};
use crate::ssh::text;

/// The limit for the answer of an agent.
const AGENT_LIMIT: Duration = Duration::from_secs(5);
/// The number of times that a passphrase is asked for.
const TRIES: usize = 3;

/// Asks for the passphrase of the key in this file; `None`: there is nobody to ask. It may take as
/// long as a person needs.
pub type AskPassphrase = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;

/// Answers a question of the server; `true`: the answer may be seen while it is typed. `None`:
/// there is nobody to ask.
pub type AskQuestion = Arc<dyn Fn(&str, bool) -> Option<String> + Send + Sync>;

/// The person who is asked while logging in.
pub(crate) struct Asked<'a> {
    pub(crate) passphrase: &'a AskPassphrase,
    /// `None` for a further connection of the same host: one answer would have to do for all.
    pub(crate) question: Option<&'a AskQuestion>,
    /// The name of the host, for questions.
    pub(crate) host: &'a str,
    /// Held while questions are asked.
    pub(crate) questions: &'a Mutex<()>,
}

/// A way to prove who we are.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) public: PublicKey,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) holder: Holder,
    /// The name of the key, for people.
    pub(crate) label: String,
}

/// The holder of the private key.
#[derive(Debug, Clone)]
pub(crate) enum Holder {
    /// The agent, with its name for the key.
    Agent(Box<AgentIdentity>),
    /// A file, which may ask for a passphrase.
    File(PathBuf),
    /// This process, which was given it as text.
    Here(Arc<PrivateKey>),
}

/// The keys to try, and the reasons why others cannot be tried.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) list: Vec<Candidate>,
    pub(crate) notes: Vec<String>,
}

/// A decrypted key, or why there is none.
type Unlocked = Result<Arc<PrivateKey>, String>;

/// Decrypted keys, so that a passphrase is asked for once however many hosts there are.
#[derive(Default)]
pub(crate) struct KeyRing {
    unlocked: Mutex<HashMap<PathBuf, Unlocked>>,
    /// The texts of keys that came from pipes, which can be read only once.
    pipes: std::sync::Mutex<HashMap<PathBuf, String>>,
}

impl KeyRing {
    /// Returns the key in `path`. Other callers wait, so that only one question is asked at a time.
    pub(crate) async fn get(
        &self,
        path: &Path,
        ask: &AskPassphrase,
    ) -> Result<Arc<PrivateKey>, String> {
        let mut keys = self.unlocked.lock().await;
        if let Some(known) = keys.get(path) {
            return known.clone();
        }
        let checked = fs::metadata(path).and_then(|metadata| check_mode(&metadata));
        let text = checked.and_then(|()| self.text(path)).map_err(|error| error.to_string())?;
        let (file, ask) = (path.to_path_buf(), ask.clone());
        let loading = tokio::task::spawn_blocking(move || unlock(&file, &text, &ask));
        let loaded = loading.await.unwrap_or_else(|error| Err(error.to_string())).map(Arc::new);
        keys.insert(path.to_path_buf(), loaded.clone());
        loaded
    }

    /// Returns the text of a key file.
    fn text(&self, path: &Path) -> io::Result<String> {
        if fs::metadata(path)?.is_file() {
            return fs::read_to_string(path);
        }
        let mut pipes = lock(&self.pipes);
        if let Some(text) = pipes.get(path) {
            return Ok(text.clone());
        }
        let text = fs::read_to_string(path)?;
        pipes.insert(path.to_path_buf(), text.clone());
        Ok(text)
    }
}

fn unlock(path: &Path, text: &str, ask: &AskPassphrase) -> Result<PrivateKey, String> {
    match private_key(text, None) {
        Ok(key) => return Ok(key),
        Err(NoKey::Encrypted) => {}
        Err(NoKey::Flawed(flaw)) => return Err(flaw),
    }
    for _ in 0..TRIES {
        let Some(passphrase) = ask(path) else {
            return Err(format!(
                "it needs a passphrase, and there is no terminal to ask on: `ssh-add {}` beforehand",
                path.display()
            ));
        };
        if let Ok(key) = private_key(text, Some(&passphrase)) {
            return Ok(key);
        }
    }
    Err("the passphrase was wrong".to_owned())
}

/// Returns the keys to try: first named keys, and default keys that the agent holds; then other
/// keys of the agent, unless only named ones may be used; then the other default keys. A
/// certificate comes before its bare key.
pub(crate) async fn candidates(settings: &HostSettings, home: &Path, keys: &KeyRing) -> Candidates {
    let mut found = Candidates::default();
    let agent = agent_identities(settings, &mut found.notes).await;
    let named = named_keys(settings, home, keys, &mut found.notes);
    let certificates = certificates(settings, &mut found.notes);
    let mut from_files = Vec::new();
    let mut used = Vec::new();
    for (path, Half { public, private }) in &named {
        used.push(public.key_data().clone());
        let held = agent.iter().find(|identity| {
            matches!(identity, AgentIdentity::PublicKey { key, .. } if key.key_data() == public.key_data())
        });
        let holder = match held {
            Some(identity) => Holder::Agent(Box::new(identity.clone())),
            None if *private => Holder::File(path.clone()),
            None => {
                let path = path.display();
                found.notes.push(format!(
                    "key file {path}: it is a public key, and no agent holds the private one"
                ));
                continue;
            }
        };
        let first = held.is_some() || !is_default_key(path, home);
        let list = if first { &mut found.list } else { &mut from_files };
        list.extend(with_certificates(public, &holder, &certificates, path));
    }
    let others = agent.into_iter().filter(|identity| {
        !settings.identities_only && !used.contains(identity.public_key().key_data())
    });
    found.list.extend(others.flat_map(|identity| of_agent(identity, &certificates)));
    found.list.extend(from_files);
    found.allowed(settings)
}

impl Candidates {
    /// Puts `key`, which was given as text, before all others.
    #[must_use]
    pub(crate) fn first(mut self, key: &Arc<PrivateKey>, settings: &HostSettings) -> Self {
        let (public, holder) = (key.public_key(), Holder::Here(Arc::clone(key)));
        let certificates = certificates(settings, &mut Vec::new());
        let mut list = with_certificates(public, &holder, &certificates, Path::new(given::KEY));
        list.append(&mut self.list);
        Self { list, ..self }.allowed(settings)
    }

    /// Removes the keys that `ssh_config` leaves out, and those too weak to use.
    fn allowed(mut self, settings: &HostSettings) -> Self {
        let allowed = &settings.options.allowed;
        let why = |one: &Candidate| {
            let certified = one.certificate.is_some();
            let none = allowed.signing(&one.public.algorithm(), certified).is_empty();
            let listed = none.then(|| "PubkeyAcceptedAlgorithms leaves it out".to_owned());
            allowed.weakness(one.public.key_data()).or(listed)
        };
        self.list.retain(|one| {
            let why = why(one);
            self.notes.extend(why.iter().map(|why| format!("{}: {why}", one.label)));
            why.is_none()
        });
        self
    }
}

/// Returns the certificates for a key, then the bare key.
fn with_certificates(
    public: &PublicKey,
    holder: &Holder,
    certificates: &[(PathBuf, Certificate)],
    path: &Path,
) -> Vec<Candidate> {
    let print = fingerprint(public);
    let kind = match holder {
        Holder::Agent(_) => "agent key",
        Holder::File(_) => "key file",
        Holder::Here(_) => "key of",
    };
    let bare = Candidate {
        public: public.clone(),
        certificate: None,
        holder: holder.clone(),
        label: format!("{kind} {} {print}", path.display()),
    };
    let own = certificates.iter().filter(|(_, one)| one.public_key() == public.key_data());
    let certified = own.map(|(file, certificate)| Candidate {
        certificate: Some(certificate.clone()),
        label: format!("certificate {} for {print}", file.display()),
        ..bare.clone()
    });
    certified.chain([bare.clone()]).collect()
}

fn of_agent(identity: AgentIdentity, certificates: &[(PathBuf, Certificate)]) -> Vec<Candidate> {
    let public = identity.public_key().into_owned();
    let label = format!("agent key {} ({})", fingerprint(&public), identity.comment());
    if let AgentIdentity::Certificate { certificate, .. } = &identity {
        let certificate = Some(certificate.clone());
        return vec![Candidate {
            public,
            certificate,
            label: format!("{label}, certificate"),
            holder: Holder::Agent(Box::new(identity)),
        }];
    }
    let comment = PathBuf::from(identity.comment());
    with_certificates(&public, &Holder::Agent(Box::new(identity)), certificates, &comment)
        .into_iter()
        .map(|one| Candidate { label: label.clone(), ..one })
        .collect()
}

async fn agent_identities(settings: &HostSettings, notes: &mut Vec<String>) -> Vec<AgentIdentity> {
    let Some(path) = &settings.agent else { return Vec::new() };
    let asked = timeout(AGENT_LIMIT, async {
        let mut agent = AgentClient::connect_uds(path).await.map_err(|error| error.to_string())?;
        agent.request_identities().await.map_err(|error| error.to_string())
    });
    let answer = asked.await.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    answer.unwrap_or_else(|error| {
        notes.push(format!("agent {}: {error}", path.display()));
        Vec::new()
    })
}

/// The public half of a key, and whether its file has the private one.
struct Half {
    public: PublicKey,
    private: bool,
}

/// Returns the public halves of the named keys. Nobody is asked for a passphrase.
fn named_keys(
    settings: &HostSettings,
    home: &Path,
    ring: &KeyRing,
    notes: &mut Vec<String>,
) -> Vec<(PathBuf, Half)> {
    let mut keys = Vec::new();
    for path in &settings.identity_files {
        match public_half(path, ring) {
            Ok(key) => keys.push((path.clone(), key)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_default_key(path, home) => {
            }
            Err(error) => notes.push(format!("key file {}: {error}", path.display())),
        }
    }
    keys
}

/// Returns the public half of a key: from the `.pub` file beside it, which also stands for keys
/// that only the agent has, else from the key file itself. Only then does it matter who else may
/// read the private key.
fn public_half(path: &Path, ring: &KeyRing) -> io::Result<Half> {
    if let Ok(public) = PublicKey::read_openssh_file(beside(path, ".pub")) {
        return Ok(Half { public, private: path.exists() });
    }
    let text = ring.text(path)?;
    if let Ok(public) = PublicKey::from_openssh(&text) {
        return Ok(Half { public, private: false });
    }
    check_mode(&fs::metadata(path)?)?;
    // The library tells the public half of an encrypted key only here.
    let key = PrivateKey::from_openssh(&text).or_else(|_| private_key(&text, None));
    let key = key.map_err(|none| match none {
        NoKey::Encrypted => io::Error::other(format!(
            "it is encrypted, and {} is missing to tell which key it is",
            beside(path, ".pub").display()
        )),
        NoKey::Flawed(flaw) => io::Error::other(flaw),
    })?;
    Ok(Half { public: key.public_key().clone(), private: true })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Fails if a key file of ours may be read by others, as ssh does.
fn check_mode(metadata: &fs::Metadata) -> io::Result<()> {
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.mode() & 0o077 != 0 && metadata.is_file() {
        return Err(io::Error::other("others may read it, `chmod 600` it"));
    }
    Ok(())
}

fn certificates(settings: &HostSettings, notes: &mut Vec<String>) -> Vec<(PathBuf, Certificate)> {
    let mut found = Vec::new();
    let beside = settings.identity_files.iter().map(|path| (beside(path, "-cert.pub"), false));
    let named = settings.certificate_files.iter().map(|path| (path.clone(), true));
    for (path, must) in named.chain(beside) {
        match fs::read_to_string(&path) {
            Ok(text) => match Certificate::from_openssh(&text) {
                Ok(certificate) => found.push((path, certificate)),
                Err(error) => notes.push(format!("certificate {}: {error}", path.display())),
            },
            Err(error) if must => notes.push(format!("certificate {}: {error}", path.display())),
            Err(_) => {}
        }
    }
    found
}

/// The result of one try.
#[derive(Debug)]
pub(crate) enum Attempt {
    Accepted,
    /// This key is refused; the next may be tried.
    Rejected(String),
    /// No key is accepted.
    Pointless(String),
    Gone,
}

/// Tries one candidate.
pub(crate) async fn attempt(
    handle: &mut Handle<Client>,
    settings: &HostSettings,
    candidate: &Candidate,
    keys: &KeyRing,
    asked: &Asked<'_>,
) -> Attempt {
    let algorithm = candidate.public.algorithm();
    let names = settings.options.allowed.signing(&algorithm, candidate.certificate.is_some());
    let hash = match rsa_hash(handle, &names).await {
        Ok(hash) => hash,
        Err(reason) => return Attempt::Rejected(reason),
    };
    let binding = handle.agent_session_binding().cloned();
    let ask = asked.passphrase;
    let mut signer = Signer { settings, holder: &candidate.holder, keys, ask, binding };
    let user = &settings.user;
    let result = if let Some(certificate) = candidate.certificate.clone() {
        handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
    } else {
        let public = candidate.public.clone();
        handle.authenticate_publickey_with(user, public, hash, &mut signer).await
    };
    match result {
        Ok(AuthResult::Success) => Attempt::Accepted,
        Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
            if remaining_methods.is_empty() && handle.is_closed() {
                return Attempt::Gone;
            }
            let asks = remaining_methods.contains(&MethodKind::KeyboardInteractive);
            if partial_success && asks && !settings.options.unasked {
                return second_factor(handle, user, asked).await;
            }
            rejected(&remaining_methods, partial_success)
        }
        Err(SignError::Gone) => Attempt::Gone,
        Err(SignError::Cannot(reason)) => Attempt::Rejected(reason),
    }
}

/// Answers the questions of a server that accepted a key and wants more, such as a code.
async fn second_factor(handle: &mut Handle<Client>, user: &str, asked: &Asked<'_>) -> Attempt {
    let _one_at_a_time = asked.questions.lock().await;
    for _ in 0..TRIES {
        let mut reply = handle.authenticate_keyboard_interactive_start(user, None).await;
        loop {
            match reply {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Attempt::Accepted,
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => {
                    let answers = match answers(&prompts, asked).await {
                        Ok(answers) => answers,
                        Err(why) => return Attempt::Pointless(why),
                    };
                    reply = handle.authenticate_keyboard_interactive_respond(answers).await;
                }
                Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, .. }) => {
                    if !remaining_methods.contains(&MethodKind::KeyboardInteractive) {
                        return rejected(&remaining_methods, true);
                    }
                    break;
                }
                Err(_) => return Attempt::Gone,
            }
        }
    }
    Attempt::Pointless("accepted, but none of the answers to the server's questions was".to_owned())
}

/// Returns the answers of the person at the terminal, or why there are none.
async fn answers(prompts: &[Prompt], asked: &Asked<'_>) -> Result<Vec<String>, String> {
    let mut answers = Vec::new();
    for Prompt { prompt, echo } in prompts {
        let question = text::plain(prompt).replace('\n', " ");
        let question = question.trim();
        let nobody = || {
            format!(
                "accepted, but the server also asks \"{question}\", and there is nobody to answer"
            )
        };
        let ask = asked.question.cloned().ok_or_else(nobody)?;
        let (text, seen) = (format!("{}: {question} ", asked.host), *echo);
        let answer = tokio::task::spawn_blocking(move || ask(&text, seen)).await.ok().flatten();
        answers.push(answer.ok_or_else(nobody)?);
    }
    Ok(answers)
}

fn rejected(remaining: &[MethodKind], partial: bool) -> Attempt {
    let methods: Vec<&str> = remaining.iter().map(<&str>::from).collect();
    let methods = methods.join(" or ");
    if partial {
        Attempt::Pointless(format!("accepted, but the server also requires {methods}"))
    } else if !remaining.contains(&MethodKind::PublicKey) {
        Attempt::Pointless(format!("the server accepts no keys, only {methods}"))
    } else {
        Attempt::Rejected("not accepted".to_owned())
    }
}

/// Returns the hash for a signature by an RSA key: the server's favourite if `names` has it. SHA-1
/// is never used.
async fn rsa_hash(handle: &Handle<Client>, names: &[Algorithm]) -> Result<Option<HashAlg>, String> {
    let Some(Algorithm::Rsa { hash: first }) = names.first() else { return Ok(None) };
    match handle.best_supported_rsa_hash().await {
        Ok(Some(None)) => Err("the server takes RSA keys with SHA-1 only".to_owned()),
        Ok(Some(hash)) if names.contains(&Algorithm::Rsa { hash }) => Ok(hash),
        _ => Ok(*first),
    }
}

/// The reason why there is no signature.
#[derive(Debug)]
pub(crate) enum SignError {
    Gone,
    Cannot(String),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

/// Signs when the server has said that it would accept the key, and only then asks for a
/// passphrase.
struct Signer<'a> {
    settings: &'a HostSettings,
    holder: &'a Holder,
    keys: &'a KeyRing,
    ask: &'a AskPassphrase,
    binding: Option<AgentSessionBinding>,
}

impl russh::Signer for Signer<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        match self.holder {
            Holder::Agent(identity) => self.by_agent(identity, hash, to_sign).await,
            Holder::File(path) => {
                let key = self.keys.get(path, self.ask).await.map_err(SignError::Cannot)?;
                sign(&key, hash, to_sign).map_err(SignError::Cannot)
            }
            Holder::Here(key) => sign(key, hash, to_sign).map_err(SignError::Cannot),
        }
    }
}

impl Signer<'_> {
    async fn by_agent(
        &self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let Some(path) = &self.settings.agent else {
            return Err(SignError::Cannot("the agent is gone".to_owned()));
        };
        let mut agent: AgentClient<UnixStream> = AgentClient::connect_uds(path)
            .await
            .map_err(|error| SignError::Cannot(format!("the agent is gone: {error}")))?;
        // Agents with keys for certain destinations need to know the destination. Old agents refuse
        // this request, which does no harm.
        if let Some(binding) = &self.binding {
            let _ = agent.bind_session(binding, false).await;
        }
        let signed = agent.sign_request(identity, hash, to_sign).await;
        signed.map_err(|error| SignError::Cannot(format!("the agent did not sign: {error}")))
    }
}

/// Returns the data followed by its signature, in the form of the protocol.
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> Result<Vec<u8>, String> {
    let signed: Result<Signature, _> = match (key.key_data(), hash) {
        (KeypairData::Rsa(rsa), Some(hash)) => (rsa, Some(hash)).try_sign(&data),
        _ => key.try_sign(&data),
    };
    let signature = signed.map_err(|error| error.to_string())?;
    signature.encode_prefixed(&mut data).map_err(|error| error.to_string())?;
    Ok(data)
}
