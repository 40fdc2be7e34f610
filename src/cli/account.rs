//! The account that runs this program, from the user database. `USER` and `HOME` are not reliable,
//! under sudo for example.

use std::path::PathBuf;
use std::process::Command;

/// Name and home of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) home: PathBuf,
}

impl Account {
    /// Returns the account of this process; none if the user database has no entry for its number.
    pub(crate) fn of_this_process() -> Option<Self> {
        let uid = rustix::process::getuid().as_raw();
        let file = std::fs::read("/etc/passwd").unwrap_or_default();
        Self::find(&String::from_utf8_lossy(&file), uid).or_else(|| {
            // Accounts of a directory service, and of macOS, are in no file.
            let getent = || said_by("getent", &["passwd", &uid.to_string()]);
            let found = getent().and_then(|text| Self::find(&text, uid));
            found.or_else(|| Self::find(&said_by("id", &["-P"])?, uid))
        })
    }

    /// Parses a line of passwd(5), in which the home is the last field but one. `id -P` prints
    /// three more fields before it.
    fn find(text: &str, uid: u32) -> Option<Self> {
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = lines.find(|fields| {
            fields.len() >= 7 && fields[2].parse() == Ok(uid) && !fields[0].is_empty()
        })?;
        let home = PathBuf::from(fields[fields.len() - 2]);
        Some(Self { name: fields[0].to_owned(), home })
    }
}

/// Returns what a program prints, if it exits with 0.
pub(super) fn said_by(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, uid: u32) -> Option<(String, String)> {
        let Account { name, home } = Account::find(text, uid)?;
        Some((name, home.display().to_string()))
    }

    #[test]
    fn account_is_found_by_its_number() {
        let linux = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000:Ada,,,:/home/ada:/bin/zsh\n";
        let own = |name: &str, home: &str| Some((name.to_owned(), home.to_owned()));
        assert_eq!(found(linux, 0), own("root", "/root"));
        assert_eq!(found(linux, 1000), own("ada", "/home/ada"));
        assert_eq!(found(linux, 100), None, "nobody is root by guess");
        let mac = "ada:********:501:20::0:0:Ada:/Users/ada:/bin/zsh\n";
        assert_eq!(found(mac, 501), own("ada", "/Users/ada"));
        assert_eq!(found("broken\n::\n:x:7:7::/:/\n", 7), None);
    }
}
