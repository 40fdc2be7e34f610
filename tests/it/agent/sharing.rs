//! Files that releases share, and how they are checked, under every shell.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use shipit::model::digest::Digest;
use shipit::model::manifest::{Manifest, Node, Sealed};
use shipit::remote::answer::{shareable, unpack};
use shipit::remote::order::{MANIFEST_PIECE, ManifestOf};

use super::*;

const OLD: &str = "20260821090000";
const NEW: &str = "20260821090002";

/// A read-only file of a tree that is being made.
fn file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    let node = |text: &str| Node::File {
        mode: 0o444,
        size: text.len() as u64,
        sha256: Digest::of(text.as_bytes()),
    };
    let nodes: BTreeMap<_, _> =
        files.iter().map(|(path, text)| ((*path).to_owned(), node(text))).collect();
    Manifest::new(nodes)
}

under_every_shell! {
    async fn long_manifest_comes_in_pieces(shell: &str) {
        let mut state = 1_u64;
        let line = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            format!("f 444 12 {state:064x} ./{state:x}\n")
        });
        let text: String = line.take(100_000).collect();
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        fs::write(host.root().join(".shipit/manifests").join(OLD), &text).unwrap();
        let mut packed = Vec::new();
        loop {
            let (id, of) = (OLD.parse().unwrap(), ManifestOf::Release);
            let order = Order::Manifest { id, of, after: packed.len() };
            let answer = agent.ask(&order).await.unwrap();
            packed.extend(&answer.bytes);
            if answer.bytes.len() < MANIFEST_PIECE {
                break;
            }
        }
        assert!(packed.len() > 2 * MANIFEST_PIECE, "{shell}: {}", packed.len());
        assert!(unpack(&packed, 1 << 30).unwrap() == text, "{shell}");
        assert!(unpack(&packed, 1000).unwrap().len() == 1000, "{shell}");
        agent.bye().await.unwrap();
    }
}

under_every_shell! {
    async fn release_on_a_base_shares_its_files(shell: &str) {
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let (base, release) = (
            manifest(&[("a", "one"), ("b", "two"), ("c", "three")]),
            manifest(&[("a", "one"), ("b", "zwei")]),
        );
        let releases = host.root().join("releases");
        for (path, text) in [("a", "one"), ("b", "two"), ("c", "three")] {
            file(&releases.join(OLD).join(path), text);
        }
        let sealed = base.sealed_text();
        fs::write(host.root().join(".shipit/manifests").join(OLD), &sealed).unwrap();
        fs::remove_file(releases.join(OLD).join("c")).unwrap();
        file(&releases.join(OLD).join("c"), "three!");

        let (live, digest) = (OLD.parse().ok(), Sealed::from(release.clone()).digest);
        let answer = agent.ask(&Order::Base).await.unwrap();
        let found = shareable(&answer.bytes, live, digest).unwrap();
        assert_eq!(
            found.live,
            live.zip(Some(Sealed::from(base.clone()).digest)),
            "{shell}: {}",
            answer.text
        );
        assert_eq!(found.unshareable.iter().collect::<Vec<_>>(), ["c"], "{shell}");

        let stage = releases.join(format!(".{NEW}.run000000001"));
        file(&stage.join("tree/b"), "zwei");
        fs::hard_link(releases.join(OLD).join("a"), stage.join("tree/a")).unwrap();
        let lines = |of: &Manifest, paths: &[&str]| -> String {
            let text = of.sealed_text();
            let wanted = |line: &&str| paths.iter().any(|path| line.trim_end().ends_with(path));
            text.split_inclusive('\n').filter(wanted).collect()
        };
        file(&stage.join("meta/gone"), &lines(&base, &["./b", "./c"]));
        file(&stage.join("meta/new"), &lines(&release, &["./b"]));
        let check = Order::Check { id: NEW.parse().unwrap(), base: live, digest };
        let answer = agent.ask(&check).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        let made = fs::read_to_string(host.root().join(".shipit/manifests").join(NEW)).unwrap();
        assert_eq!(made, release.sealed_text(), "{shell}");
        assert!(releases.join(NEW).join("a").exists(), "{shell}");
        agent.bye().await.unwrap();
    }
}

under_every_shell! {
    async fn check_of_many_files_reads_all_of_them(shell: &str) {
        let names: Vec<_> = (0..450).map(|number| format!("lib/part {number}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "content")).collect();
        let lib = [("lib".to_owned(), Node::Dir)];
        let release = Manifest::new(manifest(&files).into_nodes().into_iter().chain(lib).collect());
        let host = Host::new(shell);
        let (agent, _) = host.open("run000000001", "true").await;
        let stage = host.root().join(format!("releases/.{NEW}.run000000001"));
        let (id, digest) = (NEW.parse().unwrap(), Sealed::from(release.clone()).digest);
        let check = Order::Check { id, base: None, digest };
        for damaged in [Some("lib/part 449"), None] {
            for (name, content) in &files {
                let content = if damaged == Some(*name) { "c0ntent" } else { content };
                file(&stage.join("tree").join(name), content);
            }
            file(&stage.join("meta/manifest"), &release.sealed_text());
            let answer = agent.ask(&check).await.unwrap();
            assert_eq!(answer.code == DONE, damaged.is_none(), "{shell}: {}", answer.text);
            let told = answer.text.contains("./lib/part 449: FAILED");
            assert_eq!(told, damaged.is_some(), "{shell}: {}", answer.text);
        }
        assert!(host.root().join("releases").join(NEW).join("lib/part 0").exists(), "{shell}");
        agent.bye().await.unwrap();
    }
}
