//! Input that others write: archives, manifests, ledgers, settings, records of keys, answers. No
//! input breaks what `invariants` promises.

#[expect(unreachable_pub, reason = "it is a library of its own for the fuzzer")]
mod invariants;

use std::fs;

use invariants::{ALL, Invariant};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use walkdir::WalkDir;

/// Returns the files that the fuzzer starts from for one reader, and those with which it once broke
/// something: path and bytes.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let files = WalkDir::new(format!("fuzz/corpus/{name}")).sort_by_file_name().into_iter();
    let files = files.map(Result::unwrap).filter(|file| file.file_type().is_file());
    let read = |path: String| (path.clone(), fs::read(path).unwrap());
    files.map(|file| read(file.path().display().to_string())).collect()
}

#[test]
fn corpus_breaks_no_invariant() {
    for (name, check) in ALL {
        let seeds = corpus(name);
        assert!(seeds.len() >= 3, "{name} has no corpus");
        for (path, bytes) in seeds {
            std::panic::catch_unwind(|| check(&bytes))
                .unwrap_or_else(|_| panic!("broken by {path}"));
        }
    }
}

#[test]
fn every_invariant_has_a_fuzz_target() {
    let manifest = fs::read_to_string("fuzz/Cargo.toml").unwrap();
    for (name, _) in ALL {
        let target = fs::read_to_string(format!("fuzz/targets/{name}.rs")).unwrap();
        assert!(target.contains(&format!("invariants::{name}")), "fuzz/targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}

/// One change of some bytes. Places are chosen by index, so that every length has them.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    Drop(Index, usize),
    /// A line, or what stands in for one, once more at another place.
    Again(Index, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<Index>;
        prop_oneof![
            4 => (place(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            2 => (place(), vec(any::<u8>(), 1..4)).prop_map(|(at, new)| Self::Insert(at, new)),
            1 => place().prop_map(Self::Cut),
            2 => (place(), 1..40_usize).prop_map(|(at, many)| Self::Drop(at, many)),
            2 => (place(), place()).prop_map(|(from, to)| Self::Again(from, to)),
        ]
    }

    fn make(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index, bytes);
                bytes.splice(at..bytes.len().min(at + 1), [*byte]);
            }
            Self::Insert(index, new) => {
                let at = at(index, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Cut(index) => bytes.truncate(at(index, bytes)),
            Self::Drop(index, many) => {
                let at = at(index, bytes);
                bytes.drain(at..bytes.len().min(at + many));
            }
            Self::Again(from, to) => {
                let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let line = lines.get(from.index(lines.len() + 1)).map_or(&b""[..], |line| line);
                let (line, to) = (line.to_vec(), at(to, bytes));
                bytes.splice(to..to, line);
            }
        }
    }
}

/// Changes of a seed, some of them many, and each kept by its reader.
fn changed_a_little(name: &str) {
    let (name, check): (&str, Invariant) = *ALL.iter().find(|(known, _)| *known == name).unwrap();
    let seeds: Vec<_> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
    let inputs = (proptest::sample::select(seeds), vec(Change::any(), 1..6));
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() };
    proptest!(config, |((mut bytes, changes) in inputs)| {
        for change in changes {
            change.make(&mut bytes);
        }
        check(&bytes);
    });
}

macro_rules! changed_a_little {
    ($($name:ident)*) => {
        mod changed_a_little {
            $(#[test] fn $name() { super::changed_a_little(stringify!($name)); })*

            /// A reader that is new is tried too.
            #[test]
            fn all() {
                assert_eq!(super::ALL.map(|(name, _)| name), [$(stringify!($name)),*]);
            }
        }
    };
}

changed_a_little! {
    answers archive_tar archive_zip config frames known_hosts ledger manifest ssh_config
}
