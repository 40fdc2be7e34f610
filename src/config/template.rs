//! The `deploy.toml` that `shipit init` writes.

/// What could be guessed of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The app's name.
    pub app: String,
    /// Where its build lies.
    pub artifact: String,
}

/// A commented config that loads as it is.
pub fn template(guess: &Guess) -> String {
    let Guess { app, artifact } = guess;
    format!(
        r#"# How {app} is deployed. `shipit check production` says what is missing,
# `shipit deploy production` does it. deploy.example.toml of shipit shows every key.
app = "{app}"
deploy_to = "/srv/{app}"          # on each host: releases/, current, shared/
keep_releases = 5
# linked_dirs = ["log", "uploads"]          # outlive releases, in shared/
# linked_files = ["config/master.key"]      # put there by hand, once

[artifact]
path = "{artifact}"                # directory | archive | single file | https://… with sha256
# exclude = ["*.map"]

[env]                             # becomes .env of each release
vars.APP_ENV = "production"
# vars.DATABASE_URL = {{ env = "PROD_DATABASE_URL" }}
# vars.SECRET_KEY = {{ command = "op read op://prod/{app}/key" }}

[service]
unit = "{app}.service"             # let its WorkingDirectory or ExecStart go through current
# scope = "user"                  # default: "system", by sudo -n

# [health]
# http = "http://127.0.0.1:8080/up"

# [hooks]
# staged = [{{ run = "./bin/migrate", once = true }}]

[stages.production]
hosts = ["deploy@{app}.example.net"]
# confirm = true
"#
    )
}
