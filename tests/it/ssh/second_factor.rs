//! A real sshd that asks, by PAM, for a password after it has accepted a key.

use shipit::config::SshTransport;
use shipit::remote::session::SessionError;

use crate::support::ssh::{refusal, run, told};
use crate::support::sshd::{SshDir, Sshd};

const PASSWORD: &str = "open sesame";

/// Returns an sshd that asks for [`PASSWORD`], known as `web`.
fn asking() -> Option<(SshDir, Sshd)> {
    let dir = SshDir::new();
    let more = "UsePAM yes\nKbdInteractiveAuthentication yes\n\
                AuthenticationMethods publickey,keyboard-interactive";
    let sshd = Sshd::start_with_password(&dir, PASSWORD, more)?;
    dir.know(sshd.port, "host");
    dir.config(sshd.port, "");
    Some((dir, sshd))
}

#[tokio::test]
async fn second_factor_is_asked_for_and_answered() {
    let Some((mut place, _sshd)) = asking() else { return };
    place.user.answer = Some(PASSWORD);
    let session = place.session().await;
    assert_eq!(run(&*session, "echo in", b"").await.out, b"in\n");
    assert_eq!(*place.user.questions.lock().unwrap(), ["web: Password: "], "it is not shown");
    let another = session.another().await.err().map(|error| told(&error)).unwrap_or_default();
    assert!(another.contains("nobody to answer"), "one code is not asked for twice: {another}");
}

#[tokio::test]
async fn second_factor_without_a_terminal_is_told_with_its_question() {
    let Some((mut place, _sshd)) = asking() else { return };
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::Auth { .. }), "{error:?}");
    let text = told(&error);
    assert!(text.contains("the server also asks \"Password:\", and there is nobody"), "{text}");
    place.settings.transport = SshTransport::OpenSsh;
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("accepted, but it is not enough"), "{text}");
    assert!(text.contains("log in beforehand with a ControlMaster"), "{text}");
}

#[tokio::test]
async fn wrong_answer_is_refused_and_a_setting_turns_questions_off() {
    let Some((mut place, sshd)) = asking() else { return };
    place.config(sshd.port, "KbdInteractiveAuthentication no");
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("the server also requires keyboard-interactive"), "{text}");
    place.config(sshd.port, "");
    place.user.answer = Some("guess");
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("answers") || text.contains("too many"), "{text}");
}
