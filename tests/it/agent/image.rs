//! Releases that are container images: under every shell with a docker that is a script, and with a
//! real podman and a real docker where this machine has them.

use shipit::model::service::Image;
use shipit::remote::order::NOT_DONE;

use super::*;
use crate::support::docker::{DOCKER, DockerDaemon};

const OLD: &str = "20260821090000";

/// A host with that docker, both of whose releases are images.
struct ImageHost {
    host: Host,
    session: Arc<LocalSession>,
}

impl ImageHost {
    fn new(shell: &str) -> Self {
        let host = Host::new(shell);
        let session = host.session_with(&[("docker", DOCKER)]);
        let made = Self { host, session };
        made.holds(OLD, "sha256:old");
        made.holds(ID, "sha256:new");
        made
    }

    /// Makes the release an archive of images with these ids.
    fn holds(&self, release: &str, ids: &str) {
        let release = self.host.root().join("releases").join(release);
        let digest = "0123456789abcdef".repeat(4);
        fs::create_dir_all(release.join("blobs/sha256")).unwrap();
        fs::create_dir_all(release.join(&digest)).unwrap();
        let files = ["oci-layout", "index.json", "blobs/sha256/1", ".env", "env.json", "REVISION"];
        let config = format!("{digest}.json");
        for file in files.into_iter().chain([config.as_str()]) {
            fs::write(release.join(file), "of the test").unwrap();
        }
        fs::write(release.join("manifest.json"), ids).unwrap();
    }

    async fn open(&self, run: &str, restart: &str) -> Agent {
        let image = Image { name: "todo".to_owned(), engine: vec!["docker".to_owned()] };
        let mut hello = self.host.hello(run, restart);
        hello.services[0].image = Some(image);
        Agent::open(self.session.clone(), hello).await.unwrap().0
    }

    fn put(&self, name: &str) {
        fs::write(self.host.dir.path().join(name), "").unwrap();
    }

    fn take(&self, name: &str) {
        fs::remove_file(self.host.dir.path().join(name)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.host.dir.path().join(name)).unwrap_or_default()
    }

    /// Returns the id of the image with this tag, empty if there is none.
    fn tagged(&self, tag: &str) -> String {
        self.read(&format!("tags/todo:{tag}")).trim_end().to_owned()
    }

    /// Returns the tags of releases that are written down for this one.
    fn noted(&self, release: &str) -> String {
        self.read(&format!("srv/.shipit/images/{release}"))
    }
}

fn image() -> Order {
    Order::Image { id: ID.parse().unwrap() }
}

/// The restart command keeps what it would have run.
const RUN: &str = "docker image inspect todo:current >>../../../ran";

under_every_shell! {
    async fn image_of_a_release_is_loaded_under_its_id(shell: &str) {
        let host = ImageHost::new(shell);
        let agent = host.open("run000000001", RUN).await;
        for _ in 0..2 {
            let answer = agent.ask(&image()).await.unwrap();
            assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        }
        assert_eq!((host.tagged(ID).as_str(), host.tagged("current").as_str()), ("sha256:new", ""));
        assert_eq!(host.noted(ID), "todo docker\n", "{shell}");
        assert_eq!(host.read("calls").matches("load").count(), 1, "{shell}");
        let archive = host.host.dir.path().join("archive.tar");
        let listed = tar(&["-tf", archive.to_str().unwrap()]);
        let mut listed: Vec<_> = listed.lines().collect();
        listed.sort_unstable();
        let digest = "0123456789abcdef".repeat(4);
        let (dir, config) = (format!("{digest}/"), format!("{digest}.json"));
        let mut expected = vec![
            dir.as_str(), &config, "blobs/", "blobs/sha256/", "blobs/sha256/1", "index.json",
            "manifest.json", "oci-layout",
        ];
        expected.sort_unstable();
        assert_eq!(listed, expected, "{shell}");
    }
}

under_every_shell! {
    async fn unit_runs_the_image_of_what_is_live_also_after_a_revert(shell: &str) {
        let host = ImageHost::new(shell);
        let agent = host.open("run000000001", RUN).await;
        let answer = agent.ask(&activate()).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        assert_eq!(host.tagged("current"), "sha256:new", "{shell}");
        // The engine never had the image of the old release, or lost it.
        let answer = agent.ask(&revert()).await.unwrap();
        assert_eq!(answer.code, DONE, "{shell}: {}", answer.text);
        assert_eq!(host.tagged("current"), "sha256:old", "{shell}");
        assert_eq!(host.tagged(OLD), "sha256:old", "{shell}");
        assert_eq!(host.read("ran"), "sha256:new\nsha256:old\n", "{shell}");
    }
}

under_every_shell! {
    async fn image_that_cannot_be_loaded_changes_nothing(shell: &str) {
        let host = ImageHost::new(shell);
        host.put("full");
        let agent = host.open("run000000001", RUN).await;
        for order in [image(), activate()] {
            let answer = agent.ask(&order).await.unwrap();
            assert_eq!(answer.code, NOT_DONE, "{shell}: {}", answer.text);
            assert!(answer.text.contains("no space left"), "{shell}: {}", answer.text);
        }
        host.take("full");
        host.holds(ID, "sha256:one sha256:two");
        let answer = agent.ask(&image()).await.unwrap();
        assert!(answer.text.contains("holds several images"), "{shell}: {}", answer.text);
        fs::remove_file(host.host.root().join("releases").join(ID).join("manifest.json")).unwrap();
        fs::remove_file(host.host.root().join("releases").join(ID).join("index.json")).unwrap();
        let answer = agent.ask(&image()).await.unwrap();
        assert!(answer.text.contains("holds no image"), "{shell}: {}", answer.text);
        assert_eq!(host.host.live(), format!("releases/{OLD}"), "{shell}");
        assert_eq!((host.tagged("current"), host.read("ran")), (String::new(), String::new()));
    }
}

under_every_shell! {
    /// Otherwise the unit would go on with the image that was reverted.
    async fn revert_to_a_release_without_an_image_leaves_no_tag(shell: &str) {
        let host = ImageHost::new(shell);
        fs::remove_dir_all(host.host.root().join("releases").join(OLD)).unwrap();
        fs::create_dir(host.host.root().join("releases").join(OLD)).unwrap();
        let agent = host.open("run000000001", "true").await;
        assert_eq!(agent.ask(&activate()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(agent.ask(&revert()).await.unwrap().code, DONE, "{shell}");
        assert_eq!(host.tagged("current"), "", "{shell}");
        assert_eq!(host.tagged(ID), "sha256:new", "{shell}");
    }
}

under_every_shell! {
    async fn tags_go_with_their_releases(shell: &str) {
        let host = ImageHost::new(shell);
        let agent = host.open("run000000001", RUN).await;
        assert_eq!(agent.ask(&image()).await.unwrap().code, DONE, "{shell}");
        let record = Record { line: "pruned".to_owned(), note: String::new() };
        let prune = Order::Prune { name: ID.to_owned(), record };
        assert_eq!(agent.ask(&prune).await.unwrap().code, DONE, "{shell}");
        host.put("busy");
        let clean_up = || Order::CleanUp { keep: None };
        let answer = agent.ask(&clean_up()).await.unwrap();
        let stays = format!("the image of {ID} stays: conflict: container 12 is using todo:{ID}\n");
        assert_eq!((answer.code, answer.text), (DONE, stays), "{shell}");
        host.take("busy");
        let answer = agent.ask(&clean_up()).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""), "{shell}");
        assert_eq!((host.tagged(ID), host.noted(ID)), (String::new(), String::new()), "{shell}");
    }
}

under_every_shell! {
    async fn engine_that_is_not_there_or_not_ours_is_missing(shell: &str) {
        let host = ImageHost::new(shell);
        let image = |engine: &[&str]| Image {
            name: "todo".to_owned(),
            engine: engine.iter().map(|&word| word.to_owned()).collect(),
        };
        let found = async |engine: &[&str]| {
            let mut hello = host.host.hello("run000000001", "true");
            hello.services[0].image = Some(image(engine));
            let (agent, state) = Agent::open(host.session.clone(), hello).await.unwrap();
            let probe = agent.probe(Vec::new(), Vec::new()).await.unwrap();
            agent.bye().await.unwrap();
            [state.facts.missing, probe.missing].concat()
        };
        assert_eq!(found(&["sudo", "-n", "dockre"]).await, ["dockre is not installed"], "{shell}");
        assert!(found(&["docker"]).await.is_empty(), "{shell}");
        host.put("closed");
        let missing = found(&["docker"]).await;
        assert!(missing[0].starts_with("docker does not answer "), "{shell}: {missing:?}");
    }
}

/// Calls tar and returns what it printed.
fn tar(words: &[&str]) -> String {
    let out = Command::new("tar").args(words).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A real engine of containers. No container is started: not every machine of tests can do that.
struct Engine {
    name: &'static str,
    /// The program that calls it, with a store of the test.
    program: String,
    /// The words of `save` for each of two archives.
    saves: [&'static [&'static str]; 2],
}

/// `tests/run` says so where podman is not installed.
#[tokio::test]
async fn archives_of_a_real_podman_are_loaded_tagged_and_removed() {
    if !Path::new("/usr/bin/podman").exists() {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    let at = store.path().display();
    let podman = Engine {
        name: "podman",
        program: format!(
            "#!/bin/sh\nexec /usr/bin/podman --root {at}/store --runroot {at}/run \
             --storage-driver vfs \"$@\"\n"
        ),
        saves: [&["--format", "docker-archive"], &["--format", "oci-archive"]],
    };
    archives_are_loaded_tagged_and_removed(podman).await;
}

/// `tests/run` says so where there is no daemon of docker to start.
#[tokio::test]
async fn archives_of_a_real_docker_are_loaded_tagged_and_removed() {
    let Some(daemon) = DockerDaemon::start() else { return };
    let docker = Engine { name: "docker", program: daemon.program(), saves: [&[], &[]] };
    archives_are_loaded_tagged_and_removed(docker).await;
}

async fn archives_are_loaded_tagged_and_removed(engine: Engine) {
    let host = Host::new("dash");
    let session = host.session_with(&[(engine.name, &engine.program)]);
    let bin = host.dir.path().join("bin").join(engine.name);
    let call = |words: &[&str]| {
        let out = Command::new(&bin).args(words).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let id_of = |image: &str| call(&["image", "inspect", "--format", "{{.Id}}", image]);
    let mut ids = Vec::new();
    for (release, save) in [OLD, ID].into_iter().zip(engine.saves) {
        let layer = host.dir.path().join("layer");
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("version"), release).unwrap();
        let [layers, saved] = ["layer.tar", "saved.tar"].map(|name| host.dir.path().join(name));
        let [layers, saved] = [&layers, &saved].map(|path| path.to_str().unwrap());
        tar(&["-cf", layers, "-C", layer.to_str().unwrap(), "version"]);
        assert!(call(&["import", layers, "build:latest"]).0);
        ids.push(id_of("build:latest").1);
        let _ = fs::remove_file(saved);
        assert!(call(&[&["save"], save, &["-o", saved, "build:latest"]].concat()).0);
        assert!(call(&["rmi", "build:latest"]).0);
        let into = host.root().join("releases").join(release);
        tar(&["-xf", saved, "-C", into.to_str().unwrap()]);
    }
    let restart = format!("{} image inspect todo:current", engine.name);
    let mut hello = host.hello("run000000001", &restart);
    let image = Image { name: "todo".to_owned(), engine: vec![engine.name.to_owned()] };
    hello.services[0].image = Some(image);
    hello.services[0].limit = Duration::from_mins(1);
    let (agent, _) = Agent::open(session, hello).await.unwrap();
    for order in [self::image(), activate()] {
        let answer = agent.ask(&order).await.unwrap();
        assert_eq!(answer.code, DONE, "{}", answer.text);
    }
    assert_eq!(id_of("todo:current").1, ids[1]);
    let answer = agent.ask(&revert()).await.unwrap();
    assert_eq!(answer.code, DONE, "{}", answer.text);
    assert_eq!(id_of("todo:current").1, ids[0]);
    let record = Record { line: "pruned".to_owned(), note: String::new() };
    let prune = Order::Prune { name: ID.to_owned(), record };
    for order in [prune, Order::CleanUp { keep: None }] {
        let answer = agent.ask(&order).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (DONE, ""));
    }
    let listed = |id: &str| call(&["image", "ls", "--quiet", &format!("todo:{id}")]);
    assert_eq!(listed(ID), (true, String::new()));
    assert!(listed(OLD).0 && !listed(OLD).1.is_empty());
}
