//! The digest of a tree does not depend on how, by whom and in which order it was packed.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::archives::{
    Style, Thing, Tree, bzip2, file, gzip, link, listing, open, program, put, sample, tar_of, tree,
    write_tree, xz, zip_of, zstd,
};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,8}",
        1 => "[a-z ]{0,3}['\"$\\-+=,;&|<>()*?\\[\\]#~%^!@{}]{1,3}[a-z]{1,3}",
        1 => "[äöüß日本語🦀]{1,5}",
        1 => "[a-z]{90,120}",
    ]
}

fn thing() -> impl Strategy<Value = Option<Thing>> {
    prop_oneof![
        1 => Just(Some(Thing::Dir)),
        5 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..1500))
            .prop_map(|(runs, bytes)| Some(Thing::File { runs, bytes })),
        1 => Just(None),
    ]
}

/// Trees in which nothing is below a file; `None` became a link to some other entry.
fn trees() -> impl Strategy<Value = Tree> {
    let path = prop::collection::vec(name(), 1..4);
    let entry = (path, thing(), any::<Index>());
    prop::collection::vec(entry, 1..12).prop_map(|entries| {
        let mut tree = Tree::new();
        for (path, thing, index) in entries {
            let path = path.join("/");
            let clash = tree.iter().any(|(other, there)| {
                *other == path
                    || other.starts_with(&format!("{path}/"))
                    || (path.starts_with(&format!("{other}/")) && *there != Thing::Dir)
            });
            let linkable: Vec<&String> =
                tree.iter().filter(|(_, t)| !matches!(t, Thing::Link(_))).map(|e| e.0).collect();
            let thing = match thing {
                Some(thing) => thing,
                None if linkable.is_empty() => Thing::Dir,
                None => {
                    let up = "../".repeat(path.matches('/').count());
                    Thing::Link(format!("{up}{}", index.get(&linkable)))
                }
            };
            if !clash {
                tree.insert(path, thing);
            }
        }
        tree
    })
}

/// Every kind of artifact that the tree can be, in `dir`.
fn packed_every_way(dir: &Path, tree: &Tree, order: &[(String, Thing)], style: Style) {
    write_tree(&dir.join("tree"), tree);
    let shuffled = || order.iter().map(|(path, thing)| (path, thing));
    let tar = tar_of(shuffled(), style);
    put(dir, "a.tar", &tar);
    put(dir, "a.tar.gz", &gzip(&tar));
    put(dir, "a.tar.zst", &zstd(&tar));
    put(dir, "a.tar.xz", &xz(&tar));
    put(dir, "a.tar.bz2", &bzip2(&tar));
    put(dir, "named-like-nothing", &gzip(&tar));
    put(dir, "b.tgz", &gzip(&tar_of(tree.iter(), Style { pax: !style.pax, ..style })));
    put(dir, "a.zip", &zip_of(shuffled(), style.umask));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn equal_trees_have_one_digest_in_every_format(
        (tree, order) in trees().prop_flat_map(|tree| {
            let order: Vec<_> = tree.clone().into_iter().collect();
            (Just(tree), Just(order).prop_shuffle())
        }),
        pax: bool,
        dotted: bool,
        umask in prop::sample::select(vec![0o000, 0o002, 0o022, 0o027, 0o077]),
        owner in 0..60_000_u64,
        mtime in 0..4_000_000_000_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        packed_every_way(dir.path(), &tree, &order, Style { pax, umask, owner, mtime, dotted });
        let expected = open(&dir.path().join("tree")).unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let artifact = open(&entry.unwrap().path()).unwrap();
            prop_assert_eq!(listing(&artifact), listing(&expected), "{}", artifact.name());
            prop_assert_eq!(artifact.digest(), expected.digest());
        }
    }
}

#[test]
fn archives_of_real_packers_have_the_digest_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    write_tree(&dir.path().join("tree"), &sample());
    let expected = open(&dir.path().join("tree")).unwrap().digest();
    let ways = [
        "tar --format=gnu -cf ../gnu.tar .",
        "tar --format=pax -czf ../pax.tar.gz *",
        "tar --format=ustar --owner=7:7 --mtime=@5 --sort=name -cf ../ustar.tar .",
        "tar --format=v7 -cf ../v7.tar *",
        "bsdtar -cf ../bsd.tar .",
        "bsdtar --format=zip -cf ../bsd.zip *",
        "busybox tar -cf ../busybox.tar .",
        "zip -qry ../info.zip .",
        "python3 -m tarfile -c ../python.tar *",
    ];
    let mut done = 0;
    for way in ways {
        let tool = way.split(' ').next().unwrap();
        let made = Command::new("sh")
            .args(["-c", &format!("command -v {tool} >/dev/null || exit 77; {way}")])
            .current_dir(dir.path().join("tree"))
            .status()
            .unwrap();
        if made.code() == Some(77) {
            continue;
        }
        assert!(made.success(), "{way}");
        let made = way.split(' ').find_map(|word| word.strip_prefix("../")).unwrap();
        assert_eq!(open(&dir.path().join(made)).unwrap().digest(), expected, "{way}");
        done += 1;
    }
    assert!(done >= 4, "tar at least is there");
}

#[test]
fn modes_and_names_change_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let digest = |name: &str, tree: &Tree| {
        write_tree(&dir.path().join(name), tree);
        open(&dir.path().join(name)).unwrap().digest()
    };
    let one = digest("one", &tree([("a", file("x"))]));
    assert_ne!(one, digest("two", &tree([("a", program("x"))])));
    assert_ne!(one, digest("three", &tree([("b", file("x"))])));
    assert_ne!(one, digest("four", &tree([("a", file("y"))])));
    assert_ne!(one, digest("five", &tree([("a", link("x"))])));
}
