//! Archives with sparse files, by GNU tar in each of its formats and by bsdtar, and such that no
//! program wrote.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use shipit::artifact::Limits;
use tar::EntryType;

use crate::support::archives::{Raw, open, open_spec, open_within, put, spec_of, told};

/// A tree with files that have holes at the beginning, in between and at the end.
fn holes(dir: &Path) -> PathBuf {
    let root = dir.join("tree");
    fs::create_dir_all(root.join("t")).unwrap();
    let file = |name: &str| fs::File::create(root.join(name)).unwrap();
    let many = file("t/many");
    for at in 1..60 {
        many.write_all_at(&[at; 4096], u64::from(at) << 16).unwrap();
    }
    many.set_len(5 << 20).unwrap();
    file("t/only a hole").set_len(1 << 20).unwrap();
    let end = file("t/end");
    end.write_all_at(b"begins", 0).unwrap();
    end.write_all_at(b"ends", (1 << 20) - 3).unwrap();
    fs::write(root.join("z"), "after").unwrap();
    root
}

#[test]
fn sparse_files_are_read_as_tar_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = holes(dir.path());
    let plain = open(&root).unwrap();
    let path = dir.path().join("a.tar");
    let gnu = |format: &[&str]| {
        let mut tar = Command::new("tar");
        tar.args(["-S", "-cf"]).arg(&path).args(format).args(["t", "z"]);
        assert!(tar.current_dir(&root).status().unwrap().success());
    };
    let compare = |how: &str| {
        let packed = fs::metadata(&path).unwrap().len();
        assert!(packed < 2 << 20, "{how} stored the holes: {packed}");
        assert_eq!(open(&path).unwrap().manifest().nodes(), plain.manifest().nodes(), "{how}");
        let mut spec = spec_of(&path);
        spec.exclude = vec!["/t".to_owned()];
        assert_eq!(open_spec(&spec).unwrap().manifest().files(), 1, "{how}");
    };
    gnu(&["--format=gnu"]);
    compare("gnu");
    for version in ["0.0", "0.1", "1.0"] {
        gnu(&["--format=posix", "--sparse-version", version]);
        compare(version);
    }
    let mut bsdtar = Command::new("bsdtar");
    bsdtar.args(["--read-sparse", "-cf"]).arg(&path).args(["t", "z"]);
    match bsdtar.current_dir(&root).status() {
        Ok(status) => {
            assert!(status.success());
            compare("bsdtar");
        }
        Err(_) => assert!(std::env::var_os("SHIPIT_TEST_ALL_SHELLS").is_none(), "bsdtar"),
    }
}

/// A pax header with these records before a file with these bytes.
fn pax(records: &[(&str, &str)], bytes: &[u8]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let text = format!(" GNU.sparse.{key}={value}\n");
        let length = (1..=4).find_map(|digits| {
            let length = text.len() + digits;
            (length.to_string().len() == digits).then_some(length)
        });
        format!("{}{text}", length.unwrap())
    };
    let records: String = records.iter().map(record).collect();
    let raw = Raw::new().member(EntryType::XHeader, b"x", b"", records.as_bytes());
    raw.member(EntryType::Regular, b"holes", b"", bytes).file("z").end()
}

#[test]
fn holes_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let text = told(&open(&put(dir.path(), "a.tar", bytes)).unwrap_err(), dir.path());
        let expected = "`holes` in a.tar is a sparse file whose list of holes does not fit it";
        assert!(text.starts_with(expected), "{what}: {text}");
    };
    let good = pax(&[("size", "9"), ("map", "2,3")], b"abc");
    open(&put(dir.path(), "good.tar", &good)).unwrap();
    for (map, size) in [
        ("2,3,1,0", "9"),
        ("2,3", "4"),
        ("2,4", "9"),
        ("2,2", "9"),
        ("2,1,4", "9"),
        ("2,x", "9"),
        ("18446744073709551615,3", "9"),
        ("0,3", "18446744073709551616"),
        ("-1,3", "9"),
    ] {
        refused(&pax(&[("size", size), ("map", map)], b"abc"), map);
    }
    refused(&pax(&[("map", "0,3")], b"abc"), "no size");
    refused(&pax(&[("size", "3"), ("numbytes", "3")], b"abc"), "no offset");
    refused(&pax(&[("size", "3"), ("shape", "3")], b"abc"), "unknown record");
    let version = |minor, map: &str| {
        let mut bytes = vec![0; 512];
        bytes[..map.len()].copy_from_slice(map.as_bytes());
        bytes.extend(b"abc");
        pax(&[("major", "1"), ("minor", minor), ("realsize", "9")], &bytes)
    };
    open(&put(dir.path(), "good.tar", &version("0", "1\n2\n3\n"))).unwrap();
    for map in ["1\n2\n4\n", "2\n2\n3\n", "x\n", "\n", "1\n2\n", "99999999999999999999999\n"] {
        refused(&version("0", map), map);
    }
    refused(&version("1", "1\n2\n3\n"), "an unknown version");
    refused(&Raw::new().special(EntryType::GNUSparse, "holes").end(), "no such header");
}

#[test]
fn holes_count_as_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let large = pax(&[("size", "4000000000000"), ("map", "0,3")], b"abc");
    let path = put(dir.path(), "a.tar", &large);
    let error = open(&path).unwrap_err().to_string();
    assert!(
        error.contains("64 GiB") || error.contains("68.7 GB") || error.contains("more than"),
        "{error}"
    );
    let small = pax(&[("size", "2000000"), ("map", "0,3")], b"abc");
    let path = put(dir.path(), "b.tar", &small);
    let limits = Limits { bytes: 1_000_000, ..Limits::default() };
    open_within(&spec_of(&path), None, &limits).unwrap_err();
    assert_eq!(open(&path).unwrap().manifest().size(), 2_000_001);
}
