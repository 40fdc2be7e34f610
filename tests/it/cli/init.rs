//! `shipit init` in a project of each kind, and beside the configs of other deploy tools.

use std::fs;

use shipit::config::resolve::{Overrides, load};
use shipit::config::start::ProjectKind;
use shipit::config::{Address, ArtifactSource, Config, EnvSpec};

use crate::support::config::refused_by_schema;
use crate::support::project::Project;

/// A project with these files, in a directory called `todo`.
fn project(files: &[(&str, &str)]) -> Project {
    let project = Project::new();
    fs::create_dir(project.path().join("todo")).unwrap();
    for (name, text) in files {
        project.write(&format!("todo/{name}"), text);
    }
    project
}

/// Runs `init` and returns what it says.
fn init(project: &Project, line: &str) -> String {
    let mut init = project.command(line);
    let said = project.said(init.current_dir(project.path().join("todo")));
    assert!(said.starts_with("exit: 0"), "{said}");
    said
}

/// The config of a stage, which the program, the schema and the offline part of `check` take.
#[track_caller]
fn config(project: &Project, stage: &str) -> Config {
    let path = project.path().join("todo/deploy.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(refused_by_schema(&text), None, "{text}");
    assert!(!text.contains("{app}") && !text.contains(" #| "), "{text}");
    let config = load(&path).unwrap().resolve(Some(stage), &Overrides::default());
    config.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Fails if `check` finds a problem that is not about a host.
#[track_caller]
fn check_accepts(project: &Project) {
    let path = project.path().join("todo");
    // Nothing answers there, so only this machine is checked.
    project.write("todo/ssh_config", "Host *\n  HostName 127.0.0.1\n  Port 1\n");
    let text = fs::read_to_string(path.join("deploy.toml")).unwrap();
    project.write("todo/deploy.toml", &format!("{text}\n[ssh]\nconfig = \"ssh_config\"\n"));
    let mut check = project.command("check production --json");
    let out = check.current_dir(&path).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    let here =
        |finding: &&serde_json::Value| finding["host"].is_null() && finding["level"] == "problem";
    let problems: Vec<_> = found["findings"].as_array().unwrap().iter().filter(here).collect();
    assert!(problems.is_empty(), "{problems:?}\n{text}");
}

/// A project of each kind: its name, files, artifact, a part of the unit, and linked paths.
type Sample = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const SAMPLES: [Sample; 14] = [
    (
        "rust",
        &[("Cargo.toml", "[package]\nname = \"todo-server\"\n"), ("Dockerfile", "")],
        "target/deploy",
        "ExecStart=/srv/todo/current/bin/todo-server\n",
    ),
    (
        "go",
        &[("go.mod", "module example.net/team/pinger/v2\n\ngo 1.22\n")],
        "build/deploy",
        "ExecStart=/srv/todo/current/bin/pinger\n",
    ),
    (
        "node",
        &[("package.json", r#"{ "scripts": { "start": "node server.js" } }"#)],
        ".",
        "ExecStart=/usr/bin/node server.js\n",
    ),
    (
        "node",
        &[("package.json", r#"{ "scripts": { "start": "next start", "build": "next build" } }"#)],
        ".",
        "ExecStart=/usr/bin/npm start\n",
    ),
    ("node-site", &[("package.json", r#"{ "scripts": { "build": "vite build" } }"#)], "dist", ""),
    (
        "django",
        &[
            ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"),
            ("requirements.txt", "django\n"),
        ],
        ".",
        "/srv/todo/current/.venv/bin/gunicorn --bind 127.0.0.1:8000 site1.wsgi\n",
    ),
    (
        "python",
        &[("requirements.txt", ""), ("main.py", "")],
        ".",
        "ExecStart=/srv/todo/current/.venv/bin/python main.py\n",
    ),
    (
        "python-package",
        &[("pyproject.toml", "[project]\nname = \"p\"\n\n[project.scripts]\nserve = \"p:main\"\n")],
        "build/deploy",
        "ExecStart=/srv/todo/current/.venv/bin/serve\n",
    ),
    (
        "rails",
        &[("Gemfile", "gem 'rails'\n"), ("package.json", "{}"), ("config/master.key", "")],
        ".",
        "ExecStart=/usr/bin/env bundle exec puma",
    ),
    ("ruby", &[("Gemfile", "gem 'sinatra'\n")], ".", "bundle exec rackup"),
    ("laravel", &[("composer.json", r#"{"require": {"laravel/framework": "^11"}}"#)], ".", ""),
    ("php", &[("composer.json", "{}")], ".", ""),
    ("site", &[("public/index.html", "<h1>")], "public", ""),
    (
        "docker",
        &[("Dockerfile", "FROM scratch\n")],
        "build/todo.tar",
        "--env-file /srv/todo/current/.env --publish 127.0.0.1:8080:8080 todo:current\n",
    ),
];

#[test]
fn init_writes_what_fits_each_kind_and_check_takes_it() {
    let mut kinds: Vec<&str> = SAMPLES.iter().map(|(kind, ..)| *kind).collect();
    kinds.dedup();
    kinds.sort_unstable();
    let mut all: Vec<_> = ProjectKind::names().filter(|name| *name != "other").collect();
    all.sort_unstable();
    assert_eq!(kinds, all, "a sample of each kind");
    for (kind, files, artifact, unit) in SAMPLES {
        let project = project(files);
        let what = ProjectKind::all().into_iter().find(|it| it.name == kind).unwrap().what;
        let said = init(&project, "init");
        assert!(said.contains(&format!("deploy.toml is for {what}\n")), "{kind}: {said}");
        let config = config(&project, "production");
        let place = project.path().join("todo").join(artifact);
        match config.artifact.as_ref().map(|spec| &spec.source) {
            Some(ArtifactSource::Path { path, .. }) => {
                assert_eq!(
                    path.components().collect::<Vec<_>>(),
                    place.components().collect::<Vec<_>>()
                );
            }
            other => panic!("{kind}: {other:?}"),
        }
        // setuptools takes a directory beside the package for a second one.
        let place = if kind == "python-package" { "todo" } else { "todo/deploy" };
        let written = project.read(&format!("{place}/todo.service"));
        assert!(written.contains(unit), "{kind}: {written}");
        assert_eq!(written.is_empty(), unit.is_empty(), "{kind}");
        assert_eq!(config.services.is_empty(), unit.is_empty(), "{kind}");
        let notes: Vec<_> = config.env.iter().flat_map(EnvSpec::notes).collect();
        assert_eq!(notes, [], "{kind}");
        assert!(
            unit.is_empty()
                || written.contains("\nUser=deploy\nWorkingDirectory=/srv/todo/current\n")
        );
        check_accepts(&project);
    }
}

#[test]
fn unknown_project_gets_the_usual_lines() {
    let project = project(&[("build/app", "")]);
    let said = init(&project, "init");
    assert!(said.contains("a project of an unknown kind"), "{said}");
    let config = config(&project, "production");
    assert!(config.services.is_empty());
    assert!(project.read("todo/deploy.toml").contains("path = \"build\""));
    check_accepts(&project);
}

#[test]
fn kind_is_chosen_where_several_fit() {
    let files = [("Cargo.toml", "[package]\nname = \"a\"\n"), ("Dockerfile", "")];
    let said = init(&project(&files), "init");
    assert!(said.contains("other kinds fit too: docker"), "{said}");
    let project = project(&files);
    let said = init(&project, "init --kind docker");
    assert!(said.contains("is for a container image"), "{said}");
    let mut wrong = project.command("init --kind cobol");
    assert!(project.said(&mut wrong).contains("[possible values: rails, "));
}

#[test]
fn init_leaves_a_unit_that_is_there() {
    let project = project(&[("go.mod", "module todo\n"), ("deploy/todo.service", "mine\n")]);
    assert!(init(&project, "init").contains("deploy/todo.service is there already"));
    assert_eq!(project.read("todo/deploy/todo.service"), "mine\n");
}

/// Every line that is a comment with a key in it must be right too.
#[test]
fn each_line_init_comments_out_is_valid() {
    let mut seen = 0;
    for (_, files, ..) in SAMPLES.into_iter().chain([("other", &[][..], "", "")]) {
        let project = project(files);
        init(&project, "init");
        let text = project.read("todo/deploy.toml");
        for line in text.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")) {
            if line.starts_with("# `") {
                continue;
            }
            let table = format!("# [stages.staging]\n{line}");
            let line = if text.contains(&table) { table.as_str() } else { line };
            let bare = |line: &str| line.trim_start_matches("# ").to_owned();
            let tried = text.replace(line, &line.lines().map(bare).collect::<Vec<_>>().join("\n"));
            project.write("todo/deploy.toml", &tried);
            let path = project.path().join("todo/deploy.toml");
            let file = load(&path).unwrap_or_else(|error| panic!("{line}: {error}"));
            if let Err(error) = file.resolve(Some("production"), &Overrides::default()) {
                // A key alone may need the line before it.
                assert!(error.to_string().contains("needs `unit`"), "{line}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} lines");
}

/// The hosts of a stage, as `user@host:port roles`.
fn hosts(config: &Config) -> Vec<String> {
    let host = |host: &shipit::config::Host| {
        let Address::Ssh { host: name, user, port, .. } = &host.address else {
            return "local".to_owned();
        };
        let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{user}{name}{port} {}", host.roles.join("+")).trim().to_owned()
    };
    config.hosts.iter().map(host).collect()
}

fn links(config: &Config) -> Vec<&str> {
    config.links.iter().map(|link| link.path.as_str()).collect()
}

const CAPISTRANO: &str = r#"# config valid for current version and patch releases of Capistrano
lock "~> 3.19"

set :application, "shop"
set :repo_url, "git@git.example.net:team/shop.git"
set :deploy_to, "/var/www/#{fetch(:application)}-#{fetch(:stage)}"
set :keep_releases, 7   # a week's
set :rbenv_ruby, "3.3.0"
append :linked_files, "config/master.key", 'config/database.yml'
set :linked_dirs, fetch(:linked_dirs, [])
  .push("log", "storage")
append :linked_dirs, "public/uploads",
       "tmp/pids"
set :ssh_options, {
  forward_agent: true,
  user: "shop",
  keys: %w[~/.ssh/id_rsa]
}
set :default_env, { "PATH" => "/opt/ruby/bin:$PATH" }

namespace :deploy do
  desc "don't restart twice"
  task :restart do
    on roles(:app) do
      execute "sudo systemctl restart shop" if test("[ -f x ]")
    end
  end
  set :keep_releases, 99
end
after "deploy:updated", "assets:precompile"
"#;

/// The parts of it that are not taken over.
const LEFT: [&str; 6] = [
    "config/deploy.rb:8: set :rbenv_ruby, \"3.3.0\"",
    "config/deploy.rb:14: set :ssh_options, {",
    "config/deploy.rb:19: set :default_env, { \"PATH\" => \"/opt/ruby/bin:$PATH\" }",
    "config/deploy.rb:21: namespace :deploy do",
    "config/deploy.rb:30: after \"deploy:updated\", \"assets:precompile\"",
    "config/deploy/production.rb:4: server ENV[\"EXTRA\"], roles: %w[web]",
];

#[test]
fn capistrano_config_is_taken_over() {
    let project = project(&[
        ("Gemfile", "gem 'rails'\n"),
        ("config/deploy.rb", CAPISTRANO),
        (
            "config/deploy/production.rb",
            "server \"web1.example.net\", roles: %w{app web}, primary: true\n\
             server \"web2.example.net:2222\", roles: [:app, :web]\n\
             server 'db1.example.net', :user => 'admin', :roles => :db, port: 2200\n\
             server ENV[\"EXTRA\"], roles: %w[web]\n\
             role :cron, %w{web1.example.net}\n",
        ),
        (
            "config/deploy/staging.rb",
            "server \"staging.example.net\", user: \"tester\"\nset :keep_releases, 2\n",
        ),
    ]);
    let said = init(&project, "init");
    let production = config(&project, "production");
    assert_eq!(production.app, "shop");
    assert_eq!(production.layout.root(), "/var/www/shop-production");
    assert_eq!(production.keep, 7);
    assert_eq!(
        hosts(&production),
        [
            "shop@web1.example.net app+web+cron",
            "shop@web2.example.net:2222 app+web",
            "admin@db1.example.net:2200 db"
        ]
    );
    let linked = [
        "log",
        "storage",
        "public/uploads",
        "tmp/pids",
        "config/master.key",
        "config/database.yml",
    ];
    assert_eq!(links(&production), linked);
    let staging = config(&project, "staging");
    assert_eq!((staging.layout.root(), staging.keep), ("/var/www/shop-staging", 2));
    assert_eq!(hosts(&staging), ["tester@staging.example.net"]);
    let unit = project.read("todo/deploy/shop.service");
    assert!(
        unit.contains("\nUser=shop\nWorkingDirectory=/var/www/shop-production/current\n"),
        "{unit}"
    );
    // Parts that are not taken over are said, and are in the file, with their places.
    let text = project.read("todo/deploy.toml");
    for line in LEFT {
        assert!(said.contains(&format!("  {line}\n")), "{line}\n{said}");
        assert!(text.contains(&format!("\n#   {line}\n")), "{line}\n{text}");
    }
    assert_eq!(text.matches("\n#   config/").count(), LEFT.len(), "{text}");
    check_accepts(&project);
}

#[test]
fn mina_config_is_taken_over() {
    let config_rb = "require 'mina/rails'\nrequire 'mina/git'\n\nset :application_name, 'foo'\n\
         set :domain, 'foo.example.net'\nset :user, 'fred'\nset :port, '30000'\n\
         set :deploy_to, \"/srv/apps/#{fetch(:application_name)}\"\nset :repository, 'git://x'\n\
         set :shared_dirs, fetch(:shared_dirs, []).push('public/assets')\n\
         set :shared_files, fetch(:shared_files, []).push('config/secrets.yml')\n\
         task :deploy do\n  deploy do\n    invoke :'git:clone'\n  end\nend\n";
    let project = project(&[("Gemfile", "gem 'rails'\n"), ("config/deploy.rb", config_rb)]);
    let said = init(&project, "init");
    assert!(said.contains("taken over from Mina: production (1 host)"), "{said}");
    let config = config(&project, "production");
    assert_eq!((config.app.as_str(), config.layout.root()), ("foo", "/srv/apps/foo"));
    assert_eq!(hosts(&config), ["fred@foo.example.net:30000"]);
    assert_eq!(links(&config), ["public/assets", "config/secrets.yml"]);
    assert!(said.contains("config/deploy.rb:12: task :deploy do"), "{said}");
    check_accepts(&project);
}

#[test]
fn deployer_config_in_php_is_taken_over() {
    let php = "<?php\nnamespace Deployer;\n\nrequire 'recipe/laravel.php';\n\n\
         set('application', 'lara');\nset('repository', 'git@example.net:lara.git');\n\
         set('keep_releases', 4);\nset('bin/php', '/usr/bin/php8.3');\n\
         add('shared_files', ['.env']);\nadd('shared_dirs', ['storage', 'public/media']);\n\n\
         host('production')\n    ->setHostname('www.example.net') // the new one;\n\
         \x20   ->setRemoteUser('deployer')\n    ->setPort(2201)\n\
         \x20   ->set('labels', ['role' => 'app'])\n    ->setDeployPath('/var/www/{{application}}');\n\
         host('test.example.net')->setLabels(['stage' => 'staging'])->set('remote_user', 'tester')\n\
         \x20   ->set('deploy_path', '~/{{application}}');\n\
         task('build', function () {\n    cd('{{release_path}}');\n    run(\"don't\");\n});\n\
         after('deploy:failed', 'deploy:unlock');\n";
    let files =
        [("composer.json", r#"{"require": {"laravel/framework": "^11"}}"#), ("deploy.php", php)];
    let project = project(&files);
    let said = init(&project, "init");
    let production = config(&project, "production");
    assert_eq!((production.app.as_str(), production.layout.root()), ("lara", "/var/www/lara"));
    assert_eq!(
        (production.keep, hosts(&production)),
        (4, vec!["deployer@www.example.net:2201 app".to_owned()])
    );
    assert_eq!(links(&production), ["storage", "public/media", ".env"]);
    assert!(production.env.is_empty(), "the linked file is the app's");
    assert_eq!(hosts(&config(&project, "staging")), ["tester@test.example.net"]);
    for line in [
        "deploy.php:9: set('bin/php'",
        "deploy.php:19: host('test",
        "deploy.php:21: task('build'",
        "deploy.php:25: after(",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    check_accepts(&project);
}

#[test]
fn deployer_config_in_yaml_is_taken_over() {
    let yaml = "import:\n  - recipe/symfony.php\n\nconfig:\n  application: 'sym'\n  keep_releases: 3\n\
         \x20 shared_files:\n    - config/local.yaml\n  shared_dirs: [var/log, var/sessions]\n  http_user: www\n\n\
         hosts:\n  www1.example.net:\n    remote_user: deployer\n    deploy_path: '/srv/{{application}}'\n\
         \x20   labels: { stage: production, role: web }\n  www2.example.net:\n    remote_user: deployer\n\
         \x20   port: 2222\n    deploy_path: '/srv/{{application}}'\n    labels:\n      stage: production\n\n\
         tasks:\n  build:\n    - run: npm ci\n";
    let project = project(&[("composer.json", "{}"), ("deploy.yaml", yaml)]);
    let said = init(&project, "init");
    let config = config(&project, "production");
    assert_eq!((config.app.as_str(), config.layout.root(), config.keep), ("sym", "/srv/sym", 3));
    assert_eq!(hosts(&config), ["deployer@www1.example.net web", "deployer@www2.example.net:2222"]);
    assert_eq!(links(&config), ["var/log", "var/sessions", "config/local.yaml"]);
    for line in ["deploy.yaml:10: http_user: www", "deploy.yaml:24: tasks:"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    check_accepts(&project);
}

#[test]
fn kamal_config_is_taken_over() {
    let yaml = "service: blog\nimage: team/blog\nservers:\n  web:\n    hosts:\n      - 192.0.2.10\n\
         \x20     - 192.0.2.11\n    options:\n      network: private\n  job:\n    hosts: [192.0.2.12]\n\
         \x20   cmd: bin/jobs\nproxy:\n  ssl: true\nssh:\n  user: deployer\n  port: 2222\nenv:\n  clear:\n\
         \x20   DB_HOST: 10.0.0.5\n    PORT: 3000\n  secret:\n    - RAILS_MASTER_KEY\nregistry:\n\
         \x20 username: <%= ENV[\"X\"] %>\nretain_containers: 3\n";
    let staging = "servers:\n  - 192.0.2.99\nssh:\n  user: root\n";
    let files = [
        ("Gemfile", "gem 'rails'\n"),
        ("Dockerfile", "FROM ruby\n"),
        ("config/deploy.yml", yaml),
        ("config/deploy.production.yml", "retain_containers: 4\n"),
        ("config/deploy.staging.yml", staging),
    ];
    let project = project(&files);
    let said = init(&project, "init");
    assert!(said.contains("is for a container image"), "{said}");
    let production = config(&project, "production");
    assert_eq!((production.app.as_str(), production.keep), ("blog", 4));
    assert_eq!(
        hosts(&production),
        [
            "deployer@192.0.2.10:2222 web",
            "deployer@192.0.2.11:2222 web",
            "deployer@192.0.2.12:2222 job"
        ]
    );
    assert_eq!(hosts(&config(&project, "staging")), ["root@192.0.2.99:2222 web"]);
    let text = project.read("todo/deploy.toml");
    for line in [
        "vars.DB_HOST = \"10.0.0.5\"",
        "vars.PORT = \"3000\"",
        "vars.RAILS_MASTER_KEY = { env = \"RAILS_MASTER_KEY\" }",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(text.matches("vars.PORT").count(), 1, "{text}");
    for line in [
        "config/deploy.yml:8: options:",
        "config/deploy.yml:12: cmd: bin/jobs",
        "config/deploy.yml:13: proxy:",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn broken_yaml_is_said_and_hides_nothing_else() {
    let project =
        project(&[("Dockerfile", ""), ("config/deploy.yml", "service: a\n  b: [\nc: d\n")]);
    let said = init(&project, "init");
    assert!(said.contains("config/deploy.yml:2: b: ["), "{said}");
    assert!(project.read("todo/deploy.toml").contains("none could be taken over"));
}
