//! Owners of the places that a run writes to.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

/// No user of any machine.
const STRANGER: u32 = 64_999;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A host whose `path` belongs to another user than the one who deploys. Only root can give a file
/// away; anybody else is another user to the host from now on.
fn of_a_stranger(host: &Host, path: &str) -> Arc<LocalSession> {
    if is_root() {
        chown(host.root().join(path), Some(STRANGER), None).unwrap();
        return host.session();
    }
    let id = format!("#!/bin/sh\necho 'uid={STRANGER}(eve) gid=1(eve) groups=1(eve)'\n");
    host.session_with(&[("id", &id)])
}

async fn missing(host: &Host, session: Arc<LocalSession>) -> (Agent, Vec<String>) {
    let hello = host.hello("run000000001", "true");
    let (agent, state) = Agent::open(session, hello).await.unwrap();
    for what in &state.facts.missing {
        assert!(state.facts.fixes.contains_key(what), "{what}");
    }
    (agent, state.facts.missing)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

under_every_shell! {
    /// An agent that followed such a link would empty, extend or replace the file behind it.
    async fn link_in_place_of_a_file_of_ours_is_not_followed(shell: &str) {
        for name in ["lock", "ledger.jsonl", "key", "frozen", "run", "manifests", "trash"] {
            let host = Host::new(shell);
            let victim = host.dir.path().join("victim");
            if ["run", "manifests", "trash"].contains(&name) {
                fs::create_dir(&victim).unwrap();
            } else {
                fs::write(&victim, "secret of root\n").unwrap();
            }
            fs::create_dir(host.root().join(".shipit")).unwrap();
            let link = host.root().join(".shipit").join(name);
            symlink(&victim, &link).unwrap();
            let (agent, missing) = missing(&host, host.session()).await;
            let case = format!("{shell}: {name}: {missing:?}");
            let link = link.display().to_string();
            assert!(
                missing[0].starts_with(&format!("{link} is a link, and belongs to ")),
                "{case}"
            );
            assert_eq!(missing.len(), 1, "{case}");
            let tried = agent.ask(&Order::Lock).await.unwrap();
            assert_eq!(tried.code, 1, "{case}");
            assert!(tried.text.contains(&link), "{case}: {}", tried.text);
            let lock = Order::SetDeployLock { record: "eve".to_owned(), note: "why".to_owned() };
            assert_ne!(agent.ask(&lock).await.unwrap().code, DONE, "{case}");
            let _ = agent.bye().await;
            match fs::read_dir(&victim) {
                Ok(entries) => assert_eq!(entries.count(), 0, "{case}"),
                Err(_) => assert_eq!(fs::read_to_string(&victim).unwrap(), "secret of root\n"),
            }
        }
    }
}

#[tokio::test]
async fn links_and_other_kinds_in_our_directory_are_refused() {
    let host = Host::new("dash");
    fs::rename(host.root().join("releases"), host.root().join("elsewhere")).unwrap();
    symlink("elsewhere", host.root().join("releases")).unwrap();
    symlink("elsewhere", host.root().join(".shipit")).unwrap();
    symlink("/dev/null", host.root().join("revisions.log")).unwrap();
    let (_agent, found) = missing(&host, host.session()).await;
    assert_eq!(found.len(), 3, "{found:?}");
    let host = Host::new("dash");
    fs::create_dir(host.root().join(".shipit")).unwrap();
    let key = host.root().join(".shipit/key");
    assert!(Command::new("mkfifo").arg(&key).status().unwrap().success());
    let (_agent, found) = missing(&host, host.session()).await;
    assert!(found[0].contains("is neither a file nor a directory"), "{found:?}");
    // The path of `deploy_to` may go through links, because the user chose it.
    let host = Host::new("dash");
    fs::rename(host.root(), host.dir.path().join("disk")).unwrap();
    symlink("disk", host.root()).unwrap();
    let (agent, found) = missing(&host, host.session()).await;
    assert!(found.is_empty(), "{found:?}");
    agent.bye().await.unwrap();
}

under_every_shell! {
    async fn file_of_another_user_is_refused(shell: &str) {
        for name in ["", "releases", "revisions.log", ".shipit", ".shipit/ledger.jsonl"] {
            let host = Host::new(shell);
            fs::create_dir(host.root().join(".shipit")).unwrap();
            for file in ["revisions.log", ".shipit/ledger.jsonl"] {
                fs::write(host.root().join(file), "").unwrap();
            }
            let session = of_a_stranger(&host, name);
            let (_agent, found) = missing(&host, session).await;
            let path = host.root().join(name).display().to_string();
            let whose = format!("{} belongs to ", path.trim_end_matches('/'));
            assert!(
                found.iter().any(|what| what.starts_with(&whose)),
                "{shell}: {name}: {found:?}"
            );
        }
    }
}

/// A team deploys by one group: what one of them made is for the others too. Not for root, who
/// would write anywhere for them.
#[tokio::test]
async fn file_shared_by_a_group_is_refused_only_to_root() {
    let host = Host::new("dash");
    mode(&host.root(), 0o2775);
    mode(&host.root().join("releases"), 0o2775);
    let session = of_a_stranger(&host, "");
    let (_agent, found) = missing(&host, session).await;
    assert_eq!(!found.is_empty(), is_root(), "{found:?}");
}

#[tokio::test]
async fn file_that_everybody_can_write_is_refused() {
    for name in ["", "releases", ".shipit", ".shipit/ledger.jsonl", ".."] {
        let host = Host::new("dash");
        fs::create_dir(host.root().join(".shipit")).unwrap();
        fs::write(host.root().join(".shipit/ledger.jsonl"), "").unwrap();
        let path = host.root().join(name);
        mode(&path, 0o777);
        let (_agent, found) = missing(&host, host.session()).await;
        let path = fs::canonicalize(path).unwrap();
        assert_eq!(found, [format!("everybody can write {}", path.display())], "{name}");
        mode(&path, 0o755);
    }
    // Nobody can rename what is another's in a directory like /tmp.
    let host = Host::new("dash");
    mode(host.dir.path(), 0o1777);
    let (agent, found) = missing(&host, host.session()).await;
    assert!(found.is_empty(), "{found:?}");
    agent.bye().await.unwrap();
}
