//! Health checks, in their short and in their full form.

use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use super::runs::TENTH;
use crate::config::checks::{self, Check, CheckTiming, Header, HealthProbe, HttpCheck, Trust};
use crate::config::error::{ConfigError, similar};
use crate::config::placeholders::{PLACEHOLDERS, unknown_words};
use crate::config::tables::{self, Length, TextOr};
use crate::config::{EnvSource, Health, rules};
use crate::model::service::Service;

/// The defaults.
const USUAL: CheckTiming = CheckTiming {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(5),
    total: Duration::from_secs(30),
    successes: 1,
};

const HTTP: &str = "an address such as `http://127.0.0.1:8080/up`";

impl Resolver<'_> {
    pub(super) fn health(&self, services: &[Service]) -> Result<Health, ConfigError> {
        let health = &self.layer.health;
        let has_unit = services.iter().any(|service| service.unit().is_some());
        let usual = if has_unit { USUAL.interval * 2 } else { Duration::ZERO };
        let soak = self.span("soak", health.soak.as_ref(), usual, Duration::ZERO)?;
        let written = [&health.interval, &health.timeout, &health.total];
        let pace = self.pace(written, health.successes.as_ref(), USUAL)?;
        let mut checks = Vec::new();
        let short = [&health.http, &health.tcp, &health.command];
        for probe in self.probes(short, &tables::Check::default())? {
            checks.push(Check { probe, pace, roles: Vec::new() });
        }
        for check in &health.checks {
            checks.push(self.check(check, pace)?);
        }
        if checks.is_empty() {
            self.without("interval", health.interval.as_ref(), "http")?;
            self.without("timeout", health.timeout.as_ref(), "http")?;
            self.without("total", health.total.as_ref(), "http")?;
            self.without("successes", health.successes.as_ref(), "http")?;
        }
        Ok(Health { soak, checks })
    }

    fn pace(
        &self,
        [interval, timeout, total]: [&Option<Spanned<Length>>; 3],
        successes: Option<&Spanned<i64>>,
        usual: CheckTiming,
    ) -> Result<CheckTiming, ConfigError> {
        let successes = successes.map_or(Ok(usual.successes), |number| {
            let count = u32::try_from(*number.get_ref()).ok().filter(|count| *count >= 1);
            self.need(number, "successes", "1 or more", count)
        })?;
        Ok(CheckTiming {
            interval: self.span("interval", interval.as_ref(), usual.interval, TENTH)?,
            timeout: self.span("timeout", timeout.as_ref(), usual.timeout, TENTH)?,
            total: self.span("total", total.as_ref(), usual.total, TENTH)?,
            successes,
        })
    }

    /// Returns the probes of the keys `http`, `tcp` and `command`. `check` says more of the first.
    fn probes(
        &self,
        [http, tcp, command]: [&Option<Spanned<String>>; 3],
        check: &tables::Check,
    ) -> Result<Vec<HealthProbe>, ConfigError> {
        let http = http.as_ref().map(|url| self.http(url, check));
        let tcp = tcp.as_ref().map(|address| self.tcp(address));
        let command = command.as_ref().map(|text| self.command("command", text));
        let command = command.map(|text| text.map(HealthProbe::Command));
        [http, tcp, command].into_iter().flatten().collect()
    }

    fn check(
        &self,
        written: &Spanned<tables::Check>,
        pace: CheckTiming,
    ) -> Result<Check, ConfigError> {
        let check = written.get_ref();
        let tables::Check { http, tcp, command, .. } = check;
        self.only_one([("http", http), ("tcp", tcp), ("command", command)])?;
        if tcp.is_some() || command.is_some() {
            self.without_http(check)?;
        }
        let probe = self.probes([http, tcp, command], check)?.pop().ok_or_else(|| {
            let table = "(or `tcp`, or `command`) in a health check";
            ConfigError::missing(self.place(written), "http", table)
        })?;
        let written = [&check.interval, &check.timeout, &check.total];
        let pace = self.pace(written, check.successes.as_ref(), pace)?;
        Ok(Check { probe, pace, roles: self.known_roles(&check.roles)? })
    }

    /// Refuses what only HTTP has.
    fn without_http(&self, check: &tables::Check) -> Result<(), ConfigError> {
        self.without("status", check.status.as_ref(), "http")?;
        self.without("body", check.body.as_ref(), "http")?;
        self.without("host", check.host.as_ref(), "http")?;
        self.without("ca", check.ca.as_ref(), "http")?;
        self.without("insecure", check.insecure.as_ref(), "http")?;
        let header = check.headers.keys().next();
        self.without("headers", header, "http")
    }

    fn tcp(&self, written: &Spanned<String>) -> Result<HealthProbe, ConfigError> {
        let must = "a host and a port such as `127.0.0.1:5432`";
        let (host, port) = self.need(written, "tcp", must, rules::tcp(written.get_ref()))?;
        Ok(HealthProbe::Tcp { host, port })
    }

    fn http(
        &self,
        url: &Spanned<String>,
        check: &tables::Check,
    ) -> Result<HealthProbe, ConfigError> {
        self.no_placeholder("http", url, unknown_words(url.get_ref()).next())?;
        if let Some(text) = &check.body {
            self.likely_placeholders("body", text, text.get_ref())?;
        }
        let rules::Url { tls, host, port, path } =
            self.need(url, "http", HTTP, rules::http(url.get_ref()))?;
        let name = check.host.as_ref().map(|name| {
            let made = rules::is_server_name(name.get_ref()).then(|| name.get_ref().clone());
            self.need(name, "host", "the name of a host, without a port", made)
        });
        let name = name.transpose()?;
        let trust = self.trust(check, tls)?;
        let shown = name.as_ref().unwrap_or(&host);
        if trust.is_some() && !rules::is_server_name(shown) {
            let shown = Spanned::new(url.span(), shown.clone());
            self.rule(&shown, "host", "a name that a certificate can have", false)?;
        }
        let headers = check.headers.iter().map(|(name, value)| self.header(name, value));
        Ok(HealthProbe::Http(Box::new(HttpCheck {
            url: url.get_ref().clone(),
            trust,
            host,
            port,
            path,
            name,
            status: check.status.as_ref().map(|it| it.get_ref().clone()).unwrap_or_default(),
            body: check.body.as_ref().map(|text| text.get_ref().clone()),
            headers: headers.collect::<Result<_, _>>()?,
        })))
    }

    fn trust(&self, check: &tables::Check, tls: bool) -> Result<Option<Trust>, ConfigError> {
        if !tls {
            self.without("ca", check.ca.as_ref(), "https://")?;
            self.without("insecure", check.insecure.as_ref(), "https://")?;
            return Ok(None);
        }
        let anybody = check.insecure.as_ref().is_some_and(|insecure| *insecure.get_ref());
        Ok(Some(match &check.ca {
            Some(path) if anybody => {
                let place = self.place(path);
                return Err(ConfigError::Both { place, one: "ca", other: "insecure" });
            }
            Some(path) => {
                let path = self.text(path, "ca", "a path", |path| !path.is_empty())?;
                Trust::Only { path: self.file.base.join(path), pem: String::new() }
            }
            None if anybody => Trust::Anybody,
            None => Trust::Public,
        }))
    }

    fn header(
        &self,
        name: &Spanned<String>,
        value: &Spanned<TextOr<tables::SourceTable>>,
    ) -> Result<Header, ConfigError> {
        if let TextOr::Text(text) = value.get_ref() {
            self.likely_placeholders("headers", value, text)?;
        }
        self.plain_header(name, value)
    }

    /// Returns a header, whose text is no template.
    pub(super) fn plain_header(
        &self,
        name: &Spanned<String>,
        value: &Spanned<TextOr<tables::SourceTable>>,
    ) -> Result<Header, ConfigError> {
        let must =
            "a name of HTTP headers, other than `Host` (use `host`) and those that frame a request";
        let name = self.text(name, "headers", must, rules::is_header)?;
        let source = match value.get_ref() {
            TextOr::Text(text) => {
                let shown = Spanned::new(value.span(), text);
                let must = "text in one line";
                self.rule(&shown, "headers", must, checks::is_sendable(text))?;
                EnvSource::Text(text.clone())
            }
            TextOr::Table(table) => self.source(value, table.keys())?,
        };
        let written = matches!(source, EnvSource::Text(_));
        Ok(Header { name, value: source, written })
    }

    /// Fails if a text holds a word in braces that is no placeholder, and was hardly meant: other
    /// braces are text.
    pub(super) fn likely_placeholders<T>(
        &self,
        key: &'static str,
        written: &Spanned<T>,
        text: &str,
    ) -> Result<(), ConfigError> {
        let is_slip = |word: &&str| similar(word, PLACEHOLDERS).is_some();
        self.no_placeholder(key, written, unknown_words(text).find(is_slip))
    }

    /// Fails if there is a word that is no placeholder.
    fn no_placeholder<T>(
        &self,
        key: &'static str,
        written: &Spanned<T>,
        word: Option<&str>,
    ) -> Result<(), ConfigError> {
        let Some(word) = word.map(str::to_owned) else { return Ok(()) };
        Err(ConfigError::NoPlaceholder { place: self.place(written), key, word })
    }
}
