//! A setting is obeyed or refused: options of ssh_config and `[ssh]` against OpenSSH.

use std::os::unix::fs::PermissionsExt as _;

use shipit::config::HostKeys;
use shipit::remote::session::SessionError;
use shipit::ssh::expand::LocalEnv;
use shipit::ssh::given::GivenTexts;
use shipit::ssh::options::SshAnswers;
use shipit::ssh::ssh_config::{HostSettings, KeyPolicy, read_answer};
use shipit::ssh::target::SshTarget;

use crate::support::ssh::{around, refusal, soon, told, write};
use crate::support::sshd::{SshAgent, SshDir, Sshd, must, present, web};

/// The error of `ssh_config` with `more` in it.
async fn refused(place: &SshDir, port: u16, more: &str) -> String {
    place.config(port, more);
    told(&refusal(place.connect("web").await))
}

#[tokio::test]
async fn host_key_policy_of_deploy_toml_beats_ssh_config() {
    use HostKeys::{AcceptNew, Strict};
    let Some((mut place, sshd)) = web("") else { return };
    for (ours, theirs, accepted) in [
        (Some(Strict), "accept-new", false),
        (Some(Strict), "yes", false),
        (Some(AcceptNew), "yes", true),
        (None, "accept-new", true),
        (None, "yes", false),
        (Some(AcceptNew), "no", true),
        (None, "no", false),
    ] {
        write(&place.path("known_hosts"), "");
        place.settings.host_keys = ours;
        place.config(sshd.port, &format!("StrictHostKeyChecking {theirs}"));
        place.user.warnings.lock().unwrap().clear();
        let connected = place.connect("web").await;
        assert_eq!(connected.is_ok(), accepted, "{ours:?} {theirs}");
        assert_eq!(!place.text("known_hosts").is_empty(), accepted, "{ours:?} {theirs}");
        let notices = place.user.warnings();
        assert_eq!(notices.contains("new host key SHA256:"), accepted, "{notices}");
    }
    assert!(place.user.warnings().contains("StrictHostKeyChecking no"));
}

#[tokio::test]
async fn tilde_works_in_every_path() {
    let Some((mut place, sshd)) = web("") else { return };
    place.config(sshd.port, "");
    let config = place.text("config");
    let bare = config
        .lines()
        .filter(|line| !line.contains("UserKnownHostsFile") && !line.contains("IdentityFile"));
    write(&place.path("own"), &bare.collect::<Vec<_>>().join("\n"));
    place.settings.config = Some("~/own".into());
    place.settings.identity_file = Some("~/id".into());
    place.settings.known_hosts = Some("~/known_hosts".into());
    place.session().await;
    // A changed key is not a new key, also in a file that is named.
    place.settings.host_keys = Some(HostKeys::AcceptNew);
    place.keygen("other", &["-t", "ed25519"]);
    write(&place.path("known_hosts"), "");
    place.know(sshd.port, "other");
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::HostKeyChanged { .. }), "{error:?}");
    assert!(!place.path("~").exists());
}

#[tokio::test]
async fn missing_known_hosts_file_is_created_only_for_new_keys() {
    let Some((mut place, sshd)) = web("") else { return };
    place.config(sshd.port, "");
    let file = place.path("elsewhere");
    place.settings.known_hosts = Some(file.clone());
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("elsewhere cannot be used: there is no such file"), "{text}");
    place.settings.host_keys = Some(HostKeys::AcceptNew);
    place.session().await;
    assert!(file.exists() && place.user.warnings().contains("elsewhere"));
}

#[tokio::test]
async fn revoked_keys_and_unreadable_lists_are_refused() {
    let Some((mut place, sshd)) = web("") else { return };
    let option = "RevokedHostKeys DIR/revoked";
    place.keygen("other", &["-t", "ed25519"]);
    write(&place.path("revoked"), &place.text("other.pub"));
    place.config(sshd.port, option);
    place.session().await;
    write(
        &place.path("revoked"),
        &format!("# x\n{}{}", place.text("other.pub"), place.text("host.pub")),
    );
    let text = refused(&place, sshd.port, option).await;
    assert!(text.starts_with("the host key is revoked"), "{text}");
    place.settings.host_keys = Some(HostKeys::AcceptNew);
    write(&place.path("known_hosts"), "");
    let text = refused(&place, sshd.port, option).await;
    assert!(text.starts_with("the host key is revoked"), "{text}");
    assert_eq!(place.text("known_hosts"), "");
    let (krl, key) = (place.path("krl"), place.path("host.pub"));
    must("ssh-keygen", &["-q", "-k", "-f", krl.to_str().unwrap(), key.to_str().unwrap()]);
    let text = refused(&place, sshd.port, "RevokedHostKeys DIR/krl").await;
    assert!(text.contains("binary form (KRL), which is not supported"), "{text}");
    let text = refused(&place, sshd.port, "RevokedHostKeys DIR/none").await;
    assert!(text.contains("none cannot be used: No such file"), "{text}");
}

#[tokio::test]
async fn unsupported_options_are_refused_by_name() {
    let Some((place, sshd)) = web("") else { return };
    for (option, word) in [
        ("KnownHostsCommand /bin/echo x", "KnownHostsCommand /bin/echo x cannot be used"),
        ("PubkeyAuthentication no", "PubkeyAuthentication"),
        ("PreferredAuthentications password", "PreferredAuthentications password"),
        ("BindInterface lo", "BindInterface lo"),
        ("ProxyUseFdpass yes", "ProxyUseFdpass yes"),
        ("Ciphers aes128-cbc", "Ciphers aes128-cbc cannot be used: none of them is supported"),
        ("HostKeyAlgorithms ssh-dss", ""),
    ] {
        let text = refused(&place, sshd.port, option).await;
        assert!(text.contains(word), "{option}: {text}");
        assert!(!sshd.said().contains("Accepted"), "{option}");
    }
}

#[tokio::test]
async fn algorithm_lists_are_followed() {
    let Some((place, sshd)) = web("LogLevel DEBUG1\nCASignatureAlgorithms +ssh-rsa") else {
        return;
    };
    for (option, logged) in [
        ("Ciphers aes256-ctr,aes128-cbc", "cipher: aes256-ctr"),
        ("MACs hmac-sha2-256\n  Ciphers aes128-ctr", "MAC: hmac-sha2-256 "),
        ("KexAlgorithms ecdh-sha2-nistp384", "kex: algorithm: ecdh-sha2-nistp384"),
        (
            "KexAlgorithms ecdh-sha2-nistp521,sntrup761x25519-sha512@openssh.com",
            "kex: algorithm: ecdh-sha2-nistp521",
        ),
        ("HostKeyAlgorithms +ssh-rsa", "host key algorithm: ssh-ed25519"),
    ] {
        place.config(sshd.port, option);
        place.session().await;
        assert!(sshd.said().contains(logged), "{option}: no {logged} in {}", sshd.said());
    }
    let text = refused(&place, sshd.port, "HostKeyAlgorithms rsa-sha2-512").await;
    assert!(text.contains("no common Key algorithm"), "{text}");
    let text = refused(&place, sshd.port, "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256").await;
    assert!(text.contains("PubkeyAcceptedAlgorithms leaves it out"), "{text}");
}

#[tokio::test]
async fn small_rsa_keys_are_refused_on_both_sides() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("rsa", &["-t", "rsa", "-b", "2048"]);
    let sshd = Sshd::start(&place, "HostKey DIR/rsa");
    place.know(sshd.port, "rsa");
    place.config(sshd.port, "");
    place.session().await;
    let text = refused(&place, sshd.port, "RequiredRSASize 3072").await;
    assert!(text.contains("an RSA key of 2048 bits, and RequiredRSASize is 3072"), "{text}");
    let sshd = Sshd::start(&place, "HostKey DIR/host");
    place.know(sshd.port, "host");
    place.trust("rsa");
    let option = "RequiredRSASize 3072\n  IdentityFile DIR/rsa";
    let text = refused(&place, sshd.port, option).await;
    assert!(text.contains("RequiredRSASize is 3072"), "{text}");
    place.config(sshd.port, "PubkeyAcceptedAlgorithms rsa-sha2-256\n  IdentityFile DIR/rsa");
    place.session().await;
}

#[tokio::test]
async fn bind_address_and_address_family_are_followed() {
    let Some((place, sshd)) = web("") else { return };
    place.config(sshd.port, "BindAddress 127.0.0.2\n  AddressFamily inet");
    place.session().await;
    assert!(sshd.said().contains("Connection from 127.0.0.2"), "{}", sshd.said());
    let text = refused(&place, sshd.port, "AddressFamily inet6").await;
    assert!(text.contains("AddressFamily and BindAddress"), "{text}");
    let text = refused(&place, sshd.port, "BindAddress 192.0.2.1").await;
    assert!(text.contains("could not connect"), "{text}");
}

#[tokio::test]
async fn host_certificate_signed_with_sha1_is_refused() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("ca", &["-t", "rsa", "-b", "2048"]);
    let certify = |kind: &str| {
        let (ca, public) = (place.path("ca"), place.path("host.pub"));
        let (ca, public) = (ca.to_str().unwrap(), public.to_str().unwrap());
        must(
            "ssh-keygen",
            &["-q", "-t", kind, "-s", ca, "-I", "h", "-h", "-n", "127.0.0.1", public],
        );
    };
    let serve = || Sshd::start(&place, "HostKey DIR/host\nHostCertificate DIR/host-cert.pub");
    let authority = format!("@cert-authority * {}", place.text("ca.pub"));
    write(&place.path("known_hosts"), &authority);
    certify("ssh-rsa");
    let sshd = serve();
    let text = refused(&place, sshd.port, "").await;
    assert!(text.contains("it is signed with ssh-rsa, which is not accepted"), "{text}");
    certify("rsa-sha2-256");
    let sshd = serve();
    place.config(sshd.port, "");
    place.session().await;
    let text = refused(&place, sshd.port, "CASignatureAlgorithms ssh-ed25519").await;
    assert!(text.contains("it is signed with rsa-sha2-256, which is not accepted"), "{text}");
    let text = refused(&place, sshd.port, "RequiredRSASize 3072").await;
    assert!(text.contains("its authority's key is too weak"), "{text}");
    // As in ssh: the key itself may be on record.
    place.know(sshd.port, "host");
    place.config(sshd.port, "CASignatureAlgorithms ssh-ed25519");
    place.session().await;
}

#[tokio::test]
async fn key_under_the_bare_name_holds_for_every_port() {
    let Some((place, sshd)) = web("") else { return };
    place.keygen("other", &["-t", "ed25519"]);
    for (names, found) in [
        ("127.0.0.1", true),
        ("127.0.0.*", true),
        ("[127.0.0.1]:1", false),
        ("@revoked 127.0.0.1", false),
    ] {
        write(&place.path("known_hosts"), &format!("{names} {}", place.text("host.pub")));
        assert_eq!(place.connect("web").await.is_ok(), found, "{names}");
    }
    let bare = format!("127.0.0.1 {}", place.text("host.pub"));
    write(&place.path("known_hosts"), &bare);
    place.know(sshd.port, "other");
    let error = refusal(place.connect("web").await);
    assert!(matches!(error, SessionError::HostKeyChanged { .. }), "{error:?}");
}

#[tokio::test]
async fn new_keys_are_never_written_to_the_global_file() {
    let Some((place, sshd)) = web("") else { return };
    write(&place.path("global"), "");
    place.config(sshd.port, "");
    let config = place.text("config");
    let config = config.replace("GlobalKnownHostsFile none", "GlobalKnownHostsFile DIR/global");
    let user = format!("UserKnownHostsFile {}/known_hosts", place.dir.path().display());
    let config =
        config.replace(&user, "UserKnownHostsFile none\n  StrictHostKeyChecking accept-new");
    let config = config.replace("DIR", place.dir.path().to_str().unwrap());
    write(&place.path("config"), &config);
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("nowhere to write"), "{text}");
    assert_eq!(place.text("global"), "");
}

#[tokio::test]
async fn public_key_file_names_a_key_of_the_agent() {
    let Some((mut place, sshd)) = web("") else { return };
    let others: Vec<String> = (0..6).map(|n| format!("k{n}")).collect();
    for name in &others {
        place.keygen(name, &["-t", "ed25519"]);
    }
    let mut held: Vec<&str> = others.iter().map(String::as_str).collect();
    held.push("id");
    let agent = SshAgent::start(&mut place, &held);
    std::fs::rename(place.path("id"), place.path("hidden")).unwrap();
    std::fs::set_permissions(place.path("id.pub"), std::fs::Permissions::from_mode(0o644)).unwrap();
    for only in ["yes", "no"] {
        place.config(sshd.port, "");
        let config = place.text("config").replace("/id\n", "/id.pub\n");
        let config = config.replace("IdentitiesOnly yes", &format!("IdentitiesOnly {only}"));
        write(&place.path("config"), &config);
        place.session().await;
    }
    assert_eq!(sshd.count("Failed publickey"), 0, "the named key comes first");
    // A private key that others may read is not read, because the agent has it.
    std::fs::rename(place.path("hidden"), place.path("id")).unwrap();
    std::fs::set_permissions(place.path("id"), std::fs::Permissions::from_mode(0o644)).unwrap();
    place.config(sshd.port, "");
    place.session().await;
    drop(agent);
    place.agent = None;
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("others may read it"), "{text}");
    let config = place.text("config").replace("/id\n", "/id.pub\n");
    write(&place.path("config"), &config);
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("it is a public key, and no agent holds the private one"), "{text}");
}

#[tokio::test]
async fn key_from_a_pipe_is_read_once() {
    let Some((mut place, _sshd)) = web("MaxSessions 1") else { return };
    let pipe = place.path("pipe");
    must("mkfifo", &["-m", "600", pipe.to_str().unwrap()]);
    place.settings.identity_file = Some(pipe.clone());
    let key = place.text("id");
    let writing = std::thread::spawn(move || std::fs::write(pipe, key));
    let session = place.session().await;
    writing.join().unwrap().unwrap();
    assert!(soon(session.another()).await.is_ok(), "the key is kept");
}

#[tokio::test]
async fn bad_key_is_explained_without_its_content() {
    let Some((place, _sshd)) = web("") else { return };
    let key = place.text("id");
    std::fs::rename(place.path("id.pub"), place.path("id.pub.copy")).unwrap();
    let lines = |with: &str| key.trim().lines().collect::<Vec<_>>().join(with);
    let secret = key.lines().nth(2).unwrap()[..20].to_owned();
    for (text, why) in [
        (String::new(), "it is empty"),
        (lines(" "), "its line ends are lost"),
        (lines("\\n"), "its line ends are written as `\\n`"),
        (format!("\u{feff}{key}"), "byte order mark"),
        (format!("\"{key}\""), "it stands in quotes"),
        (place.text("id.pub.copy"), "it is a public key"),
        (base64(&place), "it is a key in base64"),
        ("nonsense".to_owned(), "it has no line `-----BEGIN"),
        (key.lines().take(3).collect::<Vec<_>>().join("\n"), "its end is missing"),
    ] {
        write(&place.path("id"), &text);
        match place.connect("web").await {
            Ok(_) => panic!("{why}: it was taken"),
            Err(error) => {
                let told = told(&error);
                assert!(told.contains(why) && !told.contains(&secret), "{why}: {told}");
            }
        }
    }
}

/// The texts of one key, in the forms that programs write and after what CI systems do to them.
#[tokio::test]
async fn key_and_known_hosts_are_taken_as_text() {
    let Some((place, sshd)) = web("") else { return };
    let known = place.text("known_hosts").replace('\n', "\r\n");
    write(&place.path("known_hosts"), "");
    std::fs::remove_file(place.path("id")).unwrap();
    for (name, args, openssl) in [
        ("ed25519", "-t ed25519", None),
        ("ecdsa", "-t ecdsa -m PEM", Some("pkcs8 -topk8 -nocrypt")),
        ("rsa", "-t rsa -b 2048 -m PEM", Some("pkcs8 -topk8 -nocrypt")),
    ] {
        place.keygen(name, &args.split(' ').collect::<Vec<_>>());
        place.trust(name);
        let key = place.text(name);
        let pkcs8 = openssl.map(|how| {
            let file = place.path(name);
            let args = format!("{how} -in {}", file.display());
            must("openssl", &args.split(' ').collect::<Vec<_>>())
        });
        let forms = [
            Some(key.clone()),
            Some(key.trim_end().replace('\n', "\r\n")),
            Some(key.replace('\n', "\n    ")),
            pkcs8,
        ];
        for text in forms.into_iter().flatten() {
            let session = place.connect_given(&text, &known).await;
            assert!(session.is_ok(), "{name}: {}", told(&session.err().unwrap()));
        }
    }
    assert_eq!(place.user.asked(), 0);
    place.trust("id");
    let key = place.text("ecdsa");
    let text = told(&refusal(place.connect_given(&key, &known).await));
    assert!(text.contains("key of SHIPIT_SSH_KEY SHA256:"), "{text}");
    let other = known.replace(&format!("]:{}", sshd.port), "]:1");
    let text = told(&refusal(place.connect_given(&key, &other).await));
    assert!(text.contains("not known") && text.contains("into SHIPIT_KNOWN_HOSTS"), "{text}");
}

#[test]
fn text_that_is_no_key_is_told_without_its_content() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("locked", &["-t", "ed25519", "-N", "open sesame"]);
    let key = place.text("id");
    let secret = key.lines().nth(2).unwrap()[..20].to_owned();
    for (text, why) in [
        (key.replace('\n', "\\n"), "its line ends are written as `\\n`"),
        (key.replace('\n', " "), "its line ends are lost"),
        (key.replacen(&secret, "", 1), "it is damaged: "),
        (place.text("id.pub"), "it is a public key"),
        (place.text("locked"), "it is encrypted, and nobody is there to ask"),
    ] {
        let variable = |name: &str| (name == "SHIPIT_SSH_KEY").then(|| text.clone());
        let error = GivenTexts::read(&variable).unwrap_err().to_string();
        assert!(error.starts_with("SHIPIT_SSH_KEY cannot be used: "), "{error}");
        assert!(error.contains(why) && !error.contains(&secret), "{why}: {error}");
    }
}

fn base64(place: &SshDir) -> String {
    must("base64", &[place.path("id").to_str().unwrap()])
}

#[tokio::test]
async fn working_key_is_offered_first_later() {
    let Some((mut place, sshd)) = web("") else { return };
    let _agent = SshAgent::with_new_keys(&mut place, 4);
    place.trust("k3");
    place.config(sshd.port, "IdentitiesOnly no");
    let session = place.session().await;
    let refused = sshd.count("Failed publickey");
    soon(session.another()).await.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(sshd.count("Failed publickey"), refused);
}

#[tokio::test]
async fn directory_accounts_may_have_odd_names() {
    let Some((mut place, sshd)) = web("") else { return };
    place.config(sshd.port, "");
    let config = place.text("config");
    let lines = config.split_inclusive('\n').filter(|line| !line.contains("User "));
    let config: String = lines.collect();
    write(&place.path("config"), &config);
    for user in ["CORP\\alice", "svc$", "alice@corp.example"] {
        place.settings.user = Some(user.to_owned());
        let error = refusal(place.connect("web").await);
        assert!(
            matches!(&error, SessionError::Auth { user: asked, .. } if asked == user),
            "{error:?}"
        );
    }
    write(&place.path("config"), &format!("{config}  ProxyCommand nc %h %p %r\n"));
    place.settings.user = Some("svc$(id)".to_owned());
    assert!(matches!(refusal(place.connect("web").await), SessionError::Setting { .. }));
    place.settings.user = Some("svc$".to_owned());
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("it holds characters"), "only a shell would read them: {text}");
}

#[tokio::test]
async fn hints_repeat_resolved_settings() {
    let Some((mut place, sshd)) = web("") else { return };
    write(&place.path("known_hosts"), "");
    place.config(sshd.port, "HostKeyAlias production-web");
    place.settings.identity_file = Some(place.path("id"));
    place.settings.known_hosts = Some(place.path("known_hosts"));
    let text = told(&refusal(place.connect("web").await));
    let dir = place.dir.path().display();
    let hint = format!(
        "by hand: `ssh -F {dir}/config -i {dir}/id -o UserKnownHostsFile={dir}/known_hosts web true`"
    );
    assert!(text.ends_with(&hint), "{text}");
}

#[tokio::test]
async fn match_exec_may_take_as_long_as_connecting() {
    let Some((mut place, sshd)) = web("") else { return };
    place.config(sshd.port, "");
    let config = format!("Match exec \"sleep 11\"\n{}", place.text("config"));
    write(&place.path("config"), &config);
    let text = told(&refusal(place.connect("web").await));
    assert!(text.contains("`ssh -G web` took longer than 10s"), "{text}");
    place.settings.connect_timeout = Some(std::time::Duration::from_secs(25));
    place.session().await;
}

#[tokio::test]
async fn pinned_key_may_be_any_key_of_the_host() {
    let Some(place) = present().then(SshDir::new) else { return };
    place.keygen("rsa", &["-t", "rsa", "-b", "2048"]);
    let sshd = Sshd::start(&place, "HostKey DIR/host\nHostKey DIR/rsa");
    place.config(sshd.port, "");
    let print = |key: &str| {
        let file = place.path(&format!("{key}.pub"));
        let line = must("ssh-keygen", &["-lf", file.to_str().unwrap()]);
        line.split(' ').nth(1).unwrap().to_owned()
    };
    for key in ["host", "rsa"] {
        assert!(place.connect_pinned(&print(key)).await.is_ok(), "{key}");
    }
    let error = refusal(place.connect_pinned(&print("id")).await);
    let SessionError::HostKeyNotPinned { kind, .. } = &error else { panic!("{}", told(&error)) };
    assert_eq!(kind, "ssh-ed25519", "the first that it showed is named");
}

#[tokio::test]
async fn option_that_leaves_no_common_algorithm_is_named() {
    let Some(place) = present().then(SshDir::new) else { return };
    let sshd = Sshd::start(&place, "KexAlgorithms curve25519-sha256");
    place.know(sshd.port, "host");
    place.config(sshd.port, "");
    place.session().await;
    let text = refused(&place, sshd.port, "KexAlgorithms diffie-hellman-group16-sha512").await;
    assert!(text.contains("KexAlgorithms diffie-hellman-group16-sha512"), "{text}");
}

/// Returns the settings that `ssh -G web` stands for, as read by a user whose home is `/home/me`.
fn settings(answer: &str) -> HostSettings {
    let target = SshTarget { host: "web".into(), user: None, port: None };
    let env = [("SSH_AUTH_SOCK".to_owned(), "/run/agent".to_owned())].into();
    let around = LocalEnv {
        cwd: "/project".into(),
        hostname: "laptop.example.net".to_owned(),
        env,
        ..around("/home/me".as_ref(), "ssh")
    };
    read_answer(&SshAnswers::read(answer, answer), &target, &around).unwrap()
}

#[test]
fn tokens_and_tilde_in_settings_are_expanded() {
    let host = settings(
        "hostname web.example.net\nuser deploy\nport 2222\nidentityfile ~/.ssh/%r@%h-%p\n\
         identityfile %d/keys/%n.%L%%\nidentityfile rel\nproxycommand nc %h %p",
    );
    let files: Vec<_> = host.identity_files.iter().map(|path| path.to_string_lossy()).collect();
    assert_eq!(
        files,
        ["/home/me/.ssh/deploy@web.example.net-2222", "/home/me/keys/web.laptop%", "/project/rel"]
    );
    assert_eq!(host.proxy_command.as_deref(), Some("nc web.example.net 2222"));
    assert_eq!(host.address(), "web.example.net:2222");
}

#[test]
fn identity_agent_is_read_in_every_spelling() {
    let agent = |text: &str| settings(text).agent;
    assert_eq!(agent("port 22"), Some("/run/agent".into()));
    assert_eq!(agent("identityagent SSH_AUTH_SOCK"), Some("/run/agent".into()));
    assert_eq!(agent("identityagent $SSH_AUTH_SOCK"), Some("/run/agent".into()));
    assert_eq!(agent("identityagent ~/a"), Some("/home/me/a".into()));
    assert_eq!(agent("identityagent ~root/a"), Some("/root/a".into()));
    assert!(
        matches!(agent("identityagent ~nobody.here/a"), Some(path) if path.ends_with("~nobody.here/a"))
    );
    assert_eq!(agent("identityagent none"), None);
}

#[test]
fn host_key_policy_is_read_in_every_spelling() {
    for (text, policy) in [
        ("ask", KeyPolicy::Strict),
        ("true", KeyPolicy::Strict),
        ("accept-new", KeyPolicy::AcceptNew),
        ("false", KeyPolicy::NoAsStrict),
    ] {
        assert_eq!(settings(&format!("stricthostkeychecking {text}")).policy, policy);
    }
}
