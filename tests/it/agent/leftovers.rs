//! Leftovers of a killed agent in the host's temporary directory.

use super::*;

/// An agent whose temporary directory is in `place`.
async fn open(host: &Host, place: &Path, run: &str, lock: bool) -> Agent {
    let session = (*host.session()).clone().var("TMPDIR", place.to_str().unwrap());
    let hello = Hello { lock, ..host.hello(run, "true") };
    Agent::open(Arc::new(session), hello).await.unwrap().0
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

under_every_shell! {
    async fn leftovers_of_a_killed_agent_are_removed_by_the_next(shell: &str) {
        let host = Host::new(shell);
        let place = host.dir.path().join("tmp");
        fs::create_dir(&place).unwrap();
        let _killed = open(&host, &place, "run000000001", true).await;
        let left = names(&place).remove(0);
        let pid = fs::read_to_string(host.root().join(".shipit/run/run000000001/agent")).unwrap();
        assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
        while Path::new("/proc").join(pid.trim()).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _alive = open(&host, &place, "run000000002", false).await;
        let (machine, _) = left.rsplit_once(&format!(".{}.", pid.trim())).unwrap();
        // Somebody's file, what another machine may still need, and the way to another place.
        fs::write(place.join(format!("{machine}.{}.file00", pid.trim())), "").unwrap();
        fs::create_dir(place.join(format!("shipit.elsewhere.{}.AAAAAA", pid.trim()))).unwrap();
        let link = place.join(format!("{machine}.{}.link00", pid.trim()));
        std::os::unix::fs::symlink(host.root(), link).unwrap();
        assert_eq!(names(&place).len(), 5, "{shell}");

        let next = open(&host, &place, "run000000003", true).await;
        next.bye().await.unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while names(&place).len() > 4 {
            assert!(Instant::now() < end, "{shell}: {:?}", names(&place));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!names(&place).contains(&left), "{shell}");
        assert!(host.root().join("releases").join(ID).exists(), "{shell}");
    }
}

under_every_shell! {
    async fn channel_that_starts_while_the_conversation_ends_leaves_nothing(shell: &str) {
        let host = Host::new(shell);
        // The first removal of the run's directory is overtaken by a channel that starts.
        let overtaken = "#!/bin/sh\nPATH=/usr/bin:/bin\nrm \"$@\"\ncase $2 in\n\
            */.shipit/run/*) mkdir \"${0%/*}/once\" || exit 0 ;;\n*) exit 0 ;;\nesac 2>/dev/null\n\
            mkdir \"$2\" && echo 999999999 >\"$2/channel.999999999\"\nexit 1\n";
        let hello = host.hello("run000000001", "true");
        let session = host.session_with(&[("rm", overtaken)]);
        let (agent, _) = Agent::open(session, hello).await.unwrap();
        agent.bye().await.unwrap();
        let (runs, once) = (host.root().join(".shipit/run"), host.dir.path().join("bin/once"));
        let end = Instant::now() + Duration::from_secs(5);
        while !once.exists() || !names(&runs).is_empty() {
            assert!(Instant::now() < end, "{shell}: {:?}", names(&runs));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
