//! The live release of a stage as a build: for another stage, or for another config.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::context::{Connect, RunContext};
use super::conversation::Conversation;
use super::delta::manifest;
use super::goal::Build;
use super::outcome::Failure;
use super::payload::codec_for;
use super::query::of_each;
use super::source::Source;
use super::verify::{compare, env_files, nothing_live};
use crate::artifact::Artifact;
use crate::config::{Config, Host};
use crate::model::codec::Codec;
use crate::model::digest::Digest;
use crate::model::drift::Drift;
use crate::model::host_state::HostState;
use crate::model::id::ReleaseId;
use crate::model::layout::Layout;
use crate::model::ledger::{Entry, ReleaseStatus};
use crate::model::manifest::{Manifest, Node, is_below};
use crate::remote::conversation::Scan;
use crate::remote::download;
use crate::remote::order::ManifestOf;

/// Paths that a failure names at most.
const MOST_NAMES: usize = 10;

/// The live release of a stage, which all of its hosts run.
#[derive(Clone)]
pub struct LiveRelease {
    pub id: ReleaseId,
    /// Its name for people.
    pub name: String,
    /// Everything that the artifact holds of which it was made, as far as it went into it.
    pub manifest: Manifest,
    /// The digest of that artifact.
    pub digest: Digest,
    pub revision: Option<String>,
    /// Paths that the stage links and the artifact has: these did not go into the release.
    pub left_out: Vec<String>,
    host: Host,
    place: String,
    codec: Codec,
}

/// One host's answer about its live release.
struct Seen {
    id: ReleaseId,
    origin: Entry,
    state: HostState,
    /// Its manifest and, if that was kept, the artifact's; of the first host only.
    manifests: Option<(Manifest, Option<Manifest>)>,
}

/// Returns the release that all hosts run. Fails if they run different ones or, with `whole`, if
/// one of them is not as it was released.
pub async fn live_release(cx: RunContext<'_>, whole: bool) -> Result<LiveRelease, Failure> {
    let stage = &cx.config.stage;
    let found = of_each(cx, Scan::No, async |host| seen(host, cx.config, whole).await).await;
    let named = |(host, seen): (String, Result<Seen, Failure>)| match seen {
        Ok(seen) => Ok((host, seen)),
        Err(failure) => {
            let what = format!("{host} of {stage}: {}", failure.what);
            Err(Failure { what, ..failure })
        }
    };
    let all = found.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
    if all.windows(2).any(|pair| pair[0].1.id != pair[1].1.id) {
        let line = |(host, seen): &(String, Seen)| format!("{host} runs {}", seen.id);
        let failure = Failure::new(format!("the hosts of {stage} run different releases"));
        let failure = all.iter().map(line).fold(failure, Failure::because);
        return Err(failure.hint(format!("`shipit status {stage}` says why")));
    }
    let first = all.into_iter().next().zip(cx.config.hosts.first());
    let ((_, seen), host) = first.ok_or_else(|| Failure::new(format!("{stage} has no hosts")))?;
    of_first(cx.config, host, seen)
}

fn of_first(config: &Config, host: &Host, seen: Seen) -> Result<LiveRelease, Failure> {
    let Seen { id, origin, state, manifests } = seen;
    let unknown = || {
        Failure::new(format!("the artifact of {id} on {} is not known any more", config.stage))
            .because("links or hooks came to it, and no list of what it was made of was kept")
            .hint(format!("deploy to {} once more, with this shipit", config.stage))
    };
    let (sealed, kept) = manifests.ok_or_else(unknown)?;
    let digest = origin.artifact.ok_or_else(unknown)?;
    let env = origin.env.map(|_| env_files(config, host)).unwrap_or_default();
    let links = links(&sealed);
    let manifest = kept.or_else(|| without_additions(&sealed, &links, &origin, &env));
    let manifest = manifest.ok_or_else(unknown)?;
    let left_out = if manifest.digest() == digest { Vec::new() } else { links };
    Ok(LiveRelease {
        id,
        name: format!("release {id} of {}", config.stage),
        manifest,
        digest,
        revision: origin.revision,
        left_out,
        host: host.clone(),
        place: config.layout.release(id),
        codec: codec_for(&state.facts),
    })
}

async fn seen(host: &mut Conversation<'_>, config: &Config, whole: bool) -> Result<Seen, Failure> {
    let state = host.looked()?;
    let id = state.live().ok_or_else(|| Failure::new(nothing_live(&state.current)))?;
    let history = state.ledger.history(id).filter(|_| !state.unknown.contains(&id.to_string()));
    let unknown = || Failure::new(format!("the ledger does not tell enough about {id}"));
    let history = history.ok_or_else(unknown)?;
    if history.status != ReleaseStatus::Good {
        let what = format!("{id} is live, and its state is `{}`", history.status.word());
        let hint = format!("`shipit status {}` says how to recover it", config.stage);
        return Err(Failure::new(what).hint(hint));
    }
    let origin = history.origin.ok_or_else(unknown)?;
    if whole {
        is_as_released(host, config, &state, id, &origin).await?;
    }
    let is_first = config.hosts.first().is_some_and(|first| first.name == host.host.name);
    let manifests = if is_first { Some(manifests(host, id).await?) } else { None };
    Ok(Seen { id, origin, state, manifests })
}

/// Returns the manifest of a release and, if it was kept, that of its artifact.
async fn manifests(
    host: &Conversation<'_>,
    id: ReleaseId,
) -> Result<(Manifest, Option<Manifest>), Failure> {
    let sealed = manifest(host, id, ManifestOf::Release).await;
    let sealed =
        sealed.ok_or_else(|| Failure::new(format!("the manifest of {id} cannot be read")))?;
    Ok((sealed, manifest(host, id, ManifestOf::Artifact).await))
}

/// Fails if a release is not as it was released, byte for byte, whatever its env files are.
async fn is_as_released(
    host: &Conversation<'_>,
    config: &Config,
    state: &HostState,
    id: ReleaseId,
    origin: &Entry,
) -> Result<(), Failure> {
    let env = origin.env.map(|_| env_files(config, host.host)).unwrap_or_default();
    let found = compare(host, state, id, env).await?;
    let line = |drift: &Drift| format!("{} {}", drift.path, drift.change);
    let drifted = found.drift.iter().take(MOST_NAMES).map(line);
    let lines: Vec<_> = drifted.chain(found.unread.iter().cloned()).collect();
    if found.manifest && lines.is_empty() {
        return Ok(());
    }
    let hint = format!("`shipit verify {}` compares it; deploy it there again", config.stage);
    let failure = Failure::new(format!("{id} is not as it was released"));
    Err(failure.because(lines.join("\n")).hint(hint))
}

/// Returns the paths at which a release links to `shared/`.
fn links(sealed: &Manifest) -> Vec<String> {
    let is_ours = |(path, node): &(&String, &Node)| matches!(node, Node::Link { target } if *target == Layout::shared_target(path));
    sealed.nodes().iter().filter(is_ours).map(|(path, _)| path.clone()).collect()
}

/// Returns the manifest of the artifact that a release was made of: without links to `shared/`,
/// `REVISION`, and the directories that were made for links and env files. The digest tells
/// which of these the artifact had; `None`: nothing fits.
fn without_additions(
    sealed: &Manifest,
    links: &[String],
    origin: &Entry,
    env: &[String],
) -> Option<Manifest> {
    let bare = sealed.without(links);
    let added = links.iter().chain(env);
    let above = added.flat_map(|path| {
        path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect::<Vec<_>>()
    });
    let above: Vec<_> = above.collect();
    let holds_nothing = |dir: &&String| {
        let mut below = bare.nodes().keys().filter(|path| is_below(path, dir));
        below.all(|path| above.contains(path))
    };
    let made: Vec<_> = above.iter().filter(holds_nothing).cloned().collect();
    let revision: &[String] =
        if wrote_revision(&bare, origin) { &["REVISION".to_owned()] } else { &[] };
    let choices = [(true, true), (true, false), (false, true), (false, false)];
    let choice = |(dirs, file): (bool, bool)| {
        let dirs = if dirs { made.as_slice() } else { &[] };
        let file = if file { revision } else { &[] };
        bare.without(&[dirs, file].concat())
    };
    choices.into_iter().map(choice).find(|manifest| Some(manifest.digest()) == origin.artifact)
}

/// Returns whether the file `REVISION` holds the revision that the ledger has.
fn wrote_revision(manifest: &Manifest, origin: &Entry) -> bool {
    let Some(revision) = &origin.revision else { return false };
    let written = Digest::of(format!("{revision}\n").as_bytes());
    matches!(
        manifest.nodes().get("REVISION"),
        Some(Node::File { sha256, .. }) if *sha256 == written
    )
}

impl LiveRelease {
    /// Fails if the artifact has more than went into this release, and `config` asks for it.
    pub fn check(&self, config: &Config) -> Result<(), Failure> {
        let linked = |path: &&String| config.links.iter().any(|link| link.path == **path);
        let Some(path) = self.left_out.iter().find(|path| !linked(path)) else { return Ok(()) };
        let what =
            format!("{} lacks what its artifact has at `{path}`, which is linked", self.name);
        let hint = format!("link it in {} too, or deploy the artifact itself", config.stage);
        Err(Failure::new(what).hint(hint))
    }

    /// Returns it as a build without env files. Its files are read through `connect`.
    pub fn build(&self, connect: Arc<dyn Connect>) -> Build {
        let release = self.clone();
        let read = move |paths| -> BoxFuture<'static, Result<Artifact, Failure>> {
            let (release, connect) = (release.clone(), Arc::clone(&connect));
            Box::pin(async move {
                let what = format!("could not read {} from {}", release.name, release.host.name);
                let read = release.read_files(&*connect, paths).await;
                read.map_err(|failure| failure.titled(what))
            })
        };
        Build {
            source: Source::release(Arc::new(read)),
            name: self.name.clone(),
            manifest: self.manifest.clone(),
            digest: self.digest,
            revision: self.revision.clone(),
            env: Vec::new(),
            force: false,
            of_live: None,
        }
    }

    async fn read_files(
        self,
        connect: &dyn Connect,
        paths: Vec<String>,
    ) -> Result<Artifact, Failure> {
        let failed =
            |error: std::io::Error| Failure::of("could not write to a temporary file", &error);
        let stream = tempfile::tempfile().map_err(failed)?;
        let (mut said, mut times) = (String::new(), Vec::new());
        let Self { name, manifest, host, place, codec, .. } = self;
        let nodes = manifest.nodes();
        let has_bytes =
            |path: &String| matches!(nodes.get(path), Some(Node::File { size: 1.., .. }));
        if paths.iter().any(has_bytes) {
            let session = connect.connect(&host).await?;
            let contents = download::contents(&*session, &place, codec, &paths, &stream).await;
            said = contents?;
            times = download::times(&*session, &place, &paths).await?;
            session.close().await;
        }
        let work = move || Artifact::received(name, manifest, &paths, &times, &stream, codec);
        let stopped = |_| Failure::new("the work was stopped");
        let received = tokio::task::spawn_blocking(work).await.map_err(stopped)?;
        received.map_err(|error| Failure::from_error(&error).because(said))
    }
}
