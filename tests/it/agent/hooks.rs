//! Hooks that the agent runs by itself, under every shell: in which order, and what undoes them.

use shipit::model::host_state::OwedHooks;
use shipit::remote::order::PARTLY;

use super::*;

const OLD: &str = "20260821090000";
const REVERTED_BY: &str = "SHIPIT_FAILED";

/// A host whose hooks of each place, and restart, tell when they ran, in which release, and what
/// was live then. `more` is added to the command of a place.
struct Told {
    host: Host,
    more: Vec<(HookPlace, String)>,
}

impl Told {
    fn new(shell: &str) -> Self {
        Self { host: Host::new(shell), more: Vec::new() }
    }

    fn with(mut self, place: HookPlace, more: &str) -> Self {
        self.more.push((place, more.to_owned()));
        self
    }

    fn tells(&self, what: &str) -> String {
        let root = self.host.root();
        format!(
            "live=$(readlink {0}/current); echo \"{what} ${{PWD##*/}} $SHIPIT_RELEASE live ${{live##*/}}\" >>{0}/told",
            root.display()
        )
    }

    fn activation(&self) -> Box<Activation> {
        let hook = |place: HookPlace| {
            let more = self.more.iter().filter(|(at, _)| *at == place);
            let more: Vec<_> = more.map(|(_, more)| format!("; {more}")).collect();
            agent_hook(place, &(self.tells(place.word()) + &more.concat()))
        };
        Box::new(Activation { hooks: HookPlace::ALL.map(hook).into(), ..activation() })
    }

    fn activate(&self) -> Order {
        Order::Activate(self.activation())
    }

    async fn open(&self, run: &str) -> (Agent, shipit::model::host_state::HostState) {
        self.host.open(run, &self.tells("restart")).await
    }

    /// Returns the lines that hooks wrote.
    fn told(&self) -> String {
        fs::read_to_string(self.host.root().join("told")).unwrap_or_default()
    }

    /// Waits until this was told.
    async fn tells_at_last(&self, expected: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.told() != expected {
            assert!(Instant::now() < end, "{}: {}", self.host.shell, self.told());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn owed(&self) -> bool {
        self.host.root().join(".shipit/owed").exists()
    }
}

fn lines(all: &[&str]) -> String {
    all.iter().map(|line| line.replace("NEW", ID).replace("OLD", OLD) + "\n").collect()
}

const UNTIL_ACTIVE: [&str; 3] =
    ["before_switch NEW NEW live OLD", "switched NEW NEW live NEW", "restart NEW NEW live NEW"];

under_every_shell! {
    async fn hooks_of_an_activation_that_is_committed_run_in_their_order(shell: &str) {
        let told = Told::new(shell);
        let (agent, _) = told.open("run000000001").await;
        let answer = agent.ask(&told.activate()).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        assert_eq!(told.told(), lines(&UNTIL_ACTIVE), "{shell}");
        assert_eq!(agent.ask(&commit()).await.unwrap().code, DONE, "{shell}");
        agent.bye().await.unwrap();
        let all = [&UNTIL_ACTIVE[..], &["committed NEW NEW live NEW"]].concat();
        assert_eq!(told.told(), lines(&all), "{shell}");
        assert!(!told.owed(), "{shell}");
    }
}

under_every_shell! {
    /// The `reverted` hook knows the failure. Nothing was flipped, and nothing is restarted.
    async fn failure_of_before_switch_reverts_and_restarts_nothing(shell: &str) {
        let told = Told::new(shell)
            .with(HookPlace::BeforeSwitch, "exit 3")
            .with(HookPlace::Reverted, &format!("echo \"${REVERTED_BY}\" >>../../told"));
        let (agent, _) = told.open("run000000001").await;
        let answer = agent.ask(&told.activate()).await.unwrap();
        assert_eq!(answer.code, REVERTED, "{shell}: {}", answer.text);
        assert!(told.host.ledger().contains("reverted: hook failed,"), "{shell}");
        let seen = told.told();
        let (hooks, failed) = seen.trim_end().rsplit_once('\n').unwrap();
        let ran = ["before_switch NEW NEW live OLD", "reverted OLD OLD live OLD"];
        assert_eq!(hooks.to_owned() + "\n", lines(&ran), "{shell}");
        assert!(failed.starts_with("the before_switch hook `live="), "{shell}: {failed}");
        assert!(failed.ends_with("` exited with code 3"), "{shell}: {failed}");
    }
}

under_every_shell! {
    async fn failure_of_switched_flips_back_and_restarts_nothing(shell: &str) {
        let told = Told::new(shell).with(HookPlace::Switched, "exit 3");
        let (agent, _) = told.open("run000000001").await;
        let answer = agent.ask(&told.activate()).await.unwrap();
        assert_eq!(answer.code, REVERTED, "{shell}: {}", answer.text);
        let ran = [UNTIL_ACTIVE[0], UNTIL_ACTIVE[1], "reverted OLD OLD live OLD"];
        assert_eq!(told.told(), lines(&ran), "{shell}");
        agent.bye().await.unwrap();
        assert_eq!(told.told(), lines(&ran), "{shell}: once");
    }
}

under_every_shell! {
    /// Orders that are chained to the commit, such as a prune, go on.
    async fn failure_of_committed_is_told_and_the_release_stays(shell: &str) {
        let told = Told::new(shell).with(HookPlace::Committed, "echo gone; exit 3");
        let (agent, _) = told.open("run000000001").await;
        assert_eq!(agent.ask(&told.activate()).await.unwrap().code, DONE, "{shell}");
        let chained = Sent { chained: true, ..Order::CleanUp { keep: None }.into() };
        let mut replies = agent.send_all(&[commit().into(), chained]);
        let next = replies.pop().unwrap().get().await.unwrap();
        let answer = replies.pop().unwrap().get().await.unwrap();
        assert_eq!((answer.code, next.code), (PARTLY, DONE), "{shell}: {}", answer.text);
        let last = answer.text.trim_end().lines().next_back().unwrap();
        assert!(last.starts_with("the committed hook `live="), "{shell}: {last}");
        assert!(last.ends_with("` failed"), "{shell}: {last}");
        assert_eq!(told.host.live(), format!("releases/{ID}"), "{shell}");
        agent.bye().await.unwrap();
        assert!(!told.host.ledger().contains("reverted"), "{shell}");
    }
}

under_every_shell! {
    /// The client goes away while a hook runs, and after the activation.
    async fn end_of_input_runs_the_reverted_hooks_once(shell: &str) {
        for place in [HookPlace::BeforeSwitch, HookPlace::Switched] {
            let told = Told::new(shell).with(place, "sleep 1");
            let (agent, _) = told.open("run000000001").await;
            let _unheard = agent.send(told.activate());
            while !told.told().contains(place.word()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(agent);
            let ran = ["restart OLD OLD live OLD", "reverted OLD OLD live OLD"];
            told.tells_at_last(&lines(&[&UNTIL_ACTIVE[..], &ran].concat())).await;
            assert!(told.host.ledger().contains("reverted: end of input"), "{shell}");
        }
    }
}

under_every_shell! {
    /// The agent is killed by the last hook that it should have run; the next run does it.
    async fn hooks_after_a_verdict_are_owed_until_they_were_run(shell: &str) {
        for place in [HookPlace::Committed, HookPlace::Reverted] {
            let told = Told::new(shell);
            let (agent, _) = told.open("run000000001").await;
            let kill = format!("kill -9 $(cat {}/.shipit/run/*/agent)", told.host.root().display());
            let mut killing = told.activation();
            killing.hooks.insert(0, agent_hook(place, &kill));
            assert_eq!(agent.ask(&Order::Activate(killing)).await.unwrap().code, DONE, "{shell}");
            let verdict = if place == HookPlace::Committed { commit() } else { revert() };
            assert!(agent.ask(&verdict).await.is_err(), "{shell}");
            let before = told.told();
            assert!(!before.contains(place.word()), "{shell}: {before}");

            let (agent, state) = told.open("run000000002").await;
            let id = ID.parse().unwrap();
            assert_eq!(state.owed, Some(OwedHooks { id, place }), "{shell}");
            let activation = told.activation();
            let conclude = Order::Conclude { activation, verdict: place, reason: None };
            assert_eq!(agent.ask(&conclude).await.unwrap().code, DONE, "{shell}");
            let release = if place == HookPlace::Committed { "NEW" } else { "OLD" };
            let line = format!("{} {release} {release} live {release}", place.word());
            assert_eq!(told.told(), before + &lines(&[&line]), "{shell}");
            assert_eq!(agent.look().await.unwrap().owed, None, "{shell}");
        }
    }
}

under_every_shell! {
    async fn cause_of_a_revert_is_one_line_without_secrets(shell: &str) {
        let told = Told::new(shell)
            .with(HookPlace::Reverted, &format!("echo \"<${REVERTED_BY}>\" >../../told"));
        let env = told.host.root().join("releases").join(OLD).join(".env");
        fs::write(env, "TOKEN=sesame-street-9\n").unwrap();
        let (agent, _) = told.open("run000000001").await;
        assert_eq!(agent.ask(&told.activate()).await.unwrap().code, DONE, "{shell}");
        let cause = Hidden("it said sesame-street-9\nand more".to_owned());
        let hooks = Duration::from_mins(1);
        let revert = Order::Revert { reason: RevertReason::Unhealthy, cause, hooks };
        assert_eq!(agent.ask(&revert).await.unwrap().code, DONE, "{shell}");
        assert_eq!(told.told(), "<it said ***>\n", "{shell}");
    }
}

under_every_shell! {
    /// The output of each hook is sent under its name, and is not in the answer.
    async fn output_of_hooks_is_told_by_their_names(shell: &str) {
        let told = Told::new(shell)
            .with(HookPlace::BeforeSwitch, "echo out; sleep 2; printf side")
            .with(HookPlace::Switched, "echo cached");
        let (agent, _) = told.open("run000000001").await;
        let heard = std::sync::Mutex::new(Vec::new());
        let hear = |said: shipit::remote::frames::HookOutput| {
            heard.lock().unwrap().push(format!("{}: {}", said.name, said.text.trim_end()));
        };
        let answer = agent.ask_hearing(&told.activate(), hear).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        let expected = ["before_switch: out", "before_switch: side", "switched: cached"];
        assert_eq!(*heard.lock().unwrap(), expected, "{shell}");
    }
}
