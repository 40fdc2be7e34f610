//! Credentials for S3, from where the programs of AWS look for them: variables, the files in
//! `~/.aws`, and what the machine or the container says of itself.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use crate::artifact::faults::CredentialFault;
use crate::config::access::FetchEnv;

/// The address at which a virtual machine hears about itself, and a container.
const OF_MACHINE: &str = "http://169.254.169.254";
const OF_CONTAINER: &str = "http://169.254.170.2";
/// The answer comes from the next machine, or there is none.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: u64 = 64 * 1024;
/// Keys of a profile by which programs of AWS get credentials in other ways.
const ELSEWHERE: [&str; 6] = [
    "sso_session",
    "sso_start_url",
    "role_arn",
    "credential_process",
    "login_session",
    "web_identity_token_file",
];

/// The account that asks, as metadata gives it. The secret and the token are never shown.
#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(rename = "AccessKeyId")]
    pub(super) id: String,
    #[serde(rename = "SecretAccessKey")]
    pub(super) secret: String,
    /// With it they end after a while.
    #[serde(rename = "Token")]
    pub(super) token: Option<String>,
}

/// One profile of `~/.aws/credentials` and `~/.aws/config`, where the first wins.
pub(super) struct Profile {
    name: String,
    /// Whether deploy.toml or a variable names it.
    named: bool,
    /// Whether deploy.toml names it: then it comes before variables.
    ours: bool,
    values: Vec<(String, String)>,
}

impl Profile {
    /// Reads the profile that deploy.toml or a variable names, else `default`.
    pub(super) fn read(ours: Option<&str>, machine: &FetchEnv) -> Result<Self, CredentialFault> {
        let given = ours.or_else(|| machine.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]));
        let name = given.unwrap_or("default").to_owned();
        let path = |variable, usual| {
            let named = machine.first(&[variable]).map(PathBuf::from);
            named.unwrap_or_else(|| machine.home.join(usual))
        };
        let credentials = path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        let config = path("AWS_CONFIG_FILE", ".aws/config");
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let mut values = section(&read(&credentials), &name).unwrap_or_default();
        let mut found = !values.is_empty();
        for header in [format!("profile {name}"), name.clone()] {
            let more = section(&read(&config), &header);
            found |= more.is_some();
            values.extend(more.unwrap_or_default());
        }
        if given.is_some() && !found {
            let (config, credentials) =
                (config.display().to_string(), credentials.display().to_string());
            return Err(CredentialFault::NoProfile { profile: name, config, credentials });
        }
        Ok(Self { name, named: given.is_some(), ours: ours.is_some(), values })
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        let value = self.values.iter().find(|(name, _)| name == key);
        value.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn credentials(&self) -> Result<Option<Credentials>, CredentialFault> {
        let pair = (self.value("aws_access_key_id"), self.value("aws_secret_access_key"));
        if let (Some(id), Some(secret)) = pair {
            let token = self.value("aws_session_token").map(str::to_owned);
            return Ok(Some(Credentials { id: id.to_owned(), secret: secret.to_owned(), token }));
        }
        match ELSEWHERE.into_iter().find(|key| self.value(key).is_some()) {
            Some(key) => {
                let (profile, key) = (self.name.clone(), key.to_owned());
                Err(CredentialFault::Elsewhere { profile, key })
            }
            None => Ok(None),
        }
    }
}

/// Returns the keys of one section of an INI file, in lower case.
fn section(text: &str, name: &str) -> Option<Vec<(String, String)>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        let plain = line.trim();
        if let Some(header) = plain.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            inside = header.split_whitespace().eq(name.split_whitespace());
            if inside {
                found.get_or_insert_with(Vec::new);
            }
            continue;
        }
        // An indented line belongs to the key before it.
        let skipped =
            plain.is_empty() || plain.starts_with(['#', ';']) || line.starts_with([' ', '\t']);
        if let Some((key, value)) = plain.split_once('=').filter(|_| inside && !skipped)
            && let Some(values) = &mut found
        {
            values.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

/// Finds credentials, in the order in which the programs of AWS look for them.
pub(super) fn credentials(
    profile: &Profile,
    machine: &FetchEnv,
) -> Result<Credentials, CredentialFault> {
    if !profile.ours
        && let Some(found) = of_variables(machine)?
    {
        return Ok(found);
    }
    if let Some(found) = profile.credentials()? {
        return Ok(found);
    }
    if machine.first(&["AWS_WEB_IDENTITY_TOKEN_FILE"]).is_some() {
        return Err(CredentialFault::WebIdentity);
    }
    if let Some(found) = of_container(machine)? {
        return Ok(found);
    }
    let of_machine = match machine.first(&["AWS_EC2_METADATA_DISABLED"]) {
        Some(text) if text.eq_ignore_ascii_case("true") => Err("it is not asked".to_owned()),
        _ => of_machine(machine),
    };
    of_machine.map_err(|reason| {
        let name = &profile.name;
        let profile = if profile.named { format!("the profile `{name}`") } else { "~/.aws".into() };
        let looked = format!(
            "`AWS_ACCESS_KEY_ID` is not set, {profile} has none, and the machine has no role \
             ({reason})"
        );
        CredentialFault::None { looked }
    })
}

fn of_variables(machine: &FetchEnv) -> Result<Option<Credentials>, CredentialFault> {
    const NAMES: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let half = |set: usize, unset: usize| CredentialFault::Half {
        set: NAMES[set].to_owned(),
        unset: NAMES[unset].to_owned(),
    };
    match NAMES.map(|name| machine.first(&[name])) {
        [None, None] => Ok(None),
        [Some(_), None] => Err(half(0, 1)),
        [None, Some(_)] => Err(half(1, 0)),
        [Some(id), Some(secret)] => Ok(Some(Credentials {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: machine.first(&["AWS_SESSION_TOKEN"]).map(str::to_owned),
        })),
    }
}

/// Returns the credentials of a container of ECS or EKS; none outside of one.
fn of_container(machine: &FetchEnv) -> Result<Option<Credentials>, CredentialFault> {
    let relative = machine.first(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]);
    let full = machine.first(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"]);
    let address = match (relative, full) {
        (Some(path), _) => format!("{OF_CONTAINER}{path}"),
        (None, Some(address)) => address.to_owned(),
        (None, None) => return Ok(None),
    };
    let wrong = |reason| CredentialFault::Metadata { address: address.clone(), reason };
    let token = match machine.first(&["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| wrong(format!("{path}: {error}")))?.trim().to_owned())
        }
        None => machine.first(&["AWS_CONTAINER_AUTHORIZATION_TOKEN"]).map(str::to_owned),
    };
    let token = token.map(|token| ("authorization", token));
    get(&address, token).and_then(|text| read(&text)).map(Some).map_err(wrong)
}

/// Returns the credentials of the role of this virtual machine, or why there are none.
fn of_machine(machine: &FetchEnv) -> Result<Credentials, String> {
    let base = machine.first(&["AWS_EC2_METADATA_SERVICE_ENDPOINT"]).unwrap_or(OF_MACHINE);
    let base = base.trim_end_matches('/');
    let put = agent().put(format!("{base}/latest/api/token"));
    let put = put.header("x-aws-ec2-metadata-token-ttl-seconds", "300").send_empty();
    let token = said(base, put)?;
    let token = || Some(("x-aws-ec2-metadata-token", token.clone()));
    let roles = format!("{base}/latest/meta-data/iam/security-credentials/");
    let role = get(&roles, token())?;
    let role = role.lines().next().unwrap_or_default().trim();
    read(&get(&format!("{roles}{role}"), token())?)
}

fn read(text: &str) -> Result<Credentials, String> {
    serde_json::from_str(text).map_err(|_| "it holds no credentials".to_owned())
}

fn get(address: &str, header: Option<(&str, String)>) -> Result<String, String> {
    let mut request = agent().get(address);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    said(address, request.call())
}

fn said(
    address: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String, String> {
    let response = response.map_err(|error| format!("{address}: {error}"))?;
    if response.status() != 200 {
        return Err(format!("{address}: HTTP {}", response.status().as_u16()));
    }
    let mut text = String::new();
    let read = response.into_body().into_reader().take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| format!("{address}: {error}"))?;
    Ok(text)
}

/// Returns a client for what is next to this machine: no proxy leads there.
fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build();
    Agent::new_with_config(config)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn machine(home: &std::path::Path, vars: &[(&str, &str)]) -> FetchEnv {
        let quiet = [("AWS_EC2_METADATA_DISABLED", "true")];
        let env = vars.iter().chain(&quiet).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        FetchEnv { env: env.collect(), home: home.to_owned(), now: chrono::DateTime::UNIX_EPOCH }
    }

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".aws")).unwrap();
        let credentials = "[default]\naws_access_key_id = D\naws_secret_access_key = d\n\
             # x\n[ci]\nAWS_ACCESS_KEY_ID=C\naws_secret_access_key= c = \naws_session_token=t\n";
        std::fs::write(dir.path().join(".aws/credentials"), credentials).unwrap();
        let config = "[default]\nregion = eu-west-1\ns3 =\n  region = no\n\
             [profile ci]\nregion=eu-north-1\n[profile  people]\nsso_session = x\n[sso-session x]\n";
        std::fs::write(dir.path().join(".aws/config"), config).unwrap();
        dir
    }

    fn found(ours: Option<&str>, vars: &[(&str, &str)]) -> String {
        let home = home();
        let machine = machine(home.path(), vars);
        let profile = Profile::read(ours, &machine);
        let found = profile.and_then(|it| Ok((credentials(&it, &machine)?, it)));
        match found {
            Ok((Credentials { id, secret, token }, profile)) => {
                let region = profile.value("region").unwrap_or("none");
                format!("{id} {secret} {} {region}", token.unwrap_or_default())
            }
            Err(fault) => fault.to_string().replace(home.path().to_str().unwrap(), "~"),
        }
    }

    const SET: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "V"), ("AWS_SECRET_ACCESS_KEY", "v")];

    #[test]
    fn credentials_come_from_variables_then_from_the_profile() {
        assert_eq!(found(None, &SET), "V v  eu-west-1");
        assert_eq!(found(None, &[]), "D d  eu-west-1");
        assert_eq!(found(None, &[("AWS_PROFILE", "ci")]), "C c = t eu-north-1");
        assert_eq!(found(Some("ci"), &SET), "C c = t eu-north-1", "the config names the profile");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            found(None, &SET[..1]),
            "`AWS_ACCESS_KEY_ID` is set and `AWS_SECRET_ACCESS_KEY` is not"
        );
        assert_eq!(
            found(Some("gone"), &[]),
            "neither ~/.aws/config nor ~/.aws/credentials has the profile `gone`"
        );
        assert_eq!(
            found(Some("people"), &[]),
            "the profile `people` has its credentials by `sso_session`, which shipit does not follow"
        );
        let nowhere = [("AWS_SHARED_CREDENTIALS_FILE", "/x"), ("AWS_CONFIG_FILE", "/x")];
        assert_eq!(
            found(None, &nowhere),
            "no credentials were found: `AWS_ACCESS_KEY_ID` is not set, ~/.aws has none, and the \
             machine has no role (it is not asked)"
        );
    }
}
