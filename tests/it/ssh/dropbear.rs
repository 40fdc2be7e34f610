//! Against Dropbear, which accepts only short commands.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::bytes::random_bytes;
use crate::support::ssh::{run, skipped, whoami, write};
use crate::support::sshd::{SshDir, must, present};

const DROPBEAR: &str = "/usr/sbin/dropbear";

/// It knows keys only in the home of the user database, so a mount of its own stands there.
const SERVE: &str =
    "mount --bind \"$1\" \"$2\" && cd / && exec \"$3\" -F -E -r \"$4\" -p \"$5\" -P \"$6\"";

#[tokio::test]
async fn long_command_comes_by_stdin_and_leaves_the_rest() {
    if !present() || !Path::new(DROPBEAR).exists() || !rustix::process::geteuid().is_root() {
        return skipped("it takes dropbear, and root for a mount");
    }
    let place = SshDir::new();
    std::fs::create_dir_all(place.path("home/.ssh")).unwrap();
    write(&place.path("home/.ssh/authorized_keys"), &place.text("id.pub"));
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    must("dropbearkey", &["-t", "ed25519", "-f", &path("dropbear")]);
    let shown = must("dropbearkey", &["-y", "-f", &path("dropbear")]);
    let key = shown.lines().find(|line| line.starts_with("ssh-ed25519")).unwrap();
    write(&place.path("dropbear.pub"), key);
    let account = must("getent", &["passwd", &whoami()]);
    let home = account.trim().rsplit(':').nth(1).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut server = Command::new("unshare")
        .args(["--mount", "sh", "-c", SERVE, "sh", &path("home"), home, DROPBEAR])
        .args([&path("dropbear"), &format!("127.0.0.1:{port}"), &path("pid")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    place.know(port, "dropbear");
    place.config(port, "");
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "it does not run");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let session = place.session().await;
    let bytes = random_bytes(1 << 20);
    for length in [10, 7_900, 8_100, 9_000, 40_000] {
        let command = format!("exec /bin/sh -c 'cat; exit 7' {}", "x".repeat(length));
        let ran = run(&*session, &command, &bytes).await;
        assert!(ran.out == bytes, "{length}: {} bytes", ran.out.len());
        assert_eq!(ran.exit, Some(shipit::remote::session::Exit::Code(7)), "{length}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
