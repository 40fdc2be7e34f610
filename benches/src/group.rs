//! Counts what a set of processes uses, by control groups of either version.
//!
//! Processor time is the group's own. Memory is the most anonymous memory that the group was seen
//! to have, looked at every 10 ms: the group's own peak counts the page cache and everything that
//! was written to a tmpfs, thus the release itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The groups of the tool and of the hosts.
pub(crate) struct Group {
    cpu: PathBuf,
    memory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Returns the group of this name, which is made if it is missing.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let group = if root.join("cgroup.controllers").exists() {
            // Systemd has done so already; whether it is on is looked at below.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
            let place = root.join(name);
            Self { cpu: place.clone(), memory: place, version: Version::Two }
        } else {
            let (cpu, memory) = (root.join("cpuacct").join(name), root.join("memory").join(name));
            Self { cpu, memory, version: Version::One }
        };
        for place in group.places() {
            fs::create_dir_all(place)
                .with_context(|| format!("no control group at {}", place.display()))?;
        }
        ensure!(group.memory.join("memory.stat").exists(), "the memory controller is off");
        Ok(group)
    }

    fn places(&self) -> Vec<&Path> {
        match self.version {
            Version::One => vec![&self.cpu, &self.memory],
            Version::Two => vec![&self.cpu],
        }
    }

    /// The file to which a process writes `0` to join.
    pub(crate) fn doors(&self) -> String {
        let doors =
            self.places().into_iter().map(|place| place.join("cgroup.procs").display().to_string());
        doors.collect::<Vec<_>>().join(" ")
    }

    /// Seconds of processor time so far.
    pub(crate) fn seconds(&self) -> Result<f64> {
        Ok(match self.version {
            Version::One => number(&fs::read_to_string(self.cpu.join("cpuacct.usage"))?, "") / 1e9,
            Version::Two => {
                number(&fs::read_to_string(self.cpu.join("cpu.stat"))?, "usage_usec ") / 1e6
            }
        })
    }

    /// Bytes of anonymous memory now.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string(self.memory.join("memory.stat")).unwrap_or_default();
        number(
            &text,
            match self.version {
                Version::One => "total_rss ",
                Version::Two => "anon ",
            },
        )
    }

    /// The processes within.
    pub(crate) fn processes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.cpu.join("cgroup.procs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The number after a word at the beginning of a line.
fn number(text: &str, word: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(word));
    found.and_then(|rest| rest.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_word() {
        assert!((number("cache 1\ntotal_rss 42\n", "total_rss ") - 42.0).abs() < 1e-9);
        assert!((number("17\n", "") - 17.0).abs() < 1e-9);
        assert!(number("", "anon ").abs() < 1e-9);
    }
}
