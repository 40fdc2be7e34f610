//! Errors of commands before their run begins.

use std::io;
use std::path::PathBuf;

use crate::artifact::ArtifactError;
use crate::config::env::EnvError;
use crate::config::error::ConfigError;
use crate::config::gather::GatherError;
use crate::model::digest::Digest;
use crate::report::error::Hinted;
use crate::report::human::list;

/// An error of a command before its run. Nothing was changed on any host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Checks(#[from] GatherError),
    #[error(transparent)]
    Given(#[from] crate::ssh::given::GivenError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("stopped on request")]
    Stopped,
    #[error("stopped on request")]
    CommandStopped,
    #[error("there is no {what} `{name}`")]
    NoSuch { what: &'static str, name: String, known: Vec<String> },
    #[error("{stage} has no service, and so no logs")]
    NoLogs { stage: String },
    #[error("{stage} has no maintenance file")]
    NoMaintenance { stage: String },
    #[error("{path} could not be read")]
    Template { path: PathBuf, source: io::Error },
    #[error("`ssh` could not start")]
    NoProgram { source: io::Error },
    #[error("there is no artifact to deploy")]
    NoArtifact,
    #[error("the artifact {name} has the digest sha256:{found}")]
    OtherDigest { name: String, found: Digest, expected: Digest },
    /// A word in the path of the artifact that stands for nothing here.
    #[error("the path of the artifact holds `{{{word}}}`, and no {word} is known")]
    Open { word: &'static str },
    #[error("{stage} cannot be promoted to itself")]
    SameStage { stage: String },
    #[error("the stages belong to different apps: `{from}` and `{to}`")]
    OtherApp { from: String, to: String },
    #[error("the program could not start")]
    Start { source: io::Error },
    #[error("{who} requires confirmation, but there is no terminal")]
    Unconfirmed { who: String },
    #[error("`{value}` is not valid for {flag}: {expected}")]
    BadFlag { flag: &'static str, value: String, expected: &'static str },
    #[error("{host}: which user deploys?")]
    NoDeployer { host: String },
    #[error("{path} already exists")]
    Exists { path: PathBuf },
    #[error("{path} could not be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("the demo's server could not start")]
    Demo { source: crate::remote::session::SessionError },
}

impl CliError {
    /// Returns the exit code: 2 for usage and config, 130 for a stop, 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped | Self::CommandStopped => 130,
            Self::NoProgram { .. }
            | Self::Start { .. }
            | Self::Write { .. }
            | Self::Demo { .. } => 1,
            _ => 2,
        }
    }
}

impl Hinted for CliError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Env(error) => error.hint(),
            Self::Checks(error) => error.hint(),
            Self::Given(error) => Some(error.hint()),
            Self::Artifact(error) => error.hint(),
            Self::Open { word: "branch" } => Some(
                "check one out; in CI, GITHUB_REF_NAME or CI_COMMIT_REF_NAME names it".to_owned(),
            ),
            Self::Open { .. } => Some(
                "deploy from the work tree; in CI, GITHUB_SHA or CI_COMMIT_SHA names it".to_owned(),
            ),
            Self::NoArtifact => Some("`--artifact PATH`, or `path` in [artifact]".to_owned()),
            Self::OtherDigest { expected, .. } => {
                Some(format!("`--expect-digest` names sha256:{expected}: deploy that artifact"))
            }
            Self::NoSuch { known, .. } if known.is_empty() => None,
            Self::NoSuch { known, .. } => Some(format!("there is {}", list(known))),
            Self::NoLogs { .. } => Some("name one in [service] or [services]".to_owned()),
            Self::NoMaintenance { .. } => Some("name it as `file` in [maintenance]".to_owned()),
            Self::NoProgram { .. } => Some("install the OpenSSH client".to_owned()),
            Self::SameStage { stage } => {
                Some(format!("`shipit deploy {stage} --env-only` changes only the config"))
            }
            Self::Unconfirmed { .. } => Some("pass `--yes`".to_owned()),
            Self::NoDeployer { host } => {
                Some(format!("write `deploy@{host}` in `hosts`, or `user` in [ssh]"))
            }
            Self::Exists { path } => {
                Some(format!("keep {}, or name another file with `-c`", path.display()))
            }
            _ => None,
        }
    }

    fn state(&self) -> Option<String> {
        match self {
            Self::Env(_)
            | Self::Checks(_)
            | Self::Given(_)
            | Self::NoArtifact
            | Self::SameStage { .. }
            | Self::OtherApp { .. }
            | Self::Open { .. } => Some("no host was contacted; nothing was changed".to_owned()),
            Self::CommandStopped => Some("hosts on which the command still ran end it".to_owned()),
            // While the artifact was read, hosts were connected to, and perhaps a conversation was
            // opened.
            Self::Artifact(_)
            | Self::OtherDigest { .. }
            | Self::Stopped
            | Self::Unconfirmed { .. } => Some("nothing was changed".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    //! The texts of the errors that only the command line has.

    use insta::assert_snapshot;

    use super::*;
    use crate::remote::session::SessionError;
    use crate::report::error::text;
    use crate::report::styles::Styles;

    /// Returns whether an error belongs to the command line alone. A new variant does not compile
    /// before it is listed here and below.
    fn is_own(error: &CliError) -> bool {
        match error {
            CliError::Config(_)
            | CliError::Env(_)
            | CliError::Checks(_)
            | CliError::Given(_)
            | CliError::Artifact(_) => false,
            CliError::Stopped
            | CliError::CommandStopped
            | CliError::NoSuch { .. }
            | CliError::NoLogs { .. }
            | CliError::NoMaintenance { .. }
            | CliError::Template { .. }
            | CliError::NoProgram { .. }
            | CliError::NoArtifact
            | CliError::OtherDigest { .. }
            | CliError::Open { .. }
            | CliError::SameStage { .. }
            | CliError::OtherApp { .. }
            | CliError::Start { .. }
            | CliError::Unconfirmed { .. }
            | CliError::BadFlag { .. }
            | CliError::NoDeployer { .. }
            | CliError::Exists { .. }
            | CliError::Write { .. }
            | CliError::Demo { .. } => true,
        }
    }

    fn printed(errors: &[CliError]) -> String {
        let own = errors.iter().filter(|error| is_own(error));
        own.map(|error| text(&Styles::plain(), error)).collect()
    }

    #[test]
    fn errors_of_commands_that_look_around_read_well() {
        let denied = || io::Error::other("permission denied");
        let errors = [
            CliError::CommandStopped,
            CliError::NoSuch {
                what: "service",
                name: "wev".to_owned(),
                known: vec!["web".to_owned(), "worker".to_owned()],
            },
            CliError::NoLogs { stage: "production".to_owned() },
            CliError::NoMaintenance { stage: "production".to_owned() },
            CliError::Template { path: PathBuf::from("down.html"), source: denied() },
            CliError::NoProgram { source: denied() },
        ];
        assert_snapshot!(printed(&errors), @"
        error: stopped on request
          state: hosts on which the command still ran end it
        error: there is no service `wev`
          hint:  there is web, worker
        error: production has no service, and so no logs
          hint:  name one in [service] or [services]
        error: production has no maintenance file
          hint:  name it as `file` in [maintenance]
        error: down.html could not be read
          cause: permission denied
        error: `ssh` could not start
          cause: permission denied
          hint:  install the OpenSSH client
        ");
    }

    #[test]
    fn errors_of_the_command_line_read_well() {
        let denied = || io::Error::other("permission denied");
        let path = || PathBuf::from("deploy.toml");
        let errors = [
            CliError::Stopped,
            CliError::NoArtifact,
            CliError::OtherDigest {
                name: "dist".to_owned(),
                found: Digest::of(b"a"),
                expected: Digest::of(b"b"),
            },
            CliError::Open { word: "branch" },
            CliError::Open { word: "revision" },
            CliError::SameStage { stage: "live".to_owned() },
            CliError::OtherApp { from: "shop".to_owned(), to: "todo".to_owned() },
            CliError::Start { source: denied() },
            CliError::Unconfirmed { who: "production".to_owned() },
            CliError::BadFlag { flag: "--to", value: "1".to_owned(), expected: "14 digits" },
            CliError::NoDeployer { host: "web1".to_owned() },
            CliError::Exists { path: path() },
            CliError::Write { path: path(), source: denied() },
            CliError::Demo { source: SessionError::Lost { reason: "reset".to_owned() } },
        ];
        assert_snapshot!(printed(&errors), @"
        error: stopped on request
          state: nothing was changed
        error: there is no artifact to deploy
          state: no host was contacted; nothing was changed
          hint:  `--artifact PATH`, or `path` in [artifact]
        error: the artifact dist has the digest sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb
          state: nothing was changed
          hint:  `--expect-digest` names sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d: deploy that artifact
        error: the path of the artifact holds `{branch}`, and no branch is known
          state: no host was contacted; nothing was changed
          hint:  check one out; in CI, GITHUB_REF_NAME or CI_COMMIT_REF_NAME names it
        error: the path of the artifact holds `{revision}`, and no revision is known
          state: no host was contacted; nothing was changed
          hint:  deploy from the work tree; in CI, GITHUB_SHA or CI_COMMIT_SHA names it
        error: live cannot be promoted to itself
          state: no host was contacted; nothing was changed
          hint:  `shipit deploy live --env-only` changes only the config
        error: the stages belong to different apps: `shop` and `todo`
          state: no host was contacted; nothing was changed
        error: the program could not start
          cause: permission denied
        error: production requires confirmation, but there is no terminal
          state: nothing was changed
          hint:  pass `--yes`
        error: `1` is not valid for --to: 14 digits
        error: web1: which user deploys?
          hint:  write `deploy@web1` in `hosts`, or `user` in [ssh]
        error: deploy.toml already exists
          hint:  keep deploy.toml, or name another file with `-c`
        error: deploy.toml could not be written
          cause: permission denied
        error: the demo's server could not start
          cause: the connection was lost
        ");
    }
}
