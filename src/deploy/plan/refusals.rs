//! Refusals: facts that forbid a change of a host. Notes: facts that the user should know before.

use chrono::{DateTime, TimeDelta, Utc};

use super::error::delete;
use super::{PlanError, Planner, WantedRelease};
use crate::config::placeholders::Placeholders;
use crate::deploy::goal::{Build, describe_link};
use crate::deploy::run::Run;
use crate::model::host_state::UnitState;
use crate::model::host_state::{Current, Facts, HostState};
use crate::model::id::ReleaseId;
use crate::model::link::SharedLink;
use crate::model::manifest::{Manifest, Node};
use crate::model::note::Note;
use crate::model::service::{Scope, Service, Unit};

impl Planner<'_> {
    /// Returns everything that forbids a deploy to a host, as far as it is known without changing
    /// anything; without `wanted`: everything about the host itself.
    pub fn refusals(&self, state: &HostState, wanted: Option<WantedRelease<'_>>) -> Vec<PlanError> {
        let mut all: Vec<_> = [self.check_fit(state), self.check_ahead(state)]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        let brought = |unit: &&UnitState| self.brings(unit);
        let found = state.units.iter().filter(|unit| !brought(unit));
        all.extend(found.filter_map(|unit| self.check_unit(unit).err()));
        let looked_at = self.config.services.iter().filter(|it| state.unit_of(it).is_some());
        all.extend(looked_at.filter_map(|service| self.check_sudo(state, service).err()));
        if !wanted.is_some_and(|wanted| wanted.build.force) {
            all.extend(self.check_app(state).err());
        }
        if let Some(wanted) = wanted {
            all.extend(check_live(state, wanted.build).err());
            all.extend(self.check_env(wanted.build).err());
            all.extend(self.check_placeholders(wanted.build).err());
            all.extend(self.check_links(wanted.build));
            all.extend(self.check_unit_files(state, wanted));
            all.extend(self.check_image(wanted).err());
            all.extend(check_space(state, wanted).err());
        }
        all
    }

    /// Fails if sudo does not allow what an activation does to the service; in a slot, to the units
    /// of both.
    fn check_sudo(&self, state: &HostState, service: &Service) -> Result<(), PlanError> {
        let Facts { user, sudo, .. } = &state.facts;
        for Unit { name, scope, action, .. } in self.config.units_of(service) {
            let own = [action.word()];
            let verbs = if service.is_in_slot() { &["restart", "enable"][..] } else { &own };
            for verb in verbs {
                let command = format!("{verb} {name}");
                let asked = scope == Scope::System && self.config.sudo.tells();
                let refusal = sudo.refusal(&command).filter(|_| asked);
                let Some(refusal) = refusal else { continue };
                let command = format!("systemctl {command}");
                return Err(PlanError::NoSudo { user: user.clone(), command, refusal });
            }
        }
        Ok(())
    }

    /// Fails if nothing may be deleted on a host.
    pub(super) fn check_prune(&self, state: &HostState) -> Result<(), PlanError> {
        check_newer(state)?;
        is_fit(state)?;
        self.check_app(state)?;
        if state.is_doubtful() {
            let live = state.live().map(|id| id.to_string());
            let not_live = |name: &&String| Some(*name) != live.as_ref();
            return Err(PlanError::Doubtful {
                layout: self.config.layout.clone(),
                unreadable: state.ledger.unreadable_lines().to_vec(),
                unknown: state.unknown.iter().filter(not_live).cloned().collect(),
            });
        }
        Ok(())
    }

    /// Fails if the ledger says that the live release belongs to another app.
    fn check_app(&self, state: &HostState) -> Result<(), PlanError> {
        let history = state.live().and_then(|live| state.ledger.history(live));
        match history.and_then(|history| history.origin?.app) {
            Some(there) if there != self.config.app => {
                Err(PlanError::OtherApp { there, app: self.config.app.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Fails if a release of ours is dated later than all clocks: one host must not choose the next
    /// id of the fleet.
    fn check_ahead(&self, state: &HostState) -> Result<(), PlanError> {
        let latest = latest(state, self.run);
        match state.ours().into_iter().find(|id| id.time() > latest) {
            Some(id) => Err(PlanError::Ahead {
                id,
                layout: self.config.layout.clone(),
                live: state.live() == Some(id),
            }),
            None => Ok(()),
        }
    }

    fn check_fit(&self, state: &HostState) -> Result<(), PlanError> {
        check_newer(state)?;
        if state.current == Current::NotALink {
            return Err(PlanError::CurrentNotALink { path: self.config.layout.current() });
        }
        is_fit(state)
    }

    /// Returns whether the file of the unit comes with the release.
    fn brings(&self, unit: &UnitState) -> bool {
        let own = self.config.services.iter().filter_map(Service::unit);
        own.filter(|own| own.file.is_some()).any(|own| own.name == unit.name)
    }

    /// Returns each unit file that the release lacks, unless a hook may make it.
    fn check_unit_files(&self, state: &HostState, wanted: WantedRelease<'_>) -> Vec<PlanError> {
        let here = self.config.services.iter().filter(|service| state.unit_of(service).is_some());
        let files = here.filter_map(|service| service.unit()?.file.as_ref());
        let holds = |file: &&String| wanted.release.manifest.holds(file);
        let lacking = files.filter(|file| self.config.hooks.staged.is_empty() && !holds(file));
        lacking.map(|file| PlanError::NoUnitFile { file: file.clone() }).collect()
    }

    /// Fails if a service runs a container image and the release is none, unless a hook may make it.
    fn check_image(&self, wanted: WantedRelease<'_>) -> Result<(), PlanError> {
        let holds = |name| wanted.release.manifest.holds(name);
        if holds("manifest.json") || holds("index.json") || !self.config.hooks.staged.is_empty() {
            return Ok(());
        }
        let image = self.config.services.iter().find_map(|service| service.image.as_ref());
        image.map_or(Ok(()), |image| Err(PlanError::NoImage { image: image.name.clone() }))
    }

    /// Fails if the unit cannot be started, unless a hook may install it.
    fn check_unit(&self, unit: &UnitState) -> Result<(), PlanError> {
        let made_by_hook = !self.config.hooks.staged.is_empty();
        if unit.is_unusable() && !made_by_hook {
            return Err(PlanError::NoUnit { unit: unit.name.clone(), load: unit.load.clone() });
        }
        Ok(())
    }

    /// Returns each linked path that would lie in something other than a directory.
    fn check_links(&self, build: &Build) -> Vec<PlanError> {
        let nodes = build.manifest.nodes();
        let inside = |link: &SharedLink| {
            let mut above = link.path.match_indices('/').map(|(end, _)| &link.path[..end]);
            let (at, kind) = above.find_map(|at| match nodes.get(at)? {
                Node::Dir => None,
                Node::File { .. } => Some((at, "file")),
                Node::Link { .. } => Some((at, "symbolic link")),
            })?;
            Some(PlanError::LinkInside { path: link.path.clone(), at: at.to_owned(), kind })
        };
        self.config.links.iter().filter_map(inside).collect()
    }

    /// Fails if a health check names what is not known of the build.
    fn check_placeholders(&self, build: &Build) -> Result<(), PlanError> {
        let slot = self.any_slot();
        let known = Placeholders { slot, ..build.placeholders(ReleaseId::at(self.run.now)) };
        self.config.health.fillable(&known).map_err(|name| PlanError::NoValue { name, id: None })
    }

    fn check_env(&self, build: &Build) -> Result<(), PlanError> {
        let mut made = self.config.env.iter().filter(|spec| build.env_bytes(spec).is_some());
        match made.find(|spec| build.manifest.holds(&spec.file)) {
            Some(spec) => Err(PlanError::EnvInArtifact { file: spec.file.clone() }),
            None => Ok(()),
        }
    }

    /// Returns what of a host is not understood, and what follows for its releases.
    pub(super) fn doubts(&self, state: &HostState) -> Vec<String> {
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

    /// Returns what the user should know of a deploy to a host beforehand.
    pub fn notes(&self, state: &HostState, wanted: Option<WantedRelease<'_>>) -> Vec<Note> {
        let (mut notes, name) = (Vec::new(), &self.config.stage);
        for text in self.doubts(state) {
            let fix = format!("`shipit releases {name}` shows what is known of each release");
            notes.push(Note { text, fix });
        }
        if let Some(WantedRelease { build, release, .. }) = wanted {
            notes.extend(self.left_out(build, &release.manifest));
            notes.extend(self.not_executable(state, &release.manifest));
        }
        if let Current::Foreign(target) = &state.current {
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
    fn not_executable(&self, state: &HostState, release: &Manifest) -> Option<Note> {
        if !self.config.hooks.staged.is_empty() {
            return None;
        }
        let inside = format!("path={}/", self.config.layout.current());
        let path = |unit: &UnitState| {
            let path = unit.exec_start.split_once(&inside)?.1.split_once(" ;")?.0;
            Some((path.to_owned(), release.nodes().get(path)?))
        };
        let programs = state.units.iter().filter_map(path);
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

fn is_fit(state: &HostState) -> Result<(), PlanError> {
    let what = &state.facts.missing;
    let Some(first) = what.first() else { return Ok(()) };
    Err(PlanError::Unfit { what: what.clone(), fix: state.facts.fixes.get(first).cloned() })
}

/// Fails if a newer program left something on the host: this one must not change anything there.
pub fn check_newer(state: &HostState) -> Result<(), PlanError> {
    state.newer().map_or(Ok(()), |newer| Err(PlanError::Newer(newer.clone())))
}

/// Returns the latest time that a release may be dated: a day ahead of this machine's clock and of
/// the host's.
pub(super) fn latest(state: &HostState, run: &Run) -> DateTime<Utc> {
    let now = run.now.max(state.facts.clock);
    now.checked_add_signed(TimeDelta::days(1)).unwrap_or(now)
}

/// Fails if another release is live than the one whose config is to change.
fn check_live(state: &HostState, build: &Build) -> Result<(), PlanError> {
    match (build.of_live, state.live()) {
        (Some(was), live) if live != Some(was) => Err(PlanError::NotLive { was }),
        _ => Ok(()),
    }
}

/// Fails if the release does not fit: the bytes of all files that are not there yet, an inode for
/// every entry, and a tenth to spare.
fn check_space(state: &HostState, wanted: WantedRelease<'_>) -> Result<(), PlanError> {
    let release = &wanted.release.manifest;
    let size = release.size().saturating_sub(wanted.prepared.delta.linked);
    let need = size + size / 10;
    if let Some(free) = state.facts.free_bytes.filter(|free| *free < need) {
        return Err(PlanError::NoSpace { need, free });
    }
    let need = release.nodes().len() as u64 + 32;
    // Some file systems have no fixed number of inodes and report 0.
    match state.facts.free_inodes {
        Some(free) if free > 0 && free < need => Err(PlanError::NoInodes { need, free }),
        _ => Ok(()),
    }
}
