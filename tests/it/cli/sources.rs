//! Artifacts from elsewhere: private servers, proxies, stores, what is named by the source, and
//! what proves them.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use shipit::model::digest::Digest;

use crate::support::archives::{Style, file, gzip, tar_of, tree};
use crate::support::bytes::random_text;
use crate::support::files::{FileServer, Reply, S3Server, cut_once, plain, tunnelling_proxy};
use crate::support::health::certificates;
use crate::support::project::Project;

/// A stage that is this machine, with this [artifact].
fn project(artifact: &str) -> Project {
    let project = Project::new();
    let root = project.path().display().to_string();
    project.write(
        "deploy.toml",
        &format!(
            "app = \"todo\"\ndeploy_to = \"{root}/srv\"\n\n[artifact]\n{artifact}\n\n\
             [stages.here]\nhosts = [\"local\"]\n"
        ),
    );
    project
}

/// An archive with VERSION, and a file that makes it this large.
fn archive(version: &str, size: usize) -> Vec<u8> {
    let noise = String::from_utf8(random_text(7, size)).unwrap();
    gzip(&tar_of(tree([("VERSION", file(version)), ("noise", file(&noise))]).iter(), Style::PLAIN))
}

fn deploy(project: &Project, vars: &[(&str, &str)]) -> String {
    let mut command = project.command("deploy here -q");
    command.env("SSL_CERT_FILE", certificates().join("own.pem"));
    command.envs(vars.iter().copied());
    project.said(&mut command)
}

const WELL: &str = "exit: 0\n--- stdout\n--- stderr\n";

/// The output, with the ports of servers masked.
fn masked(said: &str) -> String {
    let mut parts = said.split("127.0.0.1:");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text += "127.0.0.1:<port>";
        text += part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    text
}

fn has(request: &str, header: &str) -> bool {
    request.lines().any(|line| line == header)
}

#[test]
fn headers_go_to_their_own_server_and_no_further() {
    let body = archive("1", 10);
    let digest = Digest::of(&body);
    let elsewhere = FileServer::start(move |_| Reply::file(&body));
    let to = |place: &str| Reply {
        status: "302 Found".to_owned(),
        headers: vec![format!("Location: {place}")],
        ..Reply::default()
    };
    let (near, far) = (to("/next"), to(&elsewhere.url("/b.tgz?X-Sig=s")));
    let server =
        FileServer::start(
            move |head| {
                if head.starts_with("GET /api ") { near.clone() } else { far.clone() }
            },
        );
    let project = project(&format!(
        "path = \"{}\"\nsha256 = \"{digest}\"\nheaders = {{ PRIVATE-TOKEN = {{ env = \"TOKEN\" }}, \
         Authorization = \"Bearer public-part\" }}",
        server.url("/api")
    ));
    project.write(".netrc", "machine 127.0.0.1 login ada password l0gin\n");
    let said = deploy(&project, &[]);
    assert!(said.contains("the variable `TOKEN`, which is not set"), "{said}");
    assert_eq!(deploy(&project, &[("TOKEN", "t0ken-value")]), WELL);
    assert_eq!(project.read("srv/current/VERSION"), "1");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for request in &asked {
        assert!(has(request, "private-token: t0ken-value"), "{request}");
        assert!(has(request, "authorization: Bearer public-part"), "{request}");
    }
    let [request] = &elsewhere.asked()[..] else { panic!("asked once") };
    assert!(!request.contains("private-token") && !request.contains("Bearer"), "{request}");
    assert!(has(request, "authorization: Basic YWRhOmwwZ2lu"), "its own, of .netrc: {request}");
}

#[test]
fn header_of_the_file_is_not_sent_to_another_server_that_a_flag_names() {
    let body = archive("1", 10);
    let digest = Digest::of(&body);
    let server = FileServer::start(move |_| Reply::file(&body));
    let project = project(
        "path = \"https://git.example.net/a.tgz\"\nsha256.url = \"a.sha256\"\n\
         headers.PRIVATE-TOKEN = \"t0ken-value\"",
    );
    let line = format!("deploy here --artifact {} --sha256 {digest}", server.url("/a.tgz"));
    let mut command = project.command(&line);
    let said = project.said(command.env("SSL_CERT_FILE", certificates().join("own.pem")));
    assert!(said.contains("`headers` in [artifact] are for https://git.example.net"), "{said}");
    assert!(!server.asked()[0].contains("private-token"), "{said}");
}

#[test]
fn proxy_is_used_unless_no_proxy_names_the_host() {
    let body = archive("1", 10);
    let digest = Digest::of(&body);
    let server = FileServer::start(move |_| Reply::file(&body));
    let (port, asked) = tunnelling_proxy();
    let project = project(&format!("path = \"{}\"\nsha256 = \"{digest}\"", server.url("/a.tgz")));
    let proxy = format!("http://ada:pr0xy@127.0.0.1:{port}");
    assert_eq!(deploy(&project, &[("https_proxy", &proxy), ("no_proxy", "a.net,127.0.0.1")]), WELL);
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(deploy(&project, &[("HTTPS_PROXY", &proxy)]), WELL);
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].starts_with("CONNECT 127.0.0.1:"), "{asked:?}");
    assert!(has(&asked[0], "proxy-authorization: Basic YWRhOnByMHh5"), "{asked:?}");
    let gone = deploy(&project, &[("https_proxy", "http://ada:pr0xy@127.0.0.1:1")]);
    assert_snapshot!(masked(&gone), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch https://127.0.0.1:<port>/a.tgz through the proxy http://127.0.0.1:<port>
      cause: io: Connection refused (os error 111)
      state: nothing was changed
    ");
}

#[test]
fn page_and_refusal_are_said_to_be_one() {
    let server = FileServer::start(|head| match head.split(' ').nth(1).unwrap() {
        "/login" => Reply {
            headers: vec!["Content-Type: text/html".to_owned()],
            ..Reply::file(b"<!DOCTYPE html><title>Sign in\n \x1b[31m&amp; wait</title>")
        },
        "/json" => Reply {
            status: "401 Unauthorized".to_owned(),
            ..Reply::file(b"{\"message\": \"401 Unauthorized: t0ken-value\"}")
        },
        _ => Reply { status: "404 Not Found".to_owned(), ..Reply::default() },
    });
    let said = |path: &str, more: &str| {
        let digest = Digest::of(b"other");
        let project =
            project(&format!("path = \"{}\"\nsha256 = \"{digest}\"\n{more}", server.url(path)));
        masked(&deploy(&project, &[("TOKEN", "t0ken-value")]))
    };
    assert_snapshot!(said("/login", ""), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: https://127.0.0.1:<port>/login is a page of HTML, not the file that was meant: "Sign in \u{1b}[31m& wait"
      state: nothing was changed
      hint:  open it: servers send such a page to ask for a login or report an error
    "#);
    assert_snapshot!(said("/json", "headers.PRIVATE-TOKEN = { env = \"TOKEN\" }"), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch https://127.0.0.1:<port>/json: the server answered with status 401
      cause: 401 Unauthorized: [hidden]
      state: nothing was changed
      hint:  the server may not let this user or token see it; or it is not there (yet)
    ");
    assert_snapshot!(said("/gone", ""), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch https://127.0.0.1:<port>/gone: the server answered with status 404
      state: nothing was changed
      hint:  if it is private, `headers` in [artifact] can hold a token, or ~/.netrc a login
    ");
}

#[test]
fn digest_beside_the_artifact_is_fetched_and_checked() {
    let body = archive("1", 10);
    let sums = format!("{}  dist/a.tgz\n{}  b.tgz\n", Digest::of(&body), Digest::of(b"other"));
    let whole = body.clone();
    let server = FileServer::start(move |head| match head.split(' ').nth(1).unwrap() {
        "/x/a.tgz" | "/x/b.tgz" | "/x/c.tgz" => Reply::file(&whole),
        "/x/SHA256SUMS" => Reply::file(sums.as_bytes()),
        _ => Reply::file(b"<html><title>Gone</title>"),
    });
    let said = |name: &str, at: &str| {
        let path = server.url(&format!("/x/{name}.tgz"));
        let project = project(&format!("path = \"{path}\"\nsha256 = {{ url = \"{at}\" }}"));
        masked(&deploy(&project, &[])).replace(&Digest::of(&body).to_string(), "<found>")
    };
    assert_eq!(said("a", "SHA256SUMS"), WELL);
    assert_snapshot!(said("b", "SHA256SUMS"), @"
    exit: 2
    --- stdout
    --- stderr
    error: https://127.0.0.1:<port>/x/b.tgz has the SHA-256 <found>, not d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa
      state: nothing was changed
      hint:  if the new content is meant, put its digest into `sha256`; `sha256sum` prints it
    ");
    assert_snapshot!(said("c", "SHA256SUMS"), @"
    exit: 2
    --- stdout
    --- stderr
    error: https://127.0.0.1:<port>/x/SHA256SUMS holds no SHA-256 of c.tgz
      state: nothing was changed
      hint:  `sha256sum c.tgz` makes such a file
    ");
    assert_snapshot!(said("a", "a.tgz.sha256"), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: https://127.0.0.1:<port>/x/a.tgz.sha256 is a page of HTML, not the file that was meant: "Gone"
      state: nothing was changed
      hint:  open it: servers send such a page to ask for a login or report an error
    "#);

    let local = project("path = \"dist.tgz\"\nsha256.url = \"dist.tgz.sha256\"");
    std::fs::write(local.path().join("dist.tgz"), &body).unwrap();
    let sum = "sha256sum dist.tgz >dist.tgz.sha256";
    assert!(
        Command::new("sh").args(["-c", sum]).current_dir(local.path()).status().unwrap().success()
    );
    assert_eq!(deploy(&local, &[]), WELL);
    local.write("dist.tgz", "cut");
    let cut = deploy(&local, &[]);
    assert!(cut.contains("dist.tgz has the SHA-256"), "{cut}");
}

#[test]
fn cut_download_goes_on_where_it_was() {
    let body = archive("1", 400_000);
    let digest = Digest::of(&body);
    let asked = AtomicUsize::new(0);
    let server = FileServer::start(move |head| {
        let cut = (asked.fetch_add(1, Ordering::Relaxed) == 0).then_some(100_000);
        Reply { cut, ..Reply::range(&body, "\"v1\"", head) }
    });
    let project = project(&format!("path = \"{}\"\nsha256 = \"{digest}\"", server.url("/a.tgz")));
    assert_eq!(deploy(&project, &[]), WELL);
    assert_eq!(project.read("srv/current/VERSION"), "1");
    let [_, rest] = &server.asked()[..] else { panic!("{:?}", server.asked()) };
    assert!(has(rest, "if-range: \"v1\""), "{rest}");
    let from = rest.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap();
    let from: usize = from.trim_end_matches('-').parse().unwrap();
    assert!((1..=100_000).contains(&from), "{rest}");
}

#[test]
fn file_that_changed_meanwhile_is_fetched_anew() {
    let (old, new) = (archive("1", 400_000), archive("2", 300_000));
    let digest = Digest::of(&new);
    let asked = AtomicUsize::new(0);
    let server = FileServer::start(move |head| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply { cut: Some(200_000), ..Reply::range(&old, "\"v1\"", head) },
        // Of a server that takes no notice of `If-Range`.
        1 => Reply::range(&new, "\"v2\"", &head.replace("\"v1\"", "\"v2\"")),
        _ => Reply::range(&new, "\"v2\"", head),
    });
    let project = project(&format!("path = \"{}\"\nsha256 = \"{digest}\"", server.url("/a.tgz")));
    assert_eq!(deploy(&project, &[]), WELL);
    assert_eq!(project.read("srv/current/VERSION"), "2");
    assert_eq!(server.asked().len(), 3);
}

/// The text that real programs signed: `todo\n`.
const SIGNED: &str = "todo\n";
const MINISIGN_KEY: &str = "RWSHEKAg1/Fp1en1FFJH4JcJ9S9iL11DKPNJODO11l1bz1wkRL0vjaiS";
const MINISIG: &str = "untrusted comment: signature from minisign secret key
RUSHEKAg1/Fp1QvRwldJyiXjCaVbkKnhrCdQDrMie9pUBQ7VOSBdnSYKrNxg8r5g2/fN2ZriO4BZ+eGQeu/iUidYCr8U9Y6ZNA8=
trusted comment: made by CI
fS0XCz4D86vwEAp8lPiVJgPuXUCvrkcYKa00/rkEhsaX6cC8PKIijNVTP5KI2wGRqXtNspN6p7YejuPvXxq6AQ==
";
const OLD_MINISIG: &str = "untrusted comment: signature from minisign secret key
RWSHEKAg1/Fp1RwuOBdw5P6FTkIeGMzCIAH3A8zEgRzcycpN6m4StZQyyf7neGXRbWiCbe8NyI1L7sfF6zSQmjJegln7ZwDbQAU=
trusted comment: timestamp:1795889521\tfile:signed
bTxLJ3Dxh+hEKEjGdi3pDMVwprZTDPemIJ0wLF2Z314w/R8uUNeCPrz2UXGb301ZVATdZkOslFKRLaZ7U42cCA==
";

#[test]
fn only_what_the_minisign_key_signed_is_deployed() {
    let project = project(&format!("path = \"VERSION\"\nsignature.minisign = \"{MINISIGN_KEY}\""));
    let said = |content: &str, signature: &str| {
        project.write("VERSION", content);
        project.write("VERSION.minisig", signature);
        deploy(&project, &[])
    };
    assert_eq!(said(SIGNED, MINISIG), WELL);
    assert_snapshot!(said("evil\n", MINISIG), @"
    exit: 2
    --- stdout
    --- stderr
    error: the signature of <dir>/VERSION is not good
      cause: the file is not what was signed
      state: nothing was changed
      hint:  sign it again where it is built, and publish it together with VERSION.minisig
    ");
    assert_eq!(project.read("srv/current/VERSION"), SIGNED);
    let comment = MINISIG.replace("made by CI", "made by me");
    assert!(said(SIGNED, &comment).contains("the file is not what was signed"));
    let other = MINISIG.replace("RUSHEKAg", "RUSHEKBg");
    assert!(said(SIGNED, &other).contains("made with another key"));
    assert!(said(SIGNED, OLD_MINISIG).contains("in the old form of minisign"));
    assert!(said(SIGNED, "").contains("it is no signature of minisign"));
    std::fs::remove_file(project.path().join("VERSION.minisig")).unwrap();
    assert_snapshot!(deploy(&project, &[]), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not read `<dir>/VERSION.minisig`
      cause: No such file or directory (os error 2)
      state: nothing was changed
    ");
}

#[test]
fn only_what_an_allowed_signer_signed_is_deployed() {
    let body = archive("1", 10);
    let sign = Project::new();
    std::fs::write(sign.path().join("a.tgz"), &body).unwrap();
    let lines = "ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -q -t ed25519 -N '' -f other &&\n\
                 ssh-keygen -q -Y sign -f key -n file a.tgz && mkdir by && cp a.tgz by/ &&\n\
                 ssh-keygen -q -Y sign -f other -n file by/a.tgz";
    assert!(
        Command::new("sh").args(["-c", lines]).current_dir(sign.path()).status().unwrap().success()
    );
    let (good, others) = (sign.read("a.tgz.sig"), sign.read("by/a.tgz.sig"));
    let signature = Arc::new(Mutex::new(good));
    let shown = Arc::clone(&signature);
    let server = FileServer::start(move |head| {
        if head.contains(".sig") {
            Reply::file(shown.lock().unwrap().as_bytes())
        } else {
            Reply::file(&body)
        }
    });
    let said = |allowed: &str, more: &str| {
        let project = project(&format!(
            "path = \"{}\"\nsignature.allowed_signers = \"allowed_signers\"\n{more}",
            server.url("/a.tgz")
        ));
        project.write("allowed_signers", &allowed.replace("KEY", sign.read("key.pub").trim()));
        masked(&deploy(&project, &[]))
    };
    assert_eq!(said("ci@x,dev@x KEY\n", ""), WELL);
    assert_eq!(said("ci@x KEY\n", "signature.identity = \"ci@x\""), WELL);
    assert_snapshot!(said("ci@x KEY\n", "signature.identity = \"dev@x\""), @"
    exit: 2
    --- stdout
    --- stderr
    error: the signature of https://127.0.0.1:<port>/a.tgz is not good
      cause: no key in <dir>/allowed_signers for dev@x has made it
      state: nothing was changed
      hint:  if the new signer is meant, put the key into deploy.toml or `allowed_signers`
    ");
    assert_snapshot!(said("*@x namespaces=\"git\" KEY\n", ""), @r#"
    exit: 2
    --- stdout
    --- stderr
    error: the signature of https://127.0.0.1:<port>/a.tgz is not good
      cause: <dir>/allowed_signers:1: key is not permitted for use in signature namespace "file"
      state: nothing was changed
      hint:  sign it again where it is built, and publish it together with a.tgz.sig
    "#);
    let late = said("ci@x valid-before=\"20200101\" KEY\n", "");
    assert!(late.contains("the signature of"), "{late}");
    *signature.lock().unwrap() = others;
    assert_snapshot!(said("ci@x KEY\n", "").replace(sign.path().to_str().unwrap(), "<sign>"), @"
    exit: 2
    --- stdout
    --- stderr
    error: the signature of https://127.0.0.1:<port>/a.tgz is not good
      cause: no key in <dir>/allowed_signers has made it
      state: nothing was changed
      hint:  if the new signer is meant, put the key into deploy.toml or `allowed_signers`
    ");
}

#[test]
fn path_names_the_revision_and_the_branch_of_the_work_tree() {
    let project = project("path = \"out/{branch}/build-{revision}.tgz\"");
    let git = |line: &str| {
        let line = format!("git {line} -q 2>&1");
        let out = Command::new("sh").args(["-c", &line]).current_dir(project.path()).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    assert_snapshot!(deploy(&project, &[]), @"
    exit: 2
    --- stdout
    --- stderr
    error: the path of the artifact holds `{branch}`, and no branch is known
      state: no host was contacted; nothing was changed
      hint:  check one out; in CI, GITHUB_REF_NAME or CI_COMMIT_REF_NAME names it
    ");
    git("init -b feature/one .");
    git("config user.name a; git config user.email a@b; git add deploy.toml; git commit -m 1");
    let head = git("rev-parse HEAD");
    let name = format!("out/feature/one/build-{}.tgz", head.trim());
    std::fs::create_dir_all(project.path().join("out/feature/one")).unwrap();
    std::fs::write(project.path().join(name), archive("1", 10)).unwrap();
    assert_eq!(deploy(&project, &[]), WELL);
    assert_eq!(project.read("srv/current/VERSION"), "1");
    let named = project.shipit("releases here");
    assert!(named.contains(&head[..7]), "{named}");
    let ci = [("GITHUB_SHA", "c1"), ("GITHUB_REF_NAME", "main")];
    assert_snapshot!(deploy(&project, &ci), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not open the artifact `<dir>/out/main/build-c1.tgz`
      cause: No such file or directory (os error 2)
      state: nothing was changed
      hint:  build it first, or name another one with `--artifact`
    ");
    let text = project.read("deploy.toml").replace("{branch}", "{brnch}");
    project.write("deploy.toml", &text);
    assert_snapshot!(deploy(&project, &[]), @"
    exit: 2
    --- stdout
    --- stderr
    error: deploy.toml:5: `artifact` holds `{brnch}`, which is no placeholder
      hint:  did you mean `{branch}`?
    ");
}

/// Against a real server that verifies signatures.
#[test]
fn build_comes_from_a_bucket() {
    let body = archive("1", 400_000);
    let Some(store) = S3Server::start("app/build-c0ffee.tar.gz", &body) else { return };
    let digest = Digest::of(&body);
    let endpoint = format!("http://127.0.0.1:{}", store.port);
    let text = |more: &str, endpoint: &str| {
        format!(
            "path = \"s3://builds/app/build-{{revision}}.tar.gz\"\n{more}\n\
             s3 = {{ endpoint = \"{endpoint}\", region = \"eu-central-1\" }}"
        )
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", store.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", store.secret.as_str()),
        ("GITHUB_SHA", "c0ffee"),
    ];
    let whole = project(&text("", &endpoint));
    assert_eq!(deploy(&whole, &keys), WELL);
    assert_eq!(whole.read("srv/current/VERSION"), "1");

    let cut = cut_once(store.port, 100_000);
    let resumed =
        project(&text(&format!("sha256 = \"{digest}\""), &format!("http://127.0.0.1:{cut}")));
    assert_eq!(deploy(&resumed, &keys), WELL);
    assert_eq!(resumed.read("srv/current/VERSION"), "1");

    let other = Digest::of(b"other");
    let mismatch = project(&text(&format!("sha256 = \"{other}\""), &endpoint));
    let said = deploy(&mismatch, &keys);
    assert!(said.contains(&format!("has the SHA-256 {digest}, not {other}")), "{said}");

    refused(&whole, &keys);
    let files = project(&text("", &endpoint));
    let profile = format!(
        "[ci]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        store.id, store.secret
    );
    files.write(".aws/credentials", &profile);
    assert_eq!(deploy(&files, &[("AWS_PROFILE", "ci"), ("GITHUB_SHA", "c0ffee")]), WELL);
}

/// Asks with what is wrong.
fn refused(whole: &Project, keys: &[(&str, &str)]) {
    let with = |name: &str, value: &str| {
        let mut keys = keys.to_vec();
        keys.push((name, value));
        deploy(whole, &keys)
    };
    assert_snapshot!(with("AWS_SECRET_ACCESS_KEY", "wr0ng-secret"), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch s3://builds/app/build-c0ffee.tar.gz: the server answered with status 403
      cause: SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. Check your key and…
      state: nothing was changed
      hint:  `AWS_SECRET_ACCESS_KEY` does not belong to `AWS_ACCESS_KEY_ID`, or the profile's to each other
    ");
    assert_snapshot!(with("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN"), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch s3://builds/app/build-c0ffee.tar.gz: the server answered with status 403
      cause: InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records.
      state: nothing was changed
      hint:  log in again, and give the new `AWS_ACCESS_KEY_ID` and what belongs to it
    ");
    assert_snapshot!(with("GITHUB_SHA", "decade"), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch s3://builds/app/build-decade.tar.gz: the server answered with status 404
      cause: NoSuchKey: The specified key does not exist.
      state: nothing was changed
      hint:  `aws s3 ls` shows what is there; has the build ended?
    ");
}

#[test]
fn credentials_come_from_metadata_of_the_machine() {
    let Some(store) = S3Server::start("a.tgz", &archive("1", 10)) else { return };
    let told = format!(
        "{{\"Code\": \"Success\", \"AccessKeyId\": \"{}\", \"SecretAccessKey\": \"{}\"}}",
        store.id, store.secret
    );
    let metadata = plain(move |head| match head.split(' ').nth(1).unwrap() {
        "/latest/api/token" => Reply::file(b"t0ken"),
        "/latest/meta-data/iam/security-credentials/" => Reply::file(b"role\n"),
        _ => Reply::file(told.as_bytes()),
    });
    let project = project(&format!(
        "path = \"s3://builds/a.tgz\"\n\
         s3 = {{ endpoint = \"http://127.0.0.1:{}\", region = \"eu-central-1\" }}",
        store.port
    ));
    let address = format!("http://127.0.0.1:{metadata}");
    assert_eq!(deploy(&project, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)]), WELL);
    let said = deploy(&project, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert_snapshot!(masked(&said), @"
    exit: 2
    --- stdout
    --- stderr
    error: could not fetch s3://builds/a.tgz
      cause: no credentials were found: `AWS_ACCESS_KEY_ID` is not set, ~/.aws has none, and the machine has no role (it is not asked)
      state: nothing was changed
      hint:  `export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…`, or name a `profile` in [artifact.s3]
    ");
}
