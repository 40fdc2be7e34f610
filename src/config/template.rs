//! The `deploy.toml` that `shipit init` writes: what most projects need, the rest as comments.

/// The facts that `shipit init` guessed about a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    pub app: String,
    /// The build: a directory, an archive or a file.
    pub artifact: String,
    /// The systemd unit that runs it; `None`: nothing is restarted.
    pub unit: Option<String>,
}

/// Returns the text of a first `deploy.toml`.
pub fn text(guess: &Guess) -> String {
    let unit = match &guess.unit {
        Some(unit) => format!("unit = {}", quoted(unit)),
        None => format!("# unit = {}", quoted(&format!("{}.service", guess.app))),
    };
    TEMPLATE
        .replace("{app}", &quoted(&guess.app))
        .replace("{root}", &quoted(&format!("/srv/{}", guess.app)))
        .replace("{artifact}", &quoted(&guess.artifact))
        .replace("{unit}", &unit)
        .lines()
        .map(aligned)
        .collect()
}

/// Returns a line of the template with its comment moved to the common column.
fn aligned(line: &str) -> String {
    const COLUMN: usize = 38;
    match line.split_once(MARK) {
        Some((code, comment)) => format!("{:COLUMN$}# {comment}\n", code.trim_end()),
        None => format!("{line}\n"),
    }
}

/// Before a comment that is moved to its column.
const MARK: &str = " #| ";

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const TEMPLATE: &str = r#"#:schema ./deploy.schema.json
# For editors, which complete keys by it: `shipit schema > deploy.schema.json`.

# What shipit puts where. docs/configuration.md explains every key;
# `shipit check` shows whether a deploy would work, without changing anything.

app = {app}
deploy_to = {root} #| made by you, owned by the user who deploys
keep_releases = 5

# Directories and files that outlive releases; they live in deploy_to/shared.
linked_dirs = [] #| ["log", "uploads"]
linked_files = [] #| ["config/master.key"]

[artifact]
path = {artifact} #| a directory, an archive or a single file
# exclude = ["*.map"]

# Becomes .env of each release: EnvironmentFile=<deploy_to>/current/.env in the unit.
[env]
# vars.RUST_LOG = "info"                                       # as it stands here
# vars.DATABASE_URL = { env = "PROD_DATABASE_URL" }            # from this machine's environment
# vars.SECRET_KEY = { command = "op read op://prod/key" }      # from a command
# vars.TLS_KEY = { file = "secrets/tls.key" }                  # from a file beside this one

[service]
{unit} #| restarted by `sudo -n systemctl restart`
# scope = "user" #| `systemctl --user` instead
# restart = "bin/restart" #| any command, where there is no systemd unit

[health]
# http = "http://127.0.0.1:8080/up" #| as seen from the host; a release that fails is reverted

[hooks]
# local.before = ["./ci/build"]                                # here, first: may build the artifact
# staged = [{ run = "./bin/migrate", once = true }]            # on a host, before the flip

[stages.production]
hosts = ["deploy@server.example.com"] #| as you would write them after `ssh`
# confirm = true #| ask before changing anything

# [stages.staging]
# hosts = ["deploy@staging.example.com"]
"#;
