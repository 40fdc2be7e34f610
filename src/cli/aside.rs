//! Events and questions from outside the run: connections report notices and ask for passphrases.
//! The terminal belongs to the live view or to a question, never to both.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::Term;

use crate::deploy::event::Event;
use crate::model::mutex::lock;

/// A view that does not yield the terminal within this time is assumed to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// A queue of events and the owner of the terminal. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct Aside(Arc<AsideLines>);

#[derive(Default)]
struct AsideLines {
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Default)]
struct State {
    /// Events that were not shown yet.
    untold: Vec<Event>,
    /// Whether there is a view.
    viewed: bool,
    /// Whether a question needs the terminal.
    wanted: bool,
    /// Whether the view has yielded the terminal.
    given: bool,
}

impl Aside {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Queues an event to be shown.
    pub(crate) fn tell(&self, event: Event) {
        self.state().untold.push(event);
    }

    /// Returns the events to show now: none while a question is asked.
    pub(crate) fn told(&self) -> Vec<Event> {
        let mut state = self.state();
        if state.wanted { Vec::new() } else { std::mem::take(&mut state.untold) }
    }

    /// Says that a view begins or ends. A question asks a view for the terminal.
    pub(crate) fn view(&self, viewed: bool) {
        self.state().viewed = viewed;
        self.0.given.notify_all();
    }

    /// Returns whether a question needs the terminal. The view then clears it and calls
    /// [`Aside::give`].
    pub(crate) fn wanted(&self) -> bool {
        self.state().wanted
    }

    /// Yields the terminal: the view draws nothing until the question is answered.
    pub(crate) fn give(&self) {
        self.state().given = true;
        self.0.given.notify_all();
    }

    /// Runs `ask`, which has the terminal for itself, and returns its result.
    pub(crate) fn alone<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.state().wanted = true;
        let waits = |state: &mut State| state.viewed && !state.given;
        let state = self.0.given.wait_timeout_while(self.state(), PATIENCE, waits);
        drop(state.unwrap_or_else(PoisonError::into_inner));
        let answer = ask();
        let mut state = self.state();
        (state.wanted, state.given) = (false, false);
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
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

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

    #[test]
    fn question_waits_for_the_view_and_delays_events() {
        let aside = Aside::default();
        aside.view(true);
        let asked = AtomicBool::new(false);
        thread::scope(|scope| {
            let question = scope.spawn(|| {
                aside.alone(|| {
                    asked.store(true, Ordering::SeqCst);
                    aside.tell(Event::Warning { host: None, text: "meanwhile".to_owned() });
                    assert!(aside.told().is_empty(), "nothing is drawn over the question");
                });
            });
            while !aside.wanted() {
                thread::yield_now();
            }
            assert!(!asked.load(Ordering::SeqCst), "the view has the terminal");
            aside.give();
            assert!(question.join().is_ok());
        });
        assert!(!aside.wanted());
        assert_eq!(aside.told().len(), 1);
    }
}
