//! The values of env files by name and keyed digest: what can be told apart without being known.

use std::collections::BTreeMap;

use serde::Serialize;

use super::digest::Digest;

/// Hex digits of a digest that are kept: two values never have the same by chance.
const DIGITS: usize = 32;
/// The beginning of the line that names a file; lines of its values follow.
const FILE: &str = "file ";

/// The values of the env files of one release on one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvKeys(BTreeMap<EnvName, String>);

/// A value, by its file and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EnvName {
    pub file: String,
    pub name: String,
}

/// The values that differ between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EnvDifference {
    pub added: Vec<EnvName>,
    pub changed: Vec<EnvName>,
    pub removed: Vec<EnvName>,
}

impl EnvKeys {
    /// Returns the lines that a host keeps of a file with these values; empty without a key, for a
    /// plain digest would give weak secrets away.
    pub fn lines<'v>(
        key: &[u8],
        file: &str,
        values: impl Iterator<Item = (&'v str, &'v str)>,
    ) -> String {
        if key.is_empty() {
            return String::new();
        }
        let line = |(name, value): (&str, &str)| {
            // The name is in it, so that equal values of two names do not show.
            let digest = Digest::keyed(key, format!("{name}={value}").as_bytes()).to_string();
            format!("{name} {}\n", &digest[..DIGITS])
        };
        let values: String = values.map(line).collect();
        format!("{FILE}{file}\n{values}")
    }

    /// Reads what a host keeps; `None`: it is not understood.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut keys, mut file) = (Self::default(), None);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix(FILE) {
                file = Some(name.to_owned());
                continue;
            }
            let (name, digest) = line.split_once(' ')?;
            let whole = digest.len() == DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit());
            let name = EnvName { file: file.clone()?, name: name.to_owned() };
            keys.0.insert(name, whole.then(|| digest.to_owned())?);
        }
        file.map(|_| keys)
    }

    /// Returns what differs from `self` in `other`, by file and name.
    pub fn difference(&self, other: &Self) -> EnvDifference {
        let only = |here: &Self, there: &Self| {
            here.0.keys().filter(|name| !there.0.contains_key(name)).cloned().collect()
        };
        let changed = |(name, digest): (&EnvName, &String)| {
            let before = self.0.get(name)?;
            (before != digest).then(|| name.clone())
        };
        EnvDifference {
            added: only(other, self),
            changed: other.0.iter().filter_map(changed).collect(),
            removed: only(self, other),
        }
    }
}

impl EnvDifference {
    /// Returns whether every value is the same.
    pub fn is_empty(&self) -> bool {
        [&self.added, &self.changed, &self.removed].into_iter().all(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[(&str, &str)]) -> EnvKeys {
        EnvKeys::parse(&EnvKeys::lines(b"key", "my .env", values.iter().copied()))
            .unwrap_or_default()
    }

    fn names(all: &[EnvName]) -> Vec<&str> {
        all.iter().map(|name| name.name.as_str()).collect()
    }

    #[test]
    fn values_are_told_apart_and_stay_unknown() {
        let (old, new) = (
            keys(&[("A", "1"), ("B", "1"), ("C", "")]),
            keys(&[("B", "2"), ("C", ""), ("D", "1")]),
        );
        let found = old.difference(&new);
        assert_eq!(names(&found.added), ["D"]);
        assert_eq!(names(&found.changed), ["B"]);
        assert_eq!(names(&found.removed), ["A"]);
        assert_eq!(found.added[0].file, "my .env");
        assert!(old.difference(&old).is_empty());
        let digests: std::collections::BTreeSet<_> = old.0.values().collect();
        assert_eq!(digests.len(), 3, "equal values of two names do not show");
        assert!(keys(&[]).difference(&keys(&[])).is_empty());
    }

    #[test]
    fn what_is_not_understood_is_not_taken_for_empty() {
        for text in ["", "A 1234\n", "file .env\nA\n", "file .env\nA 12\n", "v 2\n"] {
            assert_eq!(EnvKeys::parse(text), None, "{text}");
        }
        assert_eq!(EnvKeys::lines(b"", ".env", [("A", "1")].into_iter()), "");
    }
}
