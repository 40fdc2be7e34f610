//! Links to several hosts on this machine, each with a directory of its own, that can be cut.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use shipit::config::{Host, SshTransport};
use shipit::deploy::context::Connect;
use shipit::remote::local::LocalSession;
use shipit::remote::session::{ByteStream, Channel, Output, Session, SessionError};
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, mpsc};

use super::session::dial_and_close_of_inner;
use super::sshd::{SshDir, transport};

/// A fault of the link to one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkFault {
    /// The host does not answer.
    Dead,
    /// The first request of this name never arrives; the second conversation has no fault.
    CutBefore(&'static str),
    /// The request arrives, and its response does not.
    CutAfter(&'static str),
    /// The request never arrives, and from then on the host does not answer.
    CutForGood(&'static str),
    /// The first conversation begins, and its greeting does not arrive.
    CutGreeting,
    /// Half of the first upload arrives; then its channel is lost.
    HalfUpload,
}

/// Each host has a directory of its own in place of `root`: `root` with the host's name appended.
pub(crate) struct FaultyLinks {
    session: LocalSession,
    /// Hosts are reached over OpenSSH.
    openssh: Option<SshDir>,
    root: String,
    faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
}

impl FaultyLinks {
    pub(crate) fn new(root: &str) -> Self {
        let openssh = (transport() == SshTransport::OpenSsh).then(SshDir::without_a_port);
        let (session, root) = (LocalSession::new(), root.to_owned());
        Self { session, openssh, root, faults: Arc::default() }
    }

    /// Replaces the shell and the environment of the hosts.
    pub(crate) fn over(self, session: LocalSession) -> Self {
        Self { session, ..self }
    }

    /// The handle by which tests break and mend links while the world holds the rest.
    pub(crate) fn faults(&self) -> Arc<Mutex<BTreeMap<String, LinkFault>>> {
        Arc::clone(&self.faults)
    }
}

impl Connect for FaultyLinks {
    fn connect<'a>(
        &'a self,
        host: &'a Host,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, SessionError>> {
        Box::pin(async move {
            if self.faults.lock().unwrap().get(&host.name) == Some(&LinkFault::Dead) {
                let source = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(SessionError::Unreachable {
                    address: host.name.clone(),
                    source,
                    by_hand: Box::default(),
                });
            }
            Ok(Arc::new(FaultySession {
                inner: match &self.openssh {
                    Some(place) => place.connect("web").await?,
                    None => Arc::new(self.session.clone()),
                },
                local: self.openssh.as_ref().map(|_| self.session.clone()),
                name: host.name.clone(),
                from: self.root.clone(),
                faults: Arc::clone(&self.faults),
            }) as Arc<dyn Session>)
        })
    }
}

struct FaultySession {
    inner: Arc<dyn Session>,
    /// The shell and the variables of the host, where it is reached over OpenSSH.
    local: Option<LocalSession>,
    name: String,
    from: String,
    faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
}

impl Session for FaultySession {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Channel, SessionError>> {
        let own = command.replace(&self.from, &format!("{}-{}", self.from, self.name));
        Box::pin(async move {
            let written = self.local.as_ref().map(|local| local.written(&own));
            let Channel { input, mut output } =
                self.inner.exec(written.as_ref().unwrap_or(&own)).await?;
            let (cut, silence) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let halved = Arc::new(AtomicBool::new(false));
            let tap = Tap {
                inner: Some(input),
                name: self.name.clone(),
                faults: Arc::clone(&self.faults),
                cut: Arc::clone(&cut),
                silence: Arc::clone(&silence),
                halved: Arc::clone(&halved),
                upload: runs(&own, "receive"),
                may_pass: None,
            };
            if tap.mutes() {
                silence.notify_one();
            }
            let (sender, heard) = mpsc::channel::<Output>(64);
            tokio::spawn(async move {
                let mut silent = false;
                loop {
                    tokio::select! {
                        biased;
                        () = cut.notified() => break,
                        () = silence.notified() => silent = true,
                        said = output.recv() => match said {
                            Some(Output::Exit(_)) if halved.load(Ordering::SeqCst) => break,
                            Some(said) if !silent => { let _ = sender.send(said).await; }
                            _ => break,
                        },
                    }
                }
            });
            Ok(Channel { input: Box::pin(tap), output: heard })
        })
    }

    dial_and_close_of_inner!();
}

/// Watches the bytes that are sent, and cuts the link at its fault.
struct Tap {
    inner: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    name: String,
    faults: Arc<Mutex<BTreeMap<String, LinkFault>>>,
    cut: Arc<Notify>,
    silence: Arc<Notify>,
    halved: Arc<AtomicBool>,
    upload: bool,
    /// The rest of a cut upload that may pass, in bytes.
    may_pass: Option<usize>,
}

impl Tap {
    /// Returns the fault if these bytes trigger it, and removes it.
    fn breaks(&self, sent: &[u8]) -> Option<LinkFault> {
        let mut faults = self.faults.lock().unwrap();
        let fault = *faults.get(&self.name)?;
        let (LinkFault::CutBefore(verb) | LinkFault::CutAfter(verb) | LinkFault::CutForGood(verb)) =
            fault
        else {
            return None;
        };
        let ordered = format!("'{verb}'");
        let mut lines = sent.split(|byte| *byte == b'\n').map(bare);
        if !lines.any(|line| line.starts_with(ordered.as_bytes())) {
            return None;
        }
        faults.remove(&self.name);
        if matches!(fault, LinkFault::CutForGood(_)) {
            faults.insert(self.name.clone(), LinkFault::Dead);
        }
        Some(fault)
    }

    /// Returns whether the greeting of this conversation is lost, and removes the fault.
    fn mutes(&self) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let here = faults.get(&self.name) == Some(&LinkFault::CutGreeting);
        here && faults.remove(&self.name).is_some()
    }

    /// Returns whether only half of this upload may pass, and removes the fault.
    fn halves(&self, sent: &[u8]) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let is_upload = (self.upload && sent != b"0\n") || bare(sent).starts_with(b"'unpack'");
        let here = is_upload && faults.get(&self.name) == Some(&LinkFault::HalfUpload);
        here && faults.remove(&self.name).is_some()
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sent: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.halves(sent) {
            self.halved.store(self.upload, Ordering::SeqCst);
            self.may_pass = Some(sent.len() / 2);
        }
        if let Some(may_pass) = self.may_pass.filter(|_| self.inner.is_some()) {
            // A pipe may take a page at a time.
            let piece = &sent[..sent.len().min(may_pass)];
            let inner = self.inner.as_mut().unwrap().as_mut();
            let passed = std::task::ready!(inner.poll_write(cx, piece))?;
            self.may_pass = Some(may_pass - passed);
            if may_pass == passed {
                self.inner = None;
                if !self.upload {
                    self.cut.notify_one();
                }
            }
            return Poll::Ready(Ok(passed));
        }
        match self.breaks(sent) {
            Some(LinkFault::CutBefore(_) | LinkFault::CutForGood(_)) => {
                self.inner = None;
                self.cut.notify_one();
            }
            Some(_) => self.silence.notify_one(),
            None => {}
        }
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll_write(cx, sent),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Returns whether `command` starts the agent with this verb.
pub(crate) fn runs(command: &str, verb: &str) -> bool {
    command.contains(&format!("'{verb}'"))
}

/// A line without what says how it belongs to others.
fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"& ").unwrap_or(line);
    line.strip_prefix(b"+ ").unwrap_or(line)
}
