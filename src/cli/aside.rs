//! Events and questions from outside the run: connections report notices and ask for passphrases.
//! The terminal belongs to the live view or to a question, never to both.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use console::Term;

use crate::deploy::event::Event;
use crate::model::mutex::lock;
use crate::report::AnyReporter;

/// A queue of events, and the view that shows them. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct Aside(Arc<Mutex<AsideState>>);

#[derive(Default)]
struct AsideState {
    /// Events that were not shown yet.
    untold: Vec<Event>,
    /// What shows events, while there is a run.
    view: Option<AnyReporter>,
    /// Whether a question has the terminal.
    asked: bool,
}

impl Aside {
    /// Queues an event to be shown.
    pub(crate) fn tell(&self, event: Event) {
        lock(&self.0).untold.push(event);
    }

    /// Returns the events to show now: none while a question is asked.
    pub(crate) fn told(&self) -> Vec<Event> {
        let mut state = lock(&self.0);
        if state.asked { Vec::new() } else { std::mem::take(&mut state.untold) }
    }

    /// Shows events in `view` from now on.
    pub(crate) fn begin(&self, view: AnyReporter) {
        lock(&self.0).view = Some(view);
    }

    /// Shows what is queued, unless a question has the terminal.
    pub(crate) fn show(&self) {
        self.with_view(|_| ());
    }

    /// Shows what is queued, and redraws, unless a question has the terminal.
    pub(crate) fn tick(&self) {
        self.with_view(|view| view.tick());
    }

    fn with_view(&self, then: impl FnOnce(&mut AnyReporter)) {
        let AsideState { untold, view, asked } = &mut *lock(&self.0);
        if let (Some(view), false) = (view, *asked) {
            for event in std::mem::take(untold) {
                view.on_event(&event);
            }
            then(view);
        }
    }

    /// Shows what is queued and returns the view, which shows nothing more by itself.
    pub(crate) fn end(&self) -> Option<AnyReporter> {
        self.show();
        lock(&self.0).view.take()
    }

    /// Runs `ask`, which has the terminal for itself, and returns its result.
    pub(crate) fn alone<T>(&self, ask: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.0);
        state.asked = true;
        if let Some(view) = &mut state.view {
            view.pause();
        }
        drop(state);
        let answer = ask();
        lock(&self.0).asked = false;
        answer
    }

    /// Returns the answer to a question, such as that for a passphrase: from the program in
    /// `SSH_ASKPASS` if ssh would use it, else from the terminal, which shows it only if it may be
    /// `seen`; none if nobody can be asked.
    pub(crate) fn ask(
        &self,
        question: &str,
        seen: bool,
        env: &BTreeMap<String, String>,
    ) -> Option<String> {
        let term = Term::stderr();
        let terminal = term.is_term() && std::io::stdin().is_terminal();
        if let Some(program) = askpass(env, terminal) {
            return by_program(program, question);
        }
        let read = || if seen { term.read_line() } else { term.read_secure_line() };
        let ask = || term.write_str(question).and_then(|()| read()).ok();
        terminal.then(|| self.alone(ask)).flatten()
    }
}

/// Returns the program of `SSH_ASKPASS`, if ssh(1) would use it.
fn askpass(env: &BTreeMap<String, String>, terminal: bool) -> Option<&str> {
    let var = |name: &str| env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let display = var("DISPLAY").or(var("WAYLAND_DISPLAY")).is_some();
    let used = match var("SSH_ASKPASS_REQUIRE") {
        Some("force") => true,
        Some("never") => false,
        Some("prefer") => display,
        _ => display && !terminal,
    };
    var("SSH_ASKPASS").filter(|_| used)
}

fn by_program(program: &str, question: &str) -> Option<String> {
    let output = Command::new(program).arg(question).stdin(Stdio::null()).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let line = answer.lines().next().unwrap_or_default().to_owned();
    output.status.success().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::outcome::Report;
    use crate::report::Reporter;

    fn used(pairs: &[(&str, &str)], terminal: bool) -> bool {
        let mut env: BTreeMap<_, _> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.insert("SSH_ASKPASS".to_owned(), "/bin/ask".to_owned());
        askpass(&env, terminal).is_some()
    }

    #[test]
    fn askpass_is_used_when_ssh_would_use_it() {
        assert!(used(&[("SSH_ASKPASS_REQUIRE", "force")], true));
        assert!(!used(&[("SSH_ASKPASS_REQUIRE", "never"), ("DISPLAY", ":0")], false));
        assert!(used(&[("SSH_ASKPASS_REQUIRE", "prefer"), ("DISPLAY", ":0")], true));
        assert!(used(&[("DISPLAY", ":0")], false) && !used(&[("DISPLAY", ":0")], true));
        assert!(!used(&[], false), "there is no display");
    }

    #[test]
    fn askpass_answer_is_its_output_or_none() {
        assert_eq!(by_program("/bin/echo", "sesame"), Some("sesame".to_owned()));
        assert_eq!(by_program("/bin/false", "sesame"), None);
    }

    /// A view that notes what happens to it.
    struct Notes(Arc<Mutex<Vec<&'static str>>>);

    impl Reporter for Notes {
        fn on_event(&mut self, _: &Event) {
            lock(&self.0).push("shown");
        }

        fn finish(&mut self, _: &Report) {}

        fn tick(&mut self) {
            lock(&self.0).push("drawn");
        }

        fn pause(&mut self) {
            lock(&self.0).push("cleared");
        }
    }

    #[test]
    fn question_clears_the_view_and_delays_events() {
        let (aside, notes) = (Aside::default(), Arc::default());
        aside.begin(Box::new(Notes(Arc::clone(&notes))));
        aside.alone(|| {
            lock(&notes).push("asked");
            aside.tell(Event::Warning { host: None, text: "meanwhile".to_owned() });
            aside.tick();
            assert!(aside.told().is_empty(), "nothing is drawn over the question");
        });
        aside.tick();
        assert_eq!(*lock(&notes), ["cleared", "asked", "shown", "drawn"]);
        assert!(aside.end().is_some());
    }
}
