//! Output of the user's commands. It is reported while they run, and takes little room on the host.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use shipit::remote::conversation::{Agent, Hello};
use shipit::remote::frames::{HookOutput, Response};
use shipit::remote::order::{DONE, Order, REVERTED};

use super::{Host, ID, activate};
use crate::support::shells::under_every_shell;

/// Prints 60 MB within some seconds.
const FLOOD: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
     head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99; sleep 0.25; done; echo; echo that is all";

fn hook(command: &str, limit: u64) -> Order {
    Order::Hook {
        name: "staged",
        id: ID.parse().unwrap(),
        command: command.to_owned(),
        vars: Vec::new(),
        limit: Duration::from_secs(limit),
    }
}

/// A conversation whose temporary files are in `tmp` of the host's directory.
async fn open(host: &Host, restart: &str) -> Agent {
    let temporary = host.dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let session = host.session().as_ref().clone().var("TMPDIR", temporary.to_str().unwrap());
    let hello = host.hello("run000000001", restart);
    Agent::open(std::sync::Arc::new(session), hello).await.unwrap().0
}

/// The bytes of all files in there.
fn size(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    files
        .filter_map(|file| file.metadata().ok().filter(fs::Metadata::is_file))
        .map(|file| file.len())
        .sum()
}

/// The answer to an order, what was heard before and when, and the most that lay there meanwhile.
async fn heard(
    host: &Host,
    agent: &Agent,
    order: &Order,
) -> (Response, Vec<(Instant, String)>, u64) {
    let said = Mutex::new(Vec::new());
    let hear = |heard: HookOutput| said.lock().unwrap().push((Instant::now(), heard.text));
    let mut asked = Box::pin(agent.ask_hearing(order, hear));
    let mut most = 0;
    let answer = loop {
        tokio::select! {
            answer = &mut asked => break answer.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        most = most.max(size(&host.dir.path().join("tmp")));
    };
    drop(asked);
    (answer, said.into_inner().unwrap(), most)
}

under_every_shell! {
    async fn hook_output_is_told_while_it_runs(shell: &str) {
        let host = Host::new(shell);
        fs::write(host.root().join("releases").join(ID).join(".env"), "KEY=sesame-street-9\n")
            .unwrap();
        let agent = open(&host, "true").await;
        let (quick, none, _) = heard(&host, &agent, &hook("echo quick", 20)).await;
        assert_eq!((quick.text.as_str(), none.len()), ("quick\n", 0), "{shell}");
        let slow = "echo \"one $(cat .env)\"; sleep 3; echo two; printf thr; sleep 2; echo ee";
        let (answer, said, _) = heard(&host, &agent, &hook(slow, 20)).await;
        assert_eq!(said[0].1, "one KEY=***\n", "{shell}");
        assert!(said[0].0.elapsed() > Duration::from_secs(3), "{shell}: only at the end");
        let all: String = said.into_iter().map(|(_, text)| text).collect();
        assert_eq!(all + &answer.text, "one KEY=***\ntwo\nthree\n", "{shell}");
        // The whole output of a failed hook is sent, for the error.
        let (answer, said, _) = heard(&host, &agent, &hook("echo one; sleep 3; exit 4", 20)).await;
        assert_eq!(said[0].1, "one\n", "{shell}");
        assert_eq!(answer.text, "one\n\nthe staged hook exited with code 4\n", "{shell}");
        agent.bye().await.unwrap();
    }
}

/// The name of the env file was another one before.
#[tokio::test]
async fn env_file_under_an_older_name_is_masked() {
    let host = Host::new("dash");
    for (release, file) in [(ID, "app.env"), ("20260821090000", ".env")] {
        let path = host.root().join("releases").join(release).join(file);
        fs::write(path, format!("KEY=sesame-of-{release}\n")).unwrap();
    }
    let hello = Hello { env_file: "app.env".to_owned(), ..host.hello("run000000001", "true") };
    let (agent, _) = Agent::open(host.session(), hello).await.unwrap();
    let answer = agent.ask(&hook("cat app.env ../20260821090000/.env", 20)).await.unwrap();
    assert_eq!(answer.text, "KEY=***\nKEY=***\n");
}

under_every_shell! {
    async fn hook_output_without_end_is_bounded_on_disk(shell: &str) {
        let host = Host::new(shell);
        let agent = open(&host, "true").await;
        let (answer, said, most) = heard(&host, &agent, &hook(FLOOD, 60)).await;
        assert_eq!(answer.code, DONE, "{shell}");
        let all: String =
            said.iter().map(|(_, text)| text.as_str()).chain([&*answer.text]).collect();
        assert!(all.ends_with("\nthat is all\n"), "{shell}");
        assert!(answer.text.len() <= 66_000, "{shell}: {}", answer.text.len());
        assert!(said.iter().all(|(_, text)| text.len() <= 66_000), "{shell}");
        assert!(most < 40_000_000, "{shell}: {most} bytes");
    }
}

/// Its relative: what restarts the service.
#[tokio::test]
async fn restart_output_without_end_is_bounded_on_disk() {
    let host = Host::new("dash");
    let agent = open(&host, &format!("{FLOOD}; ! pwd -P | grep -q {ID}")).await;
    let (answer, _, most) = heard(&host, &agent, &activate()).await;
    assert_eq!(answer.code, REVERTED, "{}", answer.text);
    assert!(answer.text.contains("that is all\n"), "{}", answer.text);
    assert!(most < 40_000_000, "{most} bytes");
}

under_every_shell! {
    /// A process that a command leaves running delays nobody and outlives the conversation.
    async fn process_that_a_hook_leaves_running_is_not_waited_for(shell: &str) {
        let host = Host::new(shell);
        let agent = open(&host, "true").await;
        let alive = host.dir.path().join("alive");
        let command = format!("echo begun; (sleep 8; echo more; echo x >{}) &", alive.display());
        let began = Instant::now();
        let answer = agent.ask(&hook(&command, 20)).await.unwrap();
        assert_eq!(answer.text, "begun\n", "{shell}");
        agent.bye().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(6), "{shell}: {:?}", began.elapsed());
        let until = Instant::now() + Duration::from_secs(30);
        while !alive.exists() {
            assert!(Instant::now() < until, "{shell}: it was ended by its output");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
