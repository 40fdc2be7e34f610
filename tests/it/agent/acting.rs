//! Commands as another user than the login, and sudo that wants a password; sudo is a script.

use shipit::remote::acting::{ActingSession, Password, Rights};
use shipit::remote::session::{Channel, Output, Session, SessionError};
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Asks for a password with `-S`, up to three times; runs what follows `--`, or the first word that
/// is no option.
const SUDO: &str = r#"#!/bin/sh
echo "$*" | tr '\n' ' ' | cut -c 1-60 >>"${0%/*}/asked"
prompt='[sudo] password: ' asks=
while [ "$#" -gt 0 ]; do
    case $1 in
        -S) asks=yes ;;
        -p) prompt=$2 && shift ;;
        --prompt=*) prompt=${1#*=} ;;
        -u) shift ;;
        -n | -l) ;;
        --) shift && break ;;
        *) break ;;
    esac
    shift
done
tries=0
while [ -n "$asks" ]; do
    printf %s "$prompt" >&2
    IFS= read -r given || { echo 'sudo: no password was provided' >&2; exit 1; }
    [ "$given" = 'open sesame' ] && break
    echo 'Sorry, try again.' >&2
    tries=$((tries + 1))
    [ "$tries" -lt 3 ] || exit 1
done
[ "$#" -gt 0 ] || exit 0
exec "$@"
"#;

fn password(text: &'static str) -> Password {
    Password::new(Arc::new(move || Box::pin(async move { Ok(text.to_owned()) })))
}

fn rights(command: &str, password: Option<Password>) -> Rights {
    let command = command.split(' ').map(str::to_owned).collect();
    Rights { command, user: "app".to_owned(), password }
}

/// Runs a command with these rights, on a host with this sudo; returns what it printed.
async fn ran(
    sudo: &str,
    rights: Rights,
    command: &str,
    input: &[u8],
) -> Result<Vec<u8>, SessionError> {
    let host = Host::new("dash");
    let session = ActingSession::new(host.session_with(&[("sudo", sudo)]), rights);
    let Channel { input: mut sink, mut output } = session.exec(command).await?;
    let input = input.to_vec();
    tokio::spawn(async move {
        sink.write_all(&input).await.unwrap();
        sink.shutdown().await.unwrap();
    });
    let mut out = Vec::new();
    while let Some(piece) = output.recv().await {
        if let Output::Stdout(bytes) = piece {
            out.extend_from_slice(&bytes);
        }
    }
    Ok(out)
}

#[tokio::test]
async fn command_of_another_user_gets_its_input_and_nothing_else() {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for command in ["cat", "exec /bin/sh -c 'echo '\\''a \\b'\\''; cat'"] {
        let out = ran(SUDO, rights("sudo -n", None), command, &bytes).await.unwrap();
        assert!(out.ends_with(&bytes), "{command}: {} bytes", out.len());
        assert!(!String::from_utf8_lossy(&out[..40]).contains("shipit"), "{command}");
    }
}

#[tokio::test]
async fn password_is_sent_once_and_only_if_asked_for() {
    let free = SUDO.replace("-S) asks=yes", "-S)");
    for sudo in [SUDO, &free] {
        let asking = rights("sudo -S", Some(password("open sesame")));
        let out = ran(sudo, asking, "cat", b"input\n").await.unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "input\n");
    }
    let none = rights("sudo -S", None);
    let error = ran(SUDO, none, "cat", b"input\n").await.unwrap_err();
    assert_eq!(error.to_string(), "could not act as app on the host: a password is required");
    let wrong = rights("sudo -S", Some(password("guess")));
    let error = ran(SUDO, wrong, "cat", b"input\n").await.unwrap_err();
    assert_eq!(error.to_string(), "could not act as app on the host: the password was wrong");
}

#[tokio::test]
async fn refusal_of_sudo_is_told_in_its_words() {
    for (words, hint) in [
        ("sudo: a password is required", "NOPASSWD"),
        ("sudo: sorry, you must have a tty to run sudo", "!requiretty"),
        ("sudo: unknown user app", "useradd"),
        ("doas: Authentication required", "permit nopass LOGIN as app"),
        ("Failed to start unit: Interactive authentication required.", "polkit"),
        ("deploy is not allowed to run sudo on web1.", "NOPASSWD"),
    ] {
        let sudo = format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n");
        let error = ran(&sudo, rights("sudo -n", None), "cat", b"").await.unwrap_err();
        assert_eq!(error.to_string(), format!("could not act as app on the host: {words}"));
        assert!(error.hint().unwrap().contains(hint), "{words}: {:?}", error.hint());
    }
}
