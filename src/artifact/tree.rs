//! Collects the entries of an artifact, and holds the rules that they must obey together.

use std::collections::{BTreeMap, HashMap};

use super::entry::{ALL_READERS, EntryKind, Item};
use super::error::{ArtifactError, LimitHit, Offender, Refusal, Refused};
use super::exclude::Exclude;
use super::limits::Limits;
use super::{name, notes};
use crate::config::{ArtifactSpec, EntryRules};
use crate::model::manifest::is_below;
use crate::model::note::Note;

/// At most this many refused entries are named.
const MOST_OFFENDERS: usize = 20;

/// The place of an entry in the release.
pub(super) enum Spot {
    At(String),
    /// `strip_components` drops it, but not what is below.
    Stripped,
    /// `exclude` drops it with all that is below.
    Excluded,
}

/// The entries so far. They are added one by one; `finish` judges them as a whole.
pub(super) struct Tree<'a> {
    /// What the user calls the artifact.
    pub(super) artifact: &'a str,
    pub(super) limits: &'a Limits,
    strip: usize,
    exclude: Exclude,
    rules: EntryRules,
    /// Whether it is a directory of this machine.
    pub(super) is_directory: bool,
    /// Entries at or below these paths stay out of every release.
    linked: &'a [String],
    /// Seconds since 1970. A later modification time, from a clock that is ahead, becomes this.
    now: u64,
    /// Bytes of the archive, if it is one.
    pub(super) packed: u64,
    /// Bytes of all files so far.
    bytes: u64,
    seen: usize,
    /// Bytes of all paths and targets.
    names: u64,
    stripped: usize,
    offenders: Vec<Offender>,
    more: usize,
    items: BTreeMap<String, Item>,
    /// Files and links at a path that another entry already had.
    repeats: Vec<(String, Item)>,
}

impl<'a> Tree<'a> {
    /// Begins an empty tree for the artifact that the user calls `artifact`. `now` is in seconds
    /// since 1970; 0: not known.
    pub(super) fn new(
        artifact: &'a str,
        spec: &'a ArtifactSpec,
        limits: &'a Limits,
        now: i64,
    ) -> Result<Self, ArtifactError> {
        Ok(Self {
            artifact,
            limits,
            strip: spec.strip_components,
            exclude: Exclude::new(&spec.exclude)?,
            rules: spec.rules,
            is_directory: false,
            linked: &spec.linked,
            now: u64::try_from(now).ok().filter(|now| *now > 0).unwrap_or(u64::MAX),
            packed: u64::MAX,
            bytes: 0,
            seen: 0,
            names: 0,
            stripped: 0,
            offenders: Vec::new(),
            more: 0,
            items: BTreeMap::new(),
            repeats: Vec::new(),
        })
    }

    /// Returns whether a link at `path` is replaced by what it leads to, if that is outside.
    pub(super) fn follows(&self, path: &str) -> bool {
        self.rules.follow_links && !self.is_linked(path)
    }

    /// Notes an entry that may not be in a release; `finish` fails with all of them. `path` is its
    /// path in the release. At or below a linked path nothing is refused.
    pub(super) fn refuse(&mut self, entry: &str, path: Option<&str>, why: Refusal) {
        if path.is_some_and(|path| self.is_linked(path)) {
            return;
        }
        if self.offenders.len() == MOST_OFFENDERS {
            self.more += 1;
            return;
        }
        let (entry, path) = (entry.to_owned(), path.map(str::to_owned));
        self.offenders.push(Offender { entry, path, why });
    }

    /// Returns the error that names all refused entries and this one, after which nothing can be
    /// read.
    pub(super) fn stop(&mut self, entry: &str, why: Refusal) -> ArtifactError {
        self.refuse(entry, None, why);
        self.refused()
    }

    fn refused(&mut self) -> ArtifactError {
        let mut offenders = std::mem::take(&mut self.offenders);
        if self.is_directory {
            // A walk comes by in any order.
            offenders.sort_by(|a, b| a.entry.cmp(&b.entry));
        }
        let (artifact, excluded) = (self.artifact.to_owned(), self.exclude.texts());
        let refused = Refused::new(artifact, self.is_directory, excluded, offenders, self.more);
        ArtifactError::Refused(Box::new(refused))
    }

    /// Counts bytes of files. Fails if they exceed a limit.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), ArtifactError> {
        let Limits { bytes: most, ratio, ratio_from, .. } = *self.limits;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > most {
            return Err(self.too_much(LimitHit::Bytes { most }));
        }
        let bomb = self.bytes > self.packed.saturating_mul(ratio);
        if bomb && self.bytes > ratio_from {
            return Err(self.too_much(LimitHit::Ratio { most: ratio }));
        }
        Ok(())
    }

    /// Returns the error that names a limit.
    fn too_much(&self, limit: LimitHit) -> ArtifactError {
        ArtifactError::TooMuch { artifact: self.artifact.to_owned(), limit }
    }

    /// Counts an entry and returns its clean path. `None`: the root, which needs no entry, or a
    /// name that cannot be in a release.
    pub(super) fn enter(&mut self, raw: &[u8]) -> Result<Option<String>, ArtifactError> {
        self.seen += 1;
        self.count()?;
        self.count_name(raw.len())?;
        match name::clean(raw) {
            Ok(path) => Ok(path),
            Err(why) => {
                self.refuse_name(raw, why);
                Ok(None)
            }
        }
    }

    /// Notes an entry whose name cannot be in a release, unless it is left out.
    pub(super) fn refuse_name(&mut self, raw: &[u8], why: Refusal) {
        let name = String::from_utf8_lossy(raw).into_owned();
        let slashed = name.replace('\\', "/");
        let mut parts = slashed.split('/').filter(|part| !matches!(*part, "" | "."));
        let inside = !slashed.starts_with('/') && !parts.clone().any(|part| part == "..");
        let left: Vec<&str> = parts.by_ref().skip(self.strip).collect();
        let path = left.join("/");
        let out = left.is_empty() || self.exclude.cuts(&path, false).is_some();
        if !inside || !(out || self.is_linked(&path)) {
            self.refuse(&name, None, why);
        }
    }

    /// Counts bytes of a path or of a link's target.
    pub(super) fn count_name(&mut self, bytes: usize) -> Result<(), ArtifactError> {
        self.names += bytes as u64;
        let most = self.limits.names;
        if self.names > most { Err(self.too_much(LimitHit::Names { most })) } else { Ok(()) }
    }

    /// Returns whether `path` is at or below a linked path, and so stays out of every release.
    pub(super) fn is_linked(&self, path: &str) -> bool {
        self.linked.iter().any(|linked| path == linked || is_below(path, linked))
    }

    /// Counts a directory that only occurs as part of a path: it costs as much as any entry.
    fn count(&self) -> Result<(), ArtifactError> {
        let most = self.limits.entries;
        let over = self.seen.max(self.items.len()) > most;
        if over { Err(self.too_much(LimitHit::Entries { most })) } else { Ok(()) }
    }

    /// Returns the place of the entry with this clean path. Adds the directories above it, even if
    /// it is left out itself: a walk of a directory would find them too.
    pub(super) fn spot(&mut self, path: &str, is_dir: bool) -> Result<Spot, ArtifactError> {
        let Some(path) = path.splitn(self.strip + 1, '/').nth(self.strip) else {
            self.stripped += usize::from(!is_dir);
            return Ok(Spot::Stripped);
        };
        let cut = self.exclude.cuts(path, is_dir);
        self.add_above(cut.unwrap_or(path))?;
        Ok(match cut {
            Some(_) => Spot::Excluded,
            None => Spot::At(path.to_owned()),
        })
    }

    /// Adds an entry at a path that [`Self::spot`] returned.
    pub(super) fn add(&mut self, path: &str, mut item: Item) -> Result<(), ArtifactError> {
        item.mtime = item.mtime.map(|at| at.min(self.now));
        if let EntryKind::Link { target } = &item.what {
            self.count_name(target.len())?;
        }
        let Some(there) = self.items.get_mut(path) else {
            self.items.insert(path.to_owned(), item);
            return Ok(());
        };
        match (&there.what, &item.what) {
            (EntryKind::Dir, EntryKind::Dir) => {
                there.mtime = item.mtime.or(there.mtime);
                there.readers = item.readers;
            }
            (EntryKind::Dir, _) | (_, EntryKind::Dir) => {
                self.refuse(path, Some(path), Refusal::TwoKinds);
            }
            _ => self.repeats.push((path.to_owned(), item)),
        }
        Ok(())
    }

    /// Checks the rules for all entries together. Returns the entries by path, and notes.
    pub(super) fn finish(mut self) -> Result<(BTreeMap<String, Item>, Vec<Note>), ArtifactError> {
        self.count()?;
        for (path, item) in std::mem::take(&mut self.repeats) {
            if !self.repeats(&path, &item)? {
                self.refuse(&path, Some(&path), Refusal::Duplicate);
            }
        }
        for (path, why) in self.judge()? {
            self.refuse(&path, Some(&path), why);
            self.items.remove(&path);
        }
        if !self.offenders.is_empty() {
            return Err(self.refused());
        }
        if self.items.is_empty() {
            return Err(self.nothing());
        }
        self.close_below();
        let notes = self.notes();
        if !self.rules.keep_private {
            self.items.values_mut().for_each(|item| item.readers = ALL_READERS);
        }
        Ok((self.items, notes))
    }

    /// Returns whether `item` equals the entry at `path`, so that the order of unpacking does not
    /// matter.
    fn repeats(&self, path: &str, item: &Item) -> Result<bool, ArtifactError> {
        let Some(there) = self.items.get(path) else { return Ok(false) };
        Ok(match (&there.what, &item.what) {
            (EntryKind::Link { target }, EntryKind::Link { target: again }) => target == again,
            (
                EntryKind::File { runs, place },
                EntryKind::File { runs: run_again, place: again },
            ) => {
                runs == run_again
                    && there.readers & !item.readers == 0
                    && place.len() == again.len()
                    && place.digest(path)? == again.digest(path)?
            }
            _ => false,
        })
    }

    /// Returns the entries that may not be where they are, and why.
    fn judge(&self) -> Result<Vec<(String, Refusal)>, ArtifactError> {
        let mut left = self.limits.steps;
        let mut bad = Vec::new();
        let mut folded: HashMap<String, &str> = HashMap::new();
        for (path, item) in &self.items {
            let above = self.above(path);
            let other = folded.insert(path.to_lowercase(), path);
            let other = other.filter(|_| !self.rules.any_case);
            let case = || other.map(|other| Refusal::Case { other: other.to_owned() });
            let link = || match item.what {
                EntryKind::Link { .. } => self.judge_link(path, &mut left),
                EntryKind::Dir | EntryKind::File { .. } => None,
            };
            if let Some(why) = above.or_else(case).or_else(link) {
                bad.push((path.clone(), why));
            }
            if left == 0 {
                return Err(self.too_much(LimitHit::Steps { most: self.limits.steps }));
            }
        }
        Ok(bad)
    }

    /// Takes the bits of those who may not enter a directory from all files below it.
    fn close_below(&mut self) {
        let is_closed =
            |item: &Item| matches!(item.what, EntryKind::Dir) && item.readers != ALL_READERS;
        let closed = self.items.iter().filter(|(_, item)| is_closed(item));
        let closed: HashMap<_, _> =
            closed.map(|(path, item)| (path.clone(), item.readers)).collect();
        if closed.is_empty() {
            return;
        }
        for (path, item) in &mut self.items {
            let above = path.match_indices('/').filter_map(|(at, _)| closed.get(&path[..at]));
            item.readers = above.fold(item.readers, |readers, above| readers & above);
        }
    }

    fn add_above(&mut self, path: &str) -> Result<(), ArtifactError> {
        for (at, _) in path.match_indices('/') {
            if !self.items.contains_key(&path[..at]) {
                self.count_name(at)?;
                let dir = Item { what: EntryKind::Dir, mtime: None, readers: ALL_READERS };
                self.items.insert(path[..at].to_owned(), dir);
            }
        }
        Ok(())
    }

    /// Returns why the entry above is no directory: a file or a link may have come first.
    fn above(&self, path: &str) -> Option<Refusal> {
        let (above, _) = path.rsplit_once('/')?;
        match self.items.get(above)?.what {
            EntryKind::Link { .. } => Some(Refusal::BelowLink { link: above.to_owned() }),
            EntryKind::File { .. } => Some(Refusal::BelowFile { file: above.to_owned() }),
            EntryKind::Dir => None,
        }
    }

    fn judge_link(&self, path: &str, left: &mut usize) -> Option<Refusal> {
        if path.contains(" -> ") {
            return Some(Refusal::LinkArrow);
        }
        let link_at = |path: &str| match &self.items.get(path)?.what {
            EntryKind::Link { target } => Some(target.clone()),
            EntryKind::Dir | EntryKind::File { .. } => None,
        };
        name::follow(path, link_at, left).err()
    }

    fn nothing(&self) -> ArtifactError {
        let artifact = self.artifact.to_owned();
        match self.seen {
            0 => ArtifactError::Empty { artifact },
            _ => ArtifactError::NothingLeft { artifact, strip: self.strip },
        }
    }

    fn notes(&self) -> Vec<Note> {
        let idle = |pattern| {
            let text = format!("the exclude pattern `{pattern}` matches nothing");
            Note::new(text, "correct or drop it")
        };
        let mut notes: Vec<_> = self.exclude.idle().map(idle).collect();
        if self.stripped > 0 {
            let (strip, count) = (self.strip, self.stripped);
            let noun = if count == 1 { "entry" } else { "entries" };
            let text = format!("`strip_components = {strip}` leaves out {count} {noun}");
            notes.push(Note::new(text, "a lower number keeps more"));
        }
        let staying = self.items.iter().filter(|(path, _)| !self.is_linked(path));
        notes.extend(notes::of(staying, self.rules, &self.exclude.texts()));
        notes
    }
}
