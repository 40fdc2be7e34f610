//! Connections to the server in this process, which breaks on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use shipit::config::{Address, Host, HostKeys, SshSettings};
use shipit::remote::session::{Channel, Exit, Session, SessionError};
use shipit::ssh::embedded::{Embedded, ServerOptions};
use shipit::ssh::host_key::fingerprint;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::bytes::random_bytes;
use crate::support::server::{FaultyServer, ServerFaults, cut_after, garbage};
use crate::support::ssh::{Ran, User, around, collect, connector, refusal, run, soon, told, write};

/// A server, and a home directory that knows it.
struct World {
    server: FaultyServer,
    home: TempDir,
    user: User,
    settings: SshSettings,
}

impl World {
    async fn new(faults: ServerFaults) -> Self {
        let home = TempDir::new().unwrap();
        let path = std::env::var("PATH").unwrap();
        let env = vec![("PATH".to_owned(), path), ("GREETING".to_owned(), "hello".to_owned())];
        let cwd = Some(home.path().to_path_buf());
        let server = FaultyServer::start(ServerOptions { env, cwd }, faults).await;
        write(&home.path().join("key"), &server.client_key_file());
        let settings = SshSettings {
            identity_file: Some(home.path().join("key")),
            known_hosts: Some(home.path().join("known_hosts")),
            connect_timeout: Some(Duration::from_secs(2)),
            ..SshSettings::default()
        };
        let mut world = Self { server, home, user: User::default(), settings };
        world.move_to(world.server.address);
        world
    }

    /// Reaches the server at `address` from now on.
    fn move_to(&mut self, address: SocketAddr) {
        self.server.address = address;
        write(&self.home.path().join("known_hosts"), &self.server.known_hosts_line());
    }

    fn host(&self, fingerprint: Option<String>) -> Host {
        let address = Address::Ssh {
            host: self.server.address.ip().to_string(),
            user: Some("deploy".to_owned()),
            port: Some(self.server.address.port()),
            fingerprint,
        };
        Host { name: "web1".to_owned(), address, roles: Vec::new() }
    }

    async fn connect_to(&self, host: &Host) -> Result<Arc<dyn Session>, SessionError> {
        let around = around(self.home.path(), "/nonexistent/ssh");
        soon(connector(&self.user, &self.settings, around).connect(host)).await
    }

    async fn connect(&self) -> Result<Arc<dyn Session>, SessionError> {
        self.connect_to(&self.host(None)).await
    }

    async fn session(&self) -> Arc<dyn Session> {
        self.connect().await.unwrap_or_else(|error| panic!("{}", told(&error)))
    }

    /// Returns an error without the parts that differ from run to run.
    fn told(&self, error: &SessionError) -> String {
        let port = self.server.address.port().to_string();
        told(error)
            .replace(&fingerprint(&self.server.host_key), "SHA256:HOST")
            .replace(&port, "PORT")
            .replace(self.home.path().to_str().unwrap(), "HOME")
    }
}

async fn world() -> World {
    World::new(ServerFaults::default()).await
}

#[tokio::test]
async fn commands_return_output_and_exit() {
    let world = world().await;
    let session = world.session().await;
    let text = |ran: Ran| ran.text();
    assert_snapshot!(text(run(&*session, "echo $GREETING; echo no >&2; exit 7", b"").await), @r#"out="hello\n" err="no\n" exited with code 7"#);
    assert_snapshot!(text(run(&*session, "tr a-z A-Z", b"shout").await), @r#"out="SHOUT" err="" exited with code 0"#);
    assert_snapshot!(text(run(&*session, "kill -KILL $$", b"").await), @r#"out="" err="" was ended by SIGKILL"#);
    assert_snapshot!(text(run(&*session, "kill -TERM $$", b"").await), @r#"out="" err="" was ended by SIGTERM"#);
    assert_eq!(
        (world.server.connections(), world.server.logins(), world.server.execs()),
        (1, 1, 4)
    );
    assert_eq!(world.user.notices(), "there is no `ssh` here to ask, so ssh_config is not read");
}

#[tokio::test]
async fn many_bytes_pass_both_ways_unchanged() {
    let world = world().await;
    let session = world.session().await;
    let bytes = random_bytes(8 << 20);
    let ran = run(&*session, "cat", &bytes).await;
    assert!(ran.out == bytes && ran.exit == Some(Exit::Code(0)), "{} bytes", ran.out.len());
}

#[tokio::test]
async fn further_connection_is_silent_and_makes_no_more() {
    let world = World::new(ServerFaults { max_sessions: Some(1), ..ServerFaults::default() }).await;
    let session = world.session().await;
    assert!(session.round_trip().await.is_some_and(|trip| trip < Duration::from_secs(1)));
    let further = session.another().await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!((world.server.connections(), world.server.logins()), (2, 2));
    assert_eq!(world.user.notices(), "there is no `ssh` here to ask, so ssh_config is not read");
    let only = further.exec("cat").await.unwrap();
    assert!(matches!(further.exec("cat").await, Err(SessionError::ChannelRefused { .. })));
    assert_eq!(world.server.connections(), 2);
    drop(only);
    let running = session.exec("cat").await.unwrap();
    let again = session.exec("cat").await.unwrap();
    assert_eq!(world.server.connections(), 3, "the first one makes a second where it must");
    drop((running, again));
}

#[tokio::test]
async fn closed_session_is_lost() {
    let world = world().await;
    let session = world.session().await;
    let running = session.exec("cat").await.unwrap();
    soon(session.close()).await;
    assert_eq!(soon(collect(running.output)).await.exit, None);
    assert!(matches!(session.exec("true").await, Err(SessionError::Lost { .. })));
}

#[tokio::test]
async fn unknown_host_key_is_refused() {
    let world = world().await;
    write(&world.home.path().join("known_hosts"), "");
    let error = refusal(world.connect().await);
    assert!(matches!(&error, SessionError::HostKeyUnknown { other: None, .. }), "{error:?}");
    assert_snapshot!(world.told(&error), @"
    the host key is not known
    hint: compare the fingerprint with the host's own, then connect once by hand: `ssh -i HOME/key -o UserKnownHostsFile=HOME/known_hosts -p PORT deploy@127.0.0.1 true`
    ");
    assert_eq!(world.server.logins(), 0);
}

#[tokio::test]
async fn changed_host_key_is_refused_with_file_and_line() {
    let (world, other) = (world().await, world().await);
    let wrong = other.server.known_hosts_line().replace(
        &other.server.address.port().to_string(),
        &world.server.address.port().to_string(),
    );
    write(&world.home.path().join("known_hosts"), &format!("# a comment\n\n{wrong}"));
    let error = refusal(world.connect().await);
    assert!(matches!(&error, SessionError::HostKeyChanged { line: 3, .. }), "{error:?}");
    assert_snapshot!(world.told(&error), @"
    the host key is not the one on record
    hint: if the host was rebuilt, run `ssh-keygen -R '[127.0.0.1]:PORT' -f 'HOME/known_hosts'` and connect once by hand: `ssh -i HOME/key -o UserKnownHostsFile=HOME/known_hosts -p PORT deploy@127.0.0.1 true`
    ");
}

#[tokio::test]
async fn pinned_fingerprint_replaces_known_hosts() {
    let world = world().await;
    write(&world.home.path().join("known_hosts"), "");
    let host = world.host(Some(fingerprint(&world.server.host_key)));
    assert!(world.connect_to(&host).await.is_ok());
    let error = refusal(world.connect_to(&world.host(Some("SHA256:other".to_owned()))).await);
    assert!(matches!(&error, SessionError::HostKeyNotPinned { .. }), "{error:?}");
}

#[tokio::test]
async fn accept_new_records_an_unknown_key_once() {
    let mut world = world().await;
    world.settings.host_keys = Some(HostKeys::AcceptNew);
    let file = world.home.path().join("made/known_hosts");
    world.settings.known_hosts = Some(file.clone());
    world.session().await.close().await;
    world.session().await.close().await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), world.server.known_hosts_line());
    assert!(world.user.notices().contains("new host key SHA256:"), "{}", world.user.notices());
}

#[tokio::test]
async fn refused_key_is_named() {
    let world = World::new(ServerFaults {
        banner: Some("\u{1b}[31mGo away\u{7}\n".to_owned()),
        ..ServerFaults::default()
    })
    .await;
    let other = Embedded::start(ServerOptions::default()).await.unwrap();
    write(&world.home.path().join("key"), &other.client_key_file());
    let error = refusal(world.connect().await);
    let print = fingerprint(other.client_key.public_key());
    assert_snapshot!(world.told(&error).replace(&print, "SHA256:KEY"), @"
    no key was accepted for deploy@127.0.0.1:PORT
    tried: key file HOME/key SHA256:KEY: not accepted
    tried: the server says: Go away
    hint: `ssh -i HOME/key -o UserKnownHostsFile=HOME/known_hosts -p PORT deploy@127.0.0.1 true` shows which key works
    ");
}

#[tokio::test]
async fn key_missing_or_open_to_all_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = world().await;
    let key = world.home.path().join("key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refusal(world.connect().await);
    assert!(told(&error).contains("others may read it, `chmod 600` it"), "{}", told(&error));
    std::fs::remove_file(&key).unwrap();
    let error = refusal(world.connect().await);
    assert!(told(&error).contains("No such file"), "{}", told(&error));
}

#[tokio::test]
async fn writer_ends_with_the_command() {
    let world = World::new(ServerFaults { stop_reading: true, ..ServerFaults::default() }).await;
    let session = world.session().await;
    let Channel { mut input, output } = session.exec("sleep 0.3; exit 3").await.unwrap();
    let writing = tokio::spawn(async move {
        let bytes = random_bytes(1 << 20);
        loop {
            if let Err(error) = input.write_all(&bytes).await {
                return error.kind();
            }
        }
    });
    assert_eq!(soon(collect(output)).await.exit, Some(Exit::Code(3)));
    assert_eq!(soon(writing).await.unwrap(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn connection_cut_during_upload_is_lost_for_reader_and_writer() {
    let mut world = world().await;
    world.move_to(cut_after(3 << 20, world.server.address).await);
    let session = world.session().await;
    let ran = run(&*session, "cat >/dev/null", &random_bytes(16 << 20)).await;
    assert_eq!(ran.exit, None);
    assert!(matches!(session.exec("true").await, Err(SessionError::Lost { .. })));
}

#[tokio::test]
async fn missing_exit_status_is_no_success() {
    let world = World::new(ServerFaults { no_exit_status: true, ..ServerFaults::default() }).await;
    let session = world.session().await;
    assert_snapshot!(run(&*session, "echo done", b"").await.text(), @r#"out="done\n" err="" nobody knows how it ended"#);
}

#[tokio::test]
async fn background_child_with_the_output_open_does_not_block() {
    let world = world().await;
    let session = world.session().await;
    let began = Instant::now();
    let ran = run(&*session, "sleep 20 & echo started; exit 4", b"").await;
    assert_snapshot!(ran.text(), @r#"out="started\n" err="" exited with code 4"#);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn unread_output_blocks_no_other_channel_and_stays_whole() {
    let world = world().await;
    let session = world.session().await;
    let unread = session.exec("head -c 12000000 /dev/zero").await.unwrap();
    for _ in 0..3 {
        assert_eq!(run(&*session, "echo hi", b"").await.out, b"hi\n");
    }
    let ran = soon(collect(unread.output)).await;
    assert_eq!((ran.out.len(), ran.exit), (12_000_000, Some(Exit::Code(0))));
}

#[tokio::test]
async fn endless_unread_output_is_abandoned() {
    let world = world().await;
    let session = world.session().await;
    let unread = session.exec("cat /dev/zero").await.unwrap();
    soon(async {
        while !unread.output.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(soon(collect(unread.output)).await.exit, None);
    assert_eq!(run(&*session, "echo hi", b"").await.out, b"hi\n");
}

#[tokio::test]
async fn refused_second_channel_opens_a_second_connection() {
    let world = World::new(ServerFaults { max_sessions: Some(1), ..ServerFaults::default() }).await;
    let session = world.session().await;
    let first = session.exec("cat").await.unwrap();
    assert_eq!(run(&*session, "echo second", b"").await.out, b"second\n");
    assert_eq!(run(&*session, "echo third", b"").await.out, b"third\n");
    assert_eq!(world.server.logins(), 2);
    assert!(world.user.notices().contains("a second connection is made"));
    drop(first.input);
    assert_eq!(soon(collect(first.output)).await.exit, Some(Exit::Code(0)));
}

#[tokio::test]
async fn server_without_channels_is_an_error() {
    let world = World::new(ServerFaults { max_sessions: Some(0), ..ServerFaults::default() }).await;
    let session = world.session().await;
    let error = soon(session.exec("true")).await.err().unwrap();
    assert_snapshot!(told(&error), @"
    the server refused a channel: ConnectFailed
    hint: raise `MaxSessions` in the host's sshd_config
    ");
}

#[tokio::test]
async fn forwarding_reaches_loopback_of_the_host() {
    let world = world().await;
    let session = world.session().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while bytes.len() < 1_000_000 {
            let count = stream.read(&mut buffer).await.unwrap();
            bytes.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(&bytes).await.unwrap();
    });
    let bytes = random_bytes(1_000_000);
    let stream = soon(session.dial("127.0.0.1", port)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut got = Vec::new();
    soon(async { tokio::join!(writer.write_all(&bytes), reader.read_to_end(&mut got)) })
        .await
        .0
        .unwrap();
    assert!(got == bytes, "{} bytes", got.len());
    echo.await.unwrap();
    let closed = soon(session.dial("127.0.0.1", port)).await.err().unwrap();
    assert!(matches!(closed, SessionError::DialRefused { forbidden: false, .. }), "{closed:?}");
}

#[tokio::test]
async fn forbidden_forwarding_differs_from_a_closed_port() {
    let world = World::new(ServerFaults { no_forwarding: true, ..ServerFaults::default() }).await;
    let session = world.session().await;
    let error = soon(session.dial("127.0.0.1", 1)).await.err().unwrap();
    assert_snapshot!(told(&error), @"
    the server would not connect to 127.0.0.1:1: forwarding is forbidden there
    hint: `AllowTcpForwarding local` in the host's sshd_config allows it
    ");
}

#[tokio::test]
async fn silent_port_times_out() {
    let mut world = world().await;
    world.move_to(garbage(Vec::new()).await);
    let began = Instant::now();
    let error = refusal(world.connect().await);
    assert_snapshot!(world.told(&error), @"
    the SSH handshake with 127.0.0.1:PORT took longer than 2s
    hint: `connect_timeout` in [ssh] says how long it may take
    ");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn garbage_instead_of_ssh_is_an_error() {
    for text in
        [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), b"line\r\n".repeat(40), random_bytes(9000)]
    {
        let mut world = world().await;
        world.move_to(garbage(text).await);
        let error = refusal(world.connect().await);
        assert!(
            matches!(error, SessionError::Handshake { .. } | SessionError::Timeout { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn resetting_and_closed_ports_are_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = world().await;
    world.server.address = listener.local_addr().unwrap();
    let resetting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Unread bytes make the kernel send a reset.
            stream.readable().await.unwrap();
            drop(stream);
        }
    });
    let error = refusal(world.connect().await);
    assert!(matches!(error, SessionError::Handshake { .. }), "{error:?}");
    resetting.abort();
    let _ = resetting.await;
    let error = refusal(world.connect().await);
    assert!(matches!(error, SessionError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn passphrase_is_asked_once_for_all_hosts() {
    let mut world = world().await;
    let mut rng = russh::keys::key::safe_rng();
    let locked = world.server.client_key.encrypt(&mut rng, "open sesame").unwrap();
    let text = locked.to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap();
    write(&world.home.path().join("key"), &text);
    let error = refusal(world.connect().await);
    assert!(told(&error).contains("it needs a passphrase, and there is no terminal"));
    world.user.passphrase = Some("open sesame");
    world.user.asked.lock().unwrap().clear();
    let connector =
        connector(&world.user, &world.settings, around(world.home.path(), "/nonexistent/ssh"));
    let host = world.host(None);
    let all = futures::future::join_all((0..4).map(|_| connector.connect(&host)));
    assert!(soon(all).await.iter().all(Result::is_ok));
    assert_eq!(world.user.asked(), 1);
}

#[tokio::test]
async fn too_long_command_is_refused_locally() {
    let world = world().await;
    let session = world.session().await;
    let error = session.exec(&"x".repeat(200_000)).await.err().unwrap();
    assert!(told(&error).contains("a command of 200000 bytes is too long"));
    assert_eq!(run(&*session, "echo still here", b"").await.out, b"still here\n");
}
