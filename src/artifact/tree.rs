//! The entries of an artifact as they come in, and the rules that they must obey together.

use std::collections::{BTreeMap, HashMap};

use super::error::{ArtifactError, LimitHit, Refusal};
use super::exclude::Exclude;
use super::limits::Limits;
use super::name;
use super::spool::Place;

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// What it is.
    pub(super) what: What,
    /// Seconds since 1970, where the artifact says so.
    pub(super) mtime: Option<u64>,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        runs: bool,
        /// Where its bytes are.
        place: Place,
    },
    /// A symbolic link.
    Link {
        /// What it holds.
        target: String,
    },
}

/// Where an entry of the artifact goes in the release.
pub(super) enum Spot {
    /// To this path.
    At(String),
    /// `strip_components` drops it, but not what is below.
    Stripped,
    /// `exclude` drops it with all that is below.
    Excluded,
}

/// Entries are added one by one; `finish` judges them as a whole.
pub(super) struct Tree<'a> {
    artifact: &'a str,
    limits: &'a Limits,
    strip: usize,
    exclude: Exclude,
    seen: usize,
    stripped: usize,
    items: BTreeMap<String, Item>,
}

impl<'a> Tree<'a> {
    /// An empty tree of what the user calls `artifact`.
    pub(super) fn new(
        artifact: &'a str,
        limits: &'a Limits,
        exclude: &[String],
        strip: usize,
    ) -> Result<Self, ArtifactError> {
        let exclude = Exclude::new(exclude)?;
        let items = BTreeMap::new();
        Ok(Self { artifact, limits, strip, exclude, seen: 0, stripped: 0, items })
    }

    /// What the user calls it.
    pub(super) fn artifact(&self) -> &'a str {
        self.artifact
    }

    /// How much it may hold.
    pub(super) fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// The error that names an entry.
    pub(super) fn refuse(&self, entry: &str, why: Refusal) -> ArtifactError {
        ArtifactError::Refused { artifact: self.artifact.to_owned(), entry: entry.to_owned(), why }
    }

    /// The error that names a limit.
    pub(super) fn too_much(&self, limit: LimitHit) -> ArtifactError {
        ArtifactError::TooMuch { artifact: self.artifact.to_owned(), limit }
    }

    /// Counts an entry and cleans its path. `None`: the root, which needs no entry.
    pub(super) fn enter(&mut self, raw: &[u8]) -> Result<Option<String>, ArtifactError> {
        self.seen += 1;
        self.count()?;
        name::clean(raw).map_err(|why| self.refuse(&String::from_utf8_lossy(raw), why))
    }

    /// Directories that are only named as part of a path cost as much as any entry.
    fn count(&self) -> Result<(), ArtifactError> {
        let most = self.limits.entries;
        let over = self.seen.max(self.items.len()) > most;
        if over { Err(self.too_much(LimitHit::Entries { most })) } else { Ok(()) }
    }

    /// Where the entry with this clean path goes. The directories above it are there from now on,
    /// also when it is left out itself: a directory tree would show them too.
    pub(super) fn spot(&mut self, path: &str, is_dir: bool) -> Spot {
        let Some(path) = path.splitn(self.strip + 1, '/').nth(self.strip) else {
            self.stripped += usize::from(!is_dir);
            return Spot::Stripped;
        };
        let cut = self.exclude.cuts(path, is_dir);
        self.add_above(cut.unwrap_or(path));
        match cut {
            Some(_) => Spot::Excluded,
            None => Spot::At(path.to_owned()),
        }
    }

    /// Adds an entry at a path that `spot` gave.
    pub(super) fn add(&mut self, path: String, item: Item) -> Result<(), ArtifactError> {
        let Some(there) = self.items.get_mut(&path) else {
            self.items.insert(path, item);
            return Ok(());
        };
        match (&there.what, &item.what) {
            (What::Dir, What::Dir) => {
                there.mtime = item.mtime.or(there.mtime);
                Ok(())
            }
            (What::Dir, _) | (_, What::Dir) => Err(self.refuse(&path, Refusal::TwoKinds)),
            _ => Err(self.refuse(&path, Refusal::Duplicate)),
        }
    }

    /// Checks what can only be seen of the whole. Gives the entries and what to warn about.
    pub(super) fn finish(self) -> Result<(BTreeMap<String, Item>, Vec<String>), ArtifactError> {
        self.count()?;
        let mut folded: HashMap<String, &str> = HashMap::new();
        for (path, item) in &self.items {
            self.check_above(path)?;
            if let Some(other) = folded.insert(path.to_lowercase(), path) {
                return Err(self.refuse(path, Refusal::Case { other: other.to_owned() }));
            }
            if let What::Link { .. } = item.what {
                self.check_link(path)?;
            }
        }
        if self.items.is_empty() {
            return Err(self.nothing());
        }
        let warnings = self.warnings();
        Ok((self.items, warnings))
    }

    fn add_above(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            if !self.items.contains_key(&path[..at]) {
                let dir = Item { what: What::Dir, mtime: None };
                self.items.insert(path[..at].to_owned(), dir);
            }
        }
    }

    /// What was added above is not always a directory: a file or a link may have come first.
    fn check_above(&self, path: &str) -> Result<(), ArtifactError> {
        let Some((above, _)) = path.rsplit_once('/') else { return Ok(()) };
        let why = match self.items.get(above).map(|item| &item.what) {
            Some(What::Link { .. }) => Refusal::BelowLink { link: above.to_owned() },
            Some(What::File { .. }) => Refusal::BelowFile { file: above.to_owned() },
            Some(What::Dir) | None => return Ok(()),
        };
        Err(self.refuse(path, why))
    }

    fn check_link(&self, path: &str) -> Result<(), ArtifactError> {
        if path.contains(" -> ") {
            return Err(self.refuse(path, Refusal::LinkArrow));
        }
        name::follow(path, &self.items).map_err(|why| self.refuse(path, why))
    }

    fn nothing(&self) -> ArtifactError {
        let artifact = self.artifact.to_owned();
        match self.seen {
            0 => ArtifactError::Empty { artifact },
            _ => ArtifactError::NothingLeft { artifact, strip: self.strip },
        }
    }

    fn warnings(&self) -> Vec<String> {
        let idle = self.exclude.idle();
        let mut warnings: Vec<String> = idle
            .map(|pattern| format!("the exclude pattern `{pattern}` matches nothing"))
            .collect();
        if self.stripped > 0 {
            let (strip, count) = (self.strip, self.stripped);
            let noun = if count == 1 { "entry" } else { "entries" };
            warnings.push(format!("`strip_components = {strip}` leaves out {count} {noun}"));
        }
        warnings
    }
}
