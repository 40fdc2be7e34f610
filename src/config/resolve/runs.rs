//! What runs: the service, how it is judged, hooks, and the limits in time.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::hosts::is_called;
use super::{NAME, Resolver};
use crate::config::error::ConfigError;
use crate::config::tables::{self, HookTable, Layer, Length, LocalHookTable, TextOr};
use crate::config::{
    Batch, Hook, Hooks, Host, OnFailure, OnUnreachable, Rollout, SshSettings, Upload, rules,
};
use crate::model::service::{Action, Scope, Service, ServiceKind, Unit};

/// No single step may take longer than this.
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
pub(super) const TENTH: Duration = Duration::from_millis(100);

impl Resolver<'_> {
    /// The services in their order.
    pub(super) fn services(&self, layer: &Layer) -> Result<Vec<Service>, ConfigError> {
        let named = layer.services.iter().flatten();
        let mut named: Vec<_> = named.collect();
        named.sort_by_key(|(name, _)| name.span().start);
        match (&layer.service, named.first()) {
            (Some(_), Some((name, _))) => Err(ConfigError::Both {
                place: self.file.place(name),
                one: "[service]",
                other: "[services]",
            }),
            (Some(service), None) => {
                self.without("roles", service.roles.as_ref(), "[services.NAME]")?;
                let app = self.app()?;
                Ok(self.service(&app, service)?.into_iter().collect())
            }
            (None, _) => {
                let mut all = Vec::new();
                for (name, table) in named {
                    self.file.rule(name, "services", NAME, rules::is_name(name.get_ref()))?;
                    all.push(self.named_service(name, table)?);
                }
                Ok(all)
            }
        }
    }

    fn named_service(
        &self,
        name: &Spanned<String>,
        table: &tables::ServiceTable,
    ) -> Result<Service, ConfigError> {
        let service = self.service(name.get_ref(), table)?;
        service.ok_or_else(|| ConfigError::Missing {
            place: self.file.place(name),
            key: "unit".to_owned(),
            table: format!("(or `restart`) in [services.{}]", name.get_ref()),
        })
    }

    /// The service of one table; `None`: the table says nothing.
    fn service(
        &self,
        name: &str,
        service: &tables::ServiceTable,
    ) -> Result<Option<Service>, ConfigError> {
        let roles = service.roles.as_ref().map_or(&[][..], |roles| roles.get_ref());
        let roles = self.known_roles(roles)?;
        let limit = self.whole("timeout", service.timeout.as_ref(), Duration::from_mins(2))?;
        let what = match (&service.unit, &service.restart) {
            (Some(unit), Some(_)) => {
                let place = self.file.place(unit);
                return Err(ConfigError::Both { place, one: "unit", other: "restart" });
            }
            (Some(unit), None) => {
                self.without("stop", service.stop.as_ref(), "restart")?;
                self.without("log", service.log.as_ref(), "restart")?;
                ServiceKind::Unit(self.unit(service, unit)?)
            }
            (None, Some(restart)) => {
                self.without("scope", service.scope.as_ref(), "unit")?;
                self.without("action", service.action.as_ref(), "unit")?;
                let restart = self.command("restart", restart)?;
                let stop = service.stop.as_ref().map(|stop| self.command("stop", stop));
                let log = service.log.as_ref().map(|log| self.log(log)).transpose()?;
                ServiceKind::Command { restart, stop: stop.transpose()?, log }
            }
            (None, None) => {
                self.without("stop", service.stop.as_ref(), "restart")?;
                self.without("log", service.log.as_ref(), "restart")?;
                self.without("scope", service.scope.as_ref(), "unit")?;
                self.without("action", service.action.as_ref(), "unit")?;
                self.without("timeout", service.timeout.as_ref(), "unit")?;
                return Ok(None);
            }
        };
        Ok(Some(Service { name: name.to_owned(), what, roles, limit, proof: None }))
    }

    /// A path inside the release, where a linked directory leads out of it, or an absolute one.
    fn log(&self, log: &Spanned<String>) -> Result<String, ConfigError> {
        let path = log.get_ref();
        let must = "a path inside the release, or an absolute one, without `.`, `..` and `//`";
        let holds = rules::is_clean(path.strip_prefix('/').unwrap_or(path));
        self.file.rule(log, "log", must, holds)?;
        Ok(path.clone())
    }

    fn unit(
        &self,
        service: &tables::ServiceTable,
        unit: &Spanned<String>,
    ) -> Result<Unit, ConfigError> {
        let must = "the name of a systemd service, such as `todo.service` or `todo@1`";
        let name = self.file.need(unit, "unit", must, rules::unit(unit.get_ref()))?;
        let scope = match service.scope.as_ref().map(Spanned::get_ref) {
            Some(tables::ScopeValue::User) => Scope::User,
            Some(tables::ScopeValue::System) | None => Scope::System,
        };
        let action = match service.action.as_ref().map(Spanned::get_ref) {
            Some(tables::ActionValue::ReloadOrRestart) => Action::ReloadOrRestart,
            Some(tables::ActionValue::Restart) | None => Action::Restart,
        };
        Ok(Unit { name, scope, action })
    }

    pub(super) fn deadline(&self, layer: &Layer) -> Result<Duration, ConfigError> {
        let written = layer.timeouts.as_ref().and_then(|timeouts| timeouts.deadline.as_ref());
        let deadline = self.whole("deadline", written, Duration::from_secs(15))?;
        let Some(written) = written else { return Ok(deadline) };
        // The client says `hold` every three seconds; one that is late must not cost the release.
        let must = "5 seconds or more";
        let fits = deadline >= Duration::from_secs(5);
        self.file.need(&shown(written), "deadline", must, fits.then_some(deadline))
    }

    /// A length of time that a host's `timeout` or `read` is given.
    fn whole(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
    ) -> Result<Duration, ConfigError> {
        let length = self.span(key, written, usual, SECOND)?;
        let Some(written) = written else { return Ok(length) };
        let whole = (length.subsec_nanos() == 0).then_some(length);
        self.file.need(&shown(written), key, "whole seconds", whole)
    }

    pub(super) fn span(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
        least: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(written) = written else { return Ok(usual) };
        let Length(length) = *written.get_ref();
        let must = match (length > DAY, least < SECOND) {
            (true, _) => "24 hours or less",
            (false, true) => "100ms or more",
            (false, false) => "1 second or more",
        };
        let fits = length >= least && length <= DAY;
        self.file.need(&shown(written), key, must, fits.then_some(length))
    }

    pub(super) fn rollout(&self, layer: &Layer, hosts: &[Host]) -> Result<Rollout, ConfigError> {
        let rollout = layer.rollout.clone().unwrap_or_default();
        let canary = rollout.canary.iter().flatten().map(|name| self.canary(name, hosts));
        let pause = rollout.pause.as_ref();
        let on_failure = match rollout.on_failure {
            Some(tables::OnFailureValue::RevertAll) | None => OnFailure::RevertAll,
            Some(tables::OnFailureValue::RevertBatch) => OnFailure::RevertBatch,
            Some(tables::OnFailureValue::Stop) => OnFailure::Stop,
        };
        let on_unreachable = match rollout.on_unreachable {
            Some(tables::OnUnreachableValue::Abort) | None => OnUnreachable::Abort,
            Some(tables::OnUnreachableValue::Skip) => OnUnreachable::Skip,
        };
        let max_failed = rollout.max_failed.as_ref().map(|number| {
            let count = usize::try_from(*number.get_ref()).ok();
            self.file.need(number, "max_failed", "0 or more", count)
        });
        Ok(Rollout {
            batch: self.batch(rollout.batch.as_ref())?,
            canary: canary.collect::<Result<_, _>>()?,
            pause: self.span("pause", pause, Duration::ZERO, Duration::ZERO)?,
            on_failure,
            on_unreachable,
            max_failed: max_failed.transpose()?.unwrap_or(0),
        })
    }

    fn batch(&self, written: Option<&Spanned<tables::BatchValue>>) -> Result<Batch, ConfigError> {
        let Some(written) = written else { return Ok(Batch::All) };
        let at_least_one = |number| usize::try_from(number).ok().filter(|number| *number >= 1);
        match *written.get_ref() {
            tables::BatchValue::All => Ok(Batch::All),
            tables::BatchValue::Hosts(number) => {
                let shown = Spanned::new(written.span(), number);
                let hosts = at_least_one(number);
                self.file.need(&shown, "batch", "1 or more", hosts).map(Batch::Hosts)
            }
            tables::BatchValue::Percent(number) => {
                let shown = Spanned::new(written.span(), format!("{number}%"));
                let part = at_least_one(number).filter(|part| *part <= 100);
                self.file.need(&shown, "batch", "1% to 100%", part).map(Batch::Percent)
            }
        }
    }

    /// The name of the host that is meant: as written, or its address alone.
    fn canary(&self, written: &Spanned<String>, hosts: &[Host]) -> Result<String, ConfigError> {
        let found = hosts.iter().find(|host| is_called(host, written.get_ref()));
        found.map(|host| host.name.clone()).ok_or_else(|| ConfigError::NoSuch {
            place: self.file.place(written),
            whose: format!("`{}`", self.stage),
            what: "host",
            name: written.get_ref().clone(),
            known: hosts.iter().map(|host| host.name.clone()).collect(),
        })
    }

    pub(super) fn upload(&self, layer: &Layer) -> Result<Upload, ConfigError> {
        let upload = layer.upload.clone().unwrap_or_default();
        let must = "bytes a second, such as `20 MiB/s` or `500 kB/s`";
        let limit = upload.limit.as_ref();
        let limit =
            limit.map(|text| self.file.need(text, "limit", must, rules::rate(text.get_ref())));
        let parallel = upload.parallel.as_ref();
        let parallel =
            parallel.map(|written| self.count("parallel", None, Some(written), 1)).transpose()?;
        Ok(Upload { link: upload.link.unwrap_or(true), limit: limit.transpose()?, parallel })
    }

    pub(super) fn ssh(&self, layer: &Layer) -> Result<SshSettings, ConfigError> {
        let ssh = layer.ssh.clone().unwrap_or_default();
        let user = ssh.user.as_ref().map(|user| self.user(user)).transpose()?;
        let connect_timeout = ssh
            .connect_timeout
            .as_ref()
            .map(|written| self.span("connect_timeout", Some(written), Duration::ZERO, TENTH));
        let path = |key, written: Option<&Spanned<String>>| {
            written.map(|path| self.local_path(key, path)).transpose()
        };
        Ok(SshSettings {
            config: path("config", ssh.config.as_ref())?,
            user,
            identity_file: path("identity_file", ssh.identity_file.as_ref())?,
            known_hosts: path("known_hosts", ssh.known_hosts.as_ref())?,
            connect_timeout: connect_timeout.transpose()?,
            host_keys: ssh.host_keys,
        })
    }

    pub(super) fn user(&self, user: &Spanned<String>) -> Result<String, ConfigError> {
        let holds = rules::is_account(user.get_ref());
        self.file.rule(user, "user", "the name of a user", holds)?;
        Ok(user.get_ref().clone())
    }

    /// Relative to the file. `~/…` stays: only the command line knows whose home that is.
    fn local_path(
        &self,
        key: &'static str,
        path: &Spanned<String>,
    ) -> Result<PathBuf, ConfigError> {
        let text = path.get_ref();
        let in_home = text.starts_with("~/");
        let fits = !text.is_empty() && (in_home || !text.starts_with('~'));
        self.file.rule(
            path,
            key,
            "a path; of homes, only your own can be named, as `~/…`",
            fits,
        )?;
        Ok(if in_home { PathBuf::from(text) } else { self.file.base.join(text) })
    }

    pub(super) fn hooks(&self, layer: &Layer) -> Result<Hooks, ConfigError> {
        let hooks = layer.hooks.clone().unwrap_or_default();
        let here = hooks.local.unwrap_or_default();
        let shell = match &hooks.shell {
            None => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            Some(words) => {
                let list = &words.get_ref().0;
                let fits = list.first().is_some_and(|word| !word.is_empty());
                let fits = fits && !list.iter().any(|word| word.contains(char::is_control));
                let shown = Spanned::new(words.span(), list.join(" "));
                self.file.rule(&shown, "shell", "a shell with its flags", fits)?;
                list.clone()
            }
        };
        let limit = self.whole("timeout", hooks.timeout.as_ref(), Duration::from_mins(10))?;
        let local =
            |key, hooks: Option<Vec<_>>| self.local_hooks(key, &hooks.unwrap_or_default(), limit);
        let on_hosts =
            |key, hooks: Option<Vec<_>>| self.host_hooks(key, &hooks.unwrap_or_default(), limit);
        Ok(Hooks {
            before: local("before", here.before)?,
            after: local("after", here.after)?,
            failed: local("failed", here.failed)?,
            staged: on_hosts("staged", hooks.staged)?,
            before_switch: on_hosts("before_switch", hooks.before_switch)?,
            switched: on_hosts("switched", hooks.switched)?,
            activated: on_hosts("activated", hooks.activated)?,
            committed: on_hosts("committed", hooks.committed)?,
            reverted: on_hosts("reverted", hooks.reverted)?,
            shell,
            limit,
        })
    }

    fn local_hooks(
        &self,
        key: &'static str,
        hooks: &[Spanned<TextOr<LocalHookTable>>],
        limit: Duration,
    ) -> Result<Vec<Hook>, ConfigError> {
        let one = |hook: &Spanned<TextOr<LocalHookTable>>| {
            let (TextOr::Text(run) | TextOr::Table(LocalHookTable { run })) = hook.get_ref();
            let run = self.command(key, &Spanned::new(hook.span(), run.clone()))?;
            Ok(Hook { run, once: false, roles: Vec::new(), limit })
        };
        hooks.iter().map(one).collect()
    }

    fn host_hooks(
        &self,
        key: &'static str,
        hooks: &[Spanned<TextOr<HookTable>>],
        limit: Duration,
    ) -> Result<Vec<Hook>, ConfigError> {
        let one = |hook: &Spanned<TextOr<HookTable>>| {
            let command = |run: &String| self.command(key, &Spanned::new(hook.span(), run.clone()));
            match hook.get_ref() {
                TextOr::Text(run) => {
                    Ok(Hook { run: command(run)?, once: false, roles: Vec::new(), limit })
                }
                TextOr::Table(HookTable { run, once, roles, timeout }) => Ok(Hook {
                    run: command(run)?,
                    once: *once,
                    roles: self.known_roles(roles)?,
                    limit: self.whole("timeout", timeout.as_ref(), limit)?,
                }),
            }
        };
        hooks.iter().map(one).collect()
    }

    /// The roles of a hook, each of which some host of some stage must have.
    pub(super) fn known_roles(
        &self,
        roles: &[Spanned<String>],
    ) -> Result<Vec<String>, ConfigError> {
        let known = self.file.all_roles();
        let one = |role: &Spanned<String>| {
            let name = role.get_ref().clone();
            if known.contains(name.as_str()) {
                return Ok(name);
            }
            Err(ConfigError::NoSuch {
                place: self.file.place(role),
                whose: "any stage".to_owned(),
                what: "role",
                name,
                known: known.iter().map(|role| (*role).to_owned()).collect(),
            })
        };
        roles.iter().map(one).collect()
    }
}

/// A length of time as it may be shown.
fn shown(length: &Spanned<Length>) -> Spanned<String> {
    let Length(time) = length.get_ref();
    let text = if time.is_zero() { "0s".to_owned() } else { format!("{time:?}") };
    Spanned::new(length.span(), text)
}
