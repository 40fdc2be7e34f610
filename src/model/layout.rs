//! What lies where on a host. Every path that this program names on a host is made here; the
//! agent script makes the same ones from the same root.

use super::id::ReleaseId;

/// The paths below one `deploy_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// The layout below `root`, an absolute path without a trailing slash.
    pub fn new(root: &str) -> Self {
        Self { root: root.trim_end_matches('/').to_owned() }
    }

    /// `deploy_to` itself.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The link that says what is live.
    pub fn current(&self) -> String {
        format!("{}/current", self.root)
    }

    /// The directory of one release.
    pub fn release(&self, id: ReleaseId) -> String {
        format!("{}/releases/{id}", self.root)
    }

    /// All that is kept of one release: its directory and its manifest.
    pub fn parts(&self, name: &str) -> [String; 2] {
        ["releases", ".shipit/manifests"].map(|place| format!("{}/{place}/{name}", self.root))
    }

    /// The history of the host.
    pub fn ledger(&self) -> String {
        format!("{}/.shipit/ledger.jsonl", self.root)
    }

    /// What `current` holds when `id` is live: relative, so that the tree can move.
    pub fn target(id: ReleaseId) -> String {
        format!("releases/{id}")
    }

    /// Returns the release that the raw content of a link names, if it is one of ours.
    pub fn parse_target(raw: &str) -> Option<ReleaseId> {
        raw.strip_prefix("releases/")?.parse().ok()
    }

    /// Where a run unpacks a release before it is one, relative to `releases/`. The same on all
    /// hosts of a run, so that one packed stream serves them all.
    pub fn staging(id: ReleaseId, run: &str) -> String {
        format!(".{id}.{run}")
    }

    /// A file of a release, relative to `releases/`; `id` as text, for there may be many.
    pub fn file(id: &str, path: &str) -> String {
        [id, "/", path].concat()
    }

    /// A file of what is unpacked at `staging`, relative to `releases/`.
    pub fn unpacked(staging: &str, path: &str) -> String {
        format!("{staging}/tree/{path}")
    }

    /// What the link at `path` inside a release leads to, as a person on the host names it.
    pub fn shared(&self, path: &str) -> String {
        format!("{}/shared/{path}", self.root)
    }

    /// What the link at `path` inside a release points to: `../../shared/log` for `log`, one
    /// `../` more for each directory that `path` lies in.
    pub fn shared_target(path: &str) -> String {
        let depth = path.matches('/').count();
        format!("{}shared/{path}", "../".repeat(depth + 2))
    }
}
