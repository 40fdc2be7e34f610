//! Hooks, the rollout, and the limits in time.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use super::hosts::is_called;
use crate::config::error::ConfigError;
use crate::config::tables::{self, HookTable, Length, LocalHookTable, TextOr};
use crate::config::{Batch, Hook, Hooks, Host, Maintenance, Rollout, SshSettings, Upload, rules};

/// No single step may take longer than this.
const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);
pub(super) const TENTH: Duration = Duration::from_millis(100);

impl Resolver<'_> {
    pub(super) fn deadline(&self) -> Result<Duration, ConfigError> {
        let written = self.layer.timeouts.deadline.as_ref();
        let deadline = self.whole("deadline", written, Duration::from_secs(15))?;
        let Some(written) = written else { return Ok(deadline) };
        // The client says `hold` every three seconds; one that is late must not cost the release.
        let must = "5 seconds or more";
        let fits = deadline >= Duration::from_secs(5);
        self.need(&shown(written), "deadline", must, fits.then_some(deadline))
    }

    /// Returns a length of time that `timeout` or `read` on a host can take.
    pub(super) fn whole(
        &self,
        key: &'static str,
        written: Option<&Spanned<Length>>,
        usual: Duration,
    ) -> Result<Duration, ConfigError> {
        let length = self.span(key, written, usual, SECOND)?;
        let Some(written) = written else { return Ok(length) };
        let whole = (length.subsec_nanos() == 0).then_some(length);
        self.need(&shown(written), key, "whole seconds", whole)
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
        self.need(&shown(written), key, must, fits.then_some(length))
    }

    pub(super) fn rollout(&self, hosts: &[Host]) -> Result<Rollout, ConfigError> {
        let rollout = &self.layer.rollout;
        let canary = rollout.canary.iter().map(|name| self.canary(name, hosts));
        let pause = rollout.pause.as_ref();
        let max_failed = rollout.max_failed.as_ref().map(|number| {
            let count = usize::try_from(*number.get_ref()).ok();
            self.need(number, "max_failed", "0 or more", count)
        });
        Ok(Rollout {
            batch: self.batch(rollout.batch.as_ref())?,
            canary: canary.collect::<Result<_, _>>()?,
            pause: self.span("pause", pause, Duration::ZERO, Duration::ZERO)?,
            on_failure: rollout.on_failure,
            on_unreachable: rollout.on_unreachable,
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
                self.need(&shown, "batch", "1 or more", hosts).map(Batch::Hosts)
            }
            tables::BatchValue::Percent(number) => {
                let shown = Spanned::new(written.span(), format!("{number}%"));
                let part = at_least_one(number).filter(|part| *part <= 100);
                self.need(&shown, "batch", "1% to 100%", part).map(Batch::Percent)
            }
        }
    }

    /// Returns the name of the host that is meant: as written, or its address alone.
    fn canary(&self, written: &Spanned<String>, hosts: &[Host]) -> Result<String, ConfigError> {
        let found = hosts.iter().find(|host| is_called(host, written.get_ref()));
        found.map(|host| host.name.clone()).ok_or_else(|| ConfigError::NoSuch {
            place: self.place(written),
            whose: format!("`{}`", self.stage),
            what: "host",
            name: written.get_ref().clone(),
            known: hosts.iter().map(|host| host.name.clone()).collect(),
        })
    }

    pub(super) fn upload(&self) -> Result<Upload, ConfigError> {
        let upload = &self.layer.upload;
        let must = "bytes a second, such as `20 MiB/s` or `500 kB/s`";
        let limit = upload.limit.as_ref();
        let limit = limit.map(|text| self.need(text, "limit", must, rules::rate(text.get_ref())));
        let parallel = upload.parallel.as_ref();
        let parallel =
            parallel.map(|written| self.count("parallel", None, Some(written), 1)).transpose()?;
        Ok(Upload { link: upload.link.unwrap_or(true), limit: limit.transpose()?, parallel })
    }

    pub(super) fn maintenance(&self) -> Result<Option<Maintenance>, ConfigError> {
        let Some(table) = &self.layer.maintenance else { return Ok(None) };
        let missing = || ConfigError::missing(self.nowhere(), "file", "in [maintenance]");
        let file = table.file.as_ref().ok_or_else(missing)?;
        let must = "a path below `shared`, such as `maintenance.html`";
        let file = self.text(file, "file", must, rules::is_clean)?;
        let template = table.template.as_ref().map(|path| self.local_path("template", path));
        Ok(Some(Maintenance { file, template: template.transpose()? }))
    }

    pub(super) fn ssh(&self) -> Result<SshSettings, ConfigError> {
        let ssh = &self.layer.ssh;
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
            transport: ssh.transport,
        })
    }

    pub(super) fn user(&self, user: &Spanned<String>) -> Result<String, ConfigError> {
        self.text(user, "user", "the name of a user", rules::is_account)
    }

    /// Relative to the file. `~/…` stays: only the command line knows whose home that is.
    fn local_path(
        &self,
        key: &'static str,
        path: &Spanned<String>,
    ) -> Result<PathBuf, ConfigError> {
        let must = "a path; of homes, only your own can be named, as `~/…`";
        let in_home = path.get_ref().starts_with("~/");
        let fits = |path: &str| !path.is_empty() && (in_home || !path.starts_with('~'));
        let text = self.text(path, key, must, fits)?;
        Ok(if in_home { PathBuf::from(text) } else { self.file.base.join(text) })
    }

    pub(super) fn hooks(&self) -> Result<Hooks, ConfigError> {
        let hooks = &self.layer.hooks;
        let here = &hooks.local;
        let shell = match &hooks.shell {
            None => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            Some(words) => {
                let list = &words.get_ref().0;
                let fits = list.first().is_some_and(|word| !word.is_empty());
                let fits = fits && !list.iter().any(|word| word.contains(char::is_control));
                let shown = Spanned::new(words.span(), list.join(" "));
                self.rule(&shown, "shell", "a shell with its flags", fits)?;
                list.clone()
            }
        };
        let limit = self.whole("timeout", hooks.timeout.as_ref(), Duration::from_mins(10))?;
        let local = |key, hooks: &[Spanned<TextOr<LocalHookTable>>]| {
            self.hooks_of(key, hooks, limit, |LocalHookTable { run }| HookTable {
                run: run.clone(),
                ..HookTable::default()
            })
        };
        let on_hosts = |key, hooks: &[_]| self.hooks_of(key, hooks, limit, HookTable::clone);
        Ok(Hooks {
            before: local("before", &here.before)?,
            local_staged: local("staged", &here.staged)?,
            after: local("after", &here.after)?,
            failed: local("failed", &here.failed)?,
            staged: on_hosts("staged", &hooks.staged)?,
            before_switch: on_hosts("before_switch", &hooks.before_switch)?,
            switched: on_hosts("switched", &hooks.switched)?,
            activated: on_hosts("activated", &hooks.activated)?,
            committed: on_hosts("committed", &hooks.committed)?,
            reverted: on_hosts("reverted", &hooks.reverted)?,
            shell,
            limit,
        })
    }

    /// Returns the hooks of one place, each as what its table means.
    fn hooks_of<T>(
        &self,
        key: &'static str,
        hooks: &[Spanned<TextOr<T>>],
        limit: Duration,
        table: fn(&T) -> HookTable,
    ) -> Result<Vec<Hook>, ConfigError> {
        let one = |hook: &Spanned<TextOr<T>>| {
            let HookTable { run, once, roles, timeout } = match hook.get_ref() {
                TextOr::Text(run) => HookTable { run: run.clone(), ..HookTable::default() },
                TextOr::Table(written) => table(written),
            };
            Ok(Hook {
                run: self.command(key, &Spanned::new(hook.span(), run))?,
                once,
                roles: self.known_roles(&roles)?,
                limit: self.whole("timeout", timeout.as_ref(), limit)?,
            })
        };
        hooks.iter().map(one).collect()
    }

    /// Returns the roles of a hook. Fails if no host of any stage has one of them, as far as
    /// deploy.toml lists the hosts.
    pub(super) fn known_roles(
        &self,
        roles: &[Spanned<String>],
    ) -> Result<Vec<String>, ConfigError> {
        let (known, complete) = (self.file.all_roles(), self.file.lists_all_hosts());
        let one = |role: &Spanned<String>| {
            let name = role.get_ref().clone();
            if known.contains(name.as_str()) || (!complete && rules::is_name(&name)) {
                return Ok(name);
            }
            Err(ConfigError::NoSuch {
                place: self.place(role),
                whose: "any stage".to_owned(),
                what: "role",
                name,
                known: known.iter().map(|role| (*role).to_owned()).collect(),
            })
        };
        roles.iter().map(one).collect()
    }
}

/// Returns a length of time as it may be shown.
fn shown(length: &Spanned<Length>) -> Spanned<String> {
    let Length(time) = length.get_ref();
    let text = if time.is_zero() { "0s".to_owned() } else { format!("{time:?}") };
    Spanned::new(length.span(), text)
}
