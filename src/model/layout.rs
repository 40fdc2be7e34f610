//! Paths on hosts. Every path that this program names on a host is made here. The agent script
//! makes its paths from the same root.

use super::id::ReleaseId;

/// The paths below one `deploy_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: String,
}

impl Layout {
    /// Returns the layout below `root`, an absolute path.
    pub fn new(root: &str) -> Self {
        Self { root: root.trim_end_matches('/').to_owned() }
    }

    /// Returns `deploy_to`, without a trailing slash.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Returns the path of the link that names the live release.
    pub fn current(&self) -> String {
        format!("{}/current", self.root)
    }

    /// Returns the directory of a release.
    pub fn release(&self, id: ReleaseId) -> String {
        format!("{}/releases/{id}", self.root)
    }

    /// Returns the paths of a release: its directory and its manifest.
    pub fn parts(&self, name: &str) -> [String; 2] {
        ["releases", ".shipit/manifests"].map(|place| format!("{}/{place}/{name}", self.root))
    }

    /// Returns the file that lists the entries of a release, below `.shipit`.
    pub fn manifest(id: ReleaseId) -> String {
        format!("manifests/{id}")
    }

    /// Returns the file that lists the values of its env files, below `.shipit`.
    pub fn env_keys(id: ReleaseId) -> String {
        format!("env/{id}")
    }

    /// Returns the path of the ledger.
    pub fn ledger(&self) -> String {
        format!("{}/.shipit/ledger.jsonl", self.root)
    }

    /// Returns the content of `current` when `id` is live: relative, so that the tree can move.
    pub fn target(id: ReleaseId) -> String {
        format!("releases/{id}")
    }

    /// Returns the path of a slot, a link to the release that it runs.
    pub fn slot(&self, name: &str) -> String {
        format!("{}/slots/{name}", self.root)
    }

    /// Returns the content of the link of a slot that runs `id`.
    pub fn slot_target(id: ReleaseId) -> String {
        format!("../releases/{id}")
    }

    /// Returns the release that the raw content of a link names, if it is one of ours.
    pub fn parse_target(raw: &str) -> Option<ReleaseId> {
        raw.strip_prefix("releases/")?.parse().ok()
    }

    /// Returns the directory into which a run unpacks a release, relative to `releases/`. All hosts
    /// of a run have the same, so that one packed stream serves them all.
    pub fn staging(id: ReleaseId, run: &str) -> String {
        format!(".{id}.{run}")
    }

    /// Returns the path of a file of a release, relative to `releases/`. `id` is text because this
    /// is called for every file.
    pub fn file(id: &str, path: &str) -> String {
        [id, "/", path].concat()
    }

    /// Returns the path of a file that is unpacked below `staging`, relative to `releases/`.
    pub fn unpacked(staging: &str, path: &str) -> String {
        format!("{staging}/tree/{path}")
    }

    /// Returns the absolute path that the link at `path` in a release leads to.
    pub fn shared(&self, path: &str) -> String {
        format!("{}/shared/{path}", self.root)
    }

    /// Returns the content of the link at `path` in a release: `../../shared/log` for `log`, with
    /// one `../` more for each directory that `path` lies in.
    pub fn shared_target(path: &str) -> String {
        let depth = path.matches('/').count();
        format!("{}shared/{path}", "../".repeat(depth + 2))
    }
}
