//! Refusals: facts that forbid a change of a host. Notes: facts that the user should know before.

use chrono::{DateTime, TimeDelta, Utc};

use super::error::delete;
use super::{PlanError, Planner, WantedRelease};
use crate::config::placeholders::Placeholders;
use crate::deploy::goal::{Build, describe_link};
use crate::deploy::run::Run;
use crate::model::host_state::{Current, Facts, HostState, UnitState};
use crate::model::id::ReleaseId;
use crate::model::manifest::{Manifest, Node};
use crate::model::note::Note;
use crate::model::service::{Scope, Service, Unit};

impl Planner<'_> {
    /// Fails with the first thing that forbids a deploy to the host: see [`Self::refusals`].
    pub(super) fn refuse(&self, wanted: Option<WantedRelease<'_>>) -> Result<(), PlanError> {
        self.refusals(wanted).into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns everything that forbids a deploy to the host, as far as it is known without changing
    /// anything; without `wanted`: everything about the host itself.
    pub fn refusals(&self, wanted: Option<WantedRelease<'_>>) -> Vec<PlanError> {
        let mut all: Vec<_> = self.not_flippable().into_iter().chain(self.ahead()).collect();
        all.extend(self.no_units());
        all.extend(self.services().filter_map(|service| self.no_sudo(service)));
        if !wanted.is_some_and(|wanted| wanted.build.force) {
            all.extend(self.other_app());
        }
        if let Some(wanted) = wanted {
            all.extend(self.not_live(wanted.build));
            all.extend(self.env_in_artifact(wanted.build));
            all.extend(self.no_value(wanted.build));
            all.extend(self.links_inside(wanted.build));
            all.extend(self.no_unit_files(wanted));
            all.extend(self.no_image(wanted));
            all.extend(self.no_room(wanted));
        }
        all
    }

    /// Returns why nothing may be deleted on the host.
    pub(super) fn not_prunable(&self) -> Option<PlanError> {
        let state = self.state;
        newer(state).or_else(|| unfit(state)).or_else(|| self.other_app()).or_else(|| {
            let live = state.live().map(|id| id.to_string());
            let not_live = |name: &&String| Some(*name) != live.as_ref();
            state.is_doubtful().then(|| PlanError::Doubtful {
                layout: self.config.layout.clone(),
                unreadable: state.ledger.unreadable_lines().to_vec(),
                unknown: state.unknown.iter().filter(not_live).cloned().collect(),
            })
        })
    }

    fn not_flippable(&self) -> Option<PlanError> {
        newer(self.state)
            .or_else(|| {
                let path = self.config.layout.current();
                let not_a_link = self.state.current == Current::NotALink;
                not_a_link.then_some(PlanError::CurrentNotALink { path })
            })
            .or_else(|| unfit(self.state))
    }

    /// Returns that a release of ours is dated later than all clocks, if one is: one host must not
    /// choose the next id of the fleet.
    fn ahead(&self) -> Option<PlanError> {
        let latest = latest(self.state, self.run);
        let id = self.state.ours().into_iter().find(|id| id.time() > latest)?;
        let (layout, live) = (self.config.layout.clone(), self.state.live() == Some(id));
        Some(PlanError::Ahead { id, layout, live })
    }

    fn no_units(&self) -> impl Iterator<Item = PlanError> {
        let brought = |unit: &UnitState| {
            let own = self.config.services.iter().filter_map(Service::unit);
            own.filter(|own| own.file.is_some()).any(|own| own.name == unit.name)
        };
        let found = self.state.units.iter().filter(move |unit| !brought(unit));
        let unusable = found.filter(|unit| unit.is_unusable() && !self.hooks_make());
        unusable.map(|unit| PlanError::NoUnit { unit: unit.name.clone(), load: unit.load.clone() })
    }

    /// Returns whether a hook may make what a release or its host lacks.
    fn hooks_make(&self) -> bool {
        !self.config.hooks.staged.is_empty()
    }

    /// Returns the services whose unit was looked at.
    fn services(&self) -> impl Iterator<Item = &Service> {
        self.config.services.iter().filter(|service| self.state.unit_of(service).is_some())
    }

    /// Returns what sudo does not allow that an activation does to the service; in a slot, to the
    /// units of both.
    fn no_sudo(&self, service: &Service) -> Option<PlanError> {
        let Facts { user, sudo, .. } = &self.state.facts;
        let units = self.config.units_of(service).into_iter();
        let asked = |unit: &Unit| unit.scope == Scope::System && self.config.sudo.tells();
        units.filter(asked).find_map(|Unit { name, action, .. }| {
            let own = [action.word()];
            let verbs = if service.is_in_slot() { &["restart", "enable"][..] } else { &own };
            verbs.iter().find_map(|verb| {
                let command = format!("{verb} {name}");
                let refusal = sudo.refusal(&command)?;
                let (user, command) = (user.clone(), format!("systemctl {command}"));
                Some(PlanError::NoSudo { user, command, refusal })
            })
        })
    }

    /// Returns that the live release belongs to another app, if the ledger says so.
    fn other_app(&self) -> Option<PlanError> {
        let there = self.state.ledger.history(self.state.live()?)?.origin?.app?;
        let app = self.config.app.clone();
        (there != app).then_some(PlanError::OtherApp { there, app })
    }

    fn not_live(&self, build: &Build) -> Option<PlanError> {
        let was = build.of_live.filter(|was| self.state.live() != Some(*was))?;
        Some(PlanError::NotLive { was })
    }

    fn env_in_artifact(&self, build: &Build) -> Option<PlanError> {
        let mut made = self.config.env.iter().filter(|spec| build.env_bytes(spec).is_some());
        let spec = made.find(|spec| build.manifest.holds(&spec.file))?;
        Some(PlanError::EnvInArtifact { file: spec.file.clone() })
    }

    fn no_value(&self, build: &Build) -> Option<PlanError> {
        let slot = self.any_slot();
        let known = Placeholders { slot, ..build.placeholders(ReleaseId::at(self.run.now)) };
        let name = self.config.health.fillable(&known).err()?;
        Some(PlanError::NoValue { name, id: None })
    }

    /// Returns each linked path that would lie in something other than a directory.
    fn links_inside(&self, build: &Build) -> impl Iterator<Item = PlanError> {
        let nodes = build.manifest.nodes();
        self.config.links.iter().filter_map(|link| {
            let mut above = link.path.match_indices('/').map(|(end, _)| &link.path[..end]);
            let (at, kind) = above.find_map(|at| match nodes.get(at)? {
                Node::Dir => None,
                Node::File { .. } => Some((at, "file")),
                Node::Link { .. } => Some((at, "symbolic link")),
            })?;
            Some(PlanError::LinkInside { path: link.path.clone(), at: at.to_owned(), kind })
        })
    }

    fn no_unit_files(&self, wanted: WantedRelease<'_>) -> impl Iterator<Item = PlanError> {
        let files = self.services().filter_map(|service| service.unit()?.file.clone());
        let lacks = move |file: &String| !wanted.release.manifest.holds(file);
        let lacking = files.filter(move |file| !self.hooks_make() && lacks(file));
        lacking.map(|file| PlanError::NoUnitFile { file })
    }

    fn no_image(&self, wanted: WantedRelease<'_>) -> Option<PlanError> {
        let holds = |name| wanted.release.manifest.holds(name);
        let is_one = holds("manifest.json") || holds("index.json");
        let image = self.config.services.iter().find_map(|service| service.image.as_ref())?;
        let image = image.name.clone();
        (!is_one && !self.hooks_make()).then_some(PlanError::NoImage { image })
    }

    /// Returns that the release does not fit, if so: the bytes of all files that are not there yet,
    /// an inode for every entry, and a tenth to spare.
    fn no_room(&self, wanted: WantedRelease<'_>) -> Option<PlanError> {
        let (facts, release) = (&self.state.facts, &wanted.release.manifest);
        let size = release.size().saturating_sub(wanted.prepared.delta.linked);
        let need = size + size / 10;
        if let Some(free) = facts.free_bytes.filter(|free| *free < need) {
            return Some(PlanError::NoSpace { need, free });
        }
        let need = release.nodes().len() as u64 + 32;
        // Some file systems have no fixed number of inodes and report 0.
        let free = facts.free_inodes.filter(|free| *free > 0 && *free < need)?;
        Some(PlanError::NoInodes { need, free })
    }

    /// Returns what of the host is not understood, and what follows for its releases.
    pub(super) fn doubts(&self) -> Vec<String> {
        let state = self.state;
        let mut lines = state.not_understood();
        if state.is_doubtful() {
            let name = &self.config.stage;
            lines.push(format!(
                "nothing is pruned until that is resolved; `shipit prune {name}` says what to do"
            ));
        } else if let Some(name) = state.unknown.first() {
            let command = delete(&self.config.layout, name);
            lines.push(format!(
                "prune never deletes such a release; if nobody needs it, do it by hand: `{command}`"
            ));
        }
        lines
    }

    /// Returns what the user should know of a deploy to the host beforehand.
    pub fn notes(&self, wanted: Option<WantedRelease<'_>>) -> Vec<Note> {
        let (mut notes, name) = (Vec::new(), &self.config.stage);
        for text in self.doubts() {
            let fix = format!("`shipit releases {name}` shows what is known of each release");
            notes.push(Note { text, fix });
        }
        if let Some(WantedRelease { build, release, .. }) = wanted {
            notes.extend(self.left_out(build, &release.manifest));
            notes.extend(self.not_executable(&release.manifest));
        }
        if let Current::Foreign(target) = &self.state.current {
            let text = format!("`current` points to {target}, which another tool made");
            let fix = format!("`shipit deploy {name}` replaces the link; its target stays");
            notes.push(Note { text, fix });
        }
        notes
    }

    fn left_out(&self, build: &Build, release: &Manifest) -> Option<Note> {
        let left_out = build.manifest.nodes().len() - release.nodes().len();
        let links: Vec<_> = self.config.links.iter().map(describe_link).collect();
        let links = links.join(", ");
        let (entries, lie) = if left_out == 1 { ("entry", "lies") } else { ("entries", "lie") };
        let fix = format!("leave out with `exclude` in [artifact] what is at {links}");
        let text = format!(
            "{left_out} {entries} of the artifact {lie} at or below linked paths ({links}) and stay out"
        );
        (left_out > 0).then_some(Note { text, fix })
    }

    /// Returns a note if the release has the unit's program as a file that is not executable,
    /// unless a hook may change that.
    fn not_executable(&self, release: &Manifest) -> Option<Note> {
        if self.hooks_make() {
            return None;
        }
        let inside = format!("path={}/", self.config.layout.current());
        let path = |unit: &UnitState| {
            let path = unit.exec_start.split_once(&inside)?.1.split_once(" ;")?.0;
            Some((path.to_owned(), release.nodes().get(path)?))
        };
        let programs = self.state.units.iter().filter_map(path);
        let closed = |node: &Node| matches!(node, Node::File { mode, .. } if mode & 0o111 == 0);
        let (path, _) = programs.into_iter().find(|(_, node)| closed(node))?;
        Some(Note {
            text: format!("`{path}`, which the unit runs, is not executable"),
            fix: format!(
                "`chmod +x {path}` where it is built, and pack it with its modes: as a tar"
            ),
        })
    }
}

fn unfit(state: &HostState) -> Option<PlanError> {
    let what = &state.facts.missing;
    let fix = state.facts.fixes.get(what.first()?).cloned();
    Some(PlanError::Unfit { what: what.clone(), fix })
}

/// Returns that a newer program was on the host, if so: this one must not change anything there.
pub fn newer(state: &HostState) -> Option<PlanError> {
    state.newer().cloned().map(PlanError::Newer)
}

/// Returns the latest time that a release may be dated: a day ahead of our clock and the host's.
pub(super) fn latest(state: &HostState, run: &Run) -> DateTime<Utc> {
    let now = run.now.max(state.facts.clock);
    now.checked_add_signed(TimeDelta::days(1)).unwrap_or(now)
}
