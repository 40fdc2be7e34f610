//! Measures: for every row, the tools by turns, each run from a fresh start and verified.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::args::Options;
use crate::data::Data;
use crate::group::Group;
use crate::hosts::Hosts;
use crate::links::Links;
use crate::measure::{self, Parties, Sample};
use crate::rows::{self, Action, Row};
use crate::shell::version;
use crate::table;
use crate::verify::{self, Expected};

const ENV: &str = "GREETING=hello\nPORT=8080\n";
const KEEP: usize = 5;

/// One line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) row: String,
    pub(crate) title: String,
    pub(crate) tool: String,
    pub(crate) run: usize,
    pub(crate) rtt: u32,
    pub(crate) mbit: u32,
    pub(crate) hosts: usize,
    /// The measurement of a verified run, or what was wrong.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Sample(Sample),
    Error(String),
}

/// All rows of the document.
pub(crate) fn rows(options: &Options) -> Result<()> {
    let mut rows = rows::chosen(rows::all(), &options.rows, &options.tools)?;
    if options.before.is_some() {
        rows = rows::with_before(rows);
    }
    let most = rows.iter().map(|row| row.hosts).max().context("no row has such a name")?;
    let _alone = alone(&options.dir)?;
    let hosts = Hosts::start(&options.dir, group(options, "hosts")?, most, options.disk)?;
    Bench::new(options, hosts)?.measure(&rows, "sshd for each host")
}

/// One run to many addresses of one sshd.
pub(crate) fn many(options: &Options) -> Result<()> {
    let rows = rows::chosen(rows::many(&options.counts), &options.rows, &options.tools)?;
    let most = rows.iter().map(|row| row.hosts).max().context("no row has such a name")?;
    let _alone = alone(&options.dir)?;
    let hosts = Hosts::many(&options.dir, group(options, "hosts")?, most, options.disk)?;
    Bench::new(options, hosts)?.measure(&rows, "one sshd for all addresses")
}

/// Two kits in one directory would take each other's hosts away.
fn alone(dir: &Path) -> Result<File> {
    let lock = File::create(dir.join("lock"))?;
    lock.try_lock().with_context(|| format!("another measurement uses {}", dir.display()))?;
    Ok(lock)
}

fn group(options: &Options, name: &str) -> Result<Group> {
    Group::new(&format!("{}-{name}", options.group))
}

struct Bench<'a> {
    options: &'a Options,
    dir: PathBuf,
    hosts: Hosts,
    links: Links,
    client: Group,
    digests: BTreeMap<PathBuf, String>,
}

/// One tool at one row.
struct Cell<'a> {
    row: &'a Row,
    tool: &'a str,
    work: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(options: &'a Options, hosts: Hosts) -> Result<Self> {
        let dir = fs::canonicalize(&options.dir)?;
        fs::write(dir.join("env"), ENV)?;
        let links = Links::new(&dir, &hosts)?;
        let client = group(options, "client")?;
        Ok(Self { options, dir, hosts, links, client, digests: BTreeMap::new() })
    }

    fn measure(&mut self, rows: &[Row], kind: &str) -> Result<()> {
        let mut out = File::create(&self.options.out)
            .with_context(|| format!("could not write {}", self.options.out.display()))?;
        for row in rows {
            self.links.get(row.rtt, row.mbit, &self.hosts)?;
        }
        writeln!(out, "{}", self.about(kind))?;
        let mut records = Vec::new();
        for row in rows {
            for run in 1..=self.options.runs {
                for tool in &row.tools {
                    let record = self.run(row, tool, run);
                    writeln!(out, "{}", serde_json::to_string(&record)?)?;
                    records.push(record);
                }
            }
        }
        let tables = table::tables(&records);
        fs::write(self.options.out.with_extension("md"), &tables)?;
        print!("{tables}");
        let failed =
            records.iter().filter(|record| matches!(record.outcome, Outcome::Error(_))).count();
        ensure!(failed == 0, "{failed} of {} runs failed", records.len());
        Ok(())
    }

    fn run(&mut self, row: &Row, tool: &str, run: usize) -> Record {
        let cell = Cell { row, tool, work: self.dir.join("work").join(tool) };
        let outcome = match self.cell(&cell) {
            Ok(sample) => Outcome::Sample(sample),
            Err(error) => Outcome::Error(format!("{error:#}")),
        };
        match &outcome {
            Outcome::Sample(s) => println!(
                "{} {tool} {run}: {:.3} s, {:.3} MB up, {:.1} others",
                row.name,
                s.wall,
                table::millions(s.up),
                s.foreign
            ),
            Outcome::Error(error) => println!("{} {tool} {run}: FAILED: {error}", row.name),
        }
        Record {
            row: row.name.clone(),
            title: row.title.clone(),
            tool: tool.to_owned(),
            run,
            rtt: row.rtt,
            mbit: row.mbit,
            hosts: row.hosts,
            outcome,
        }
    }

    /// A fresh start, what must be there before, the run itself, and a look at what it left.
    fn cell(&mut self, cell: &Cell) -> Result<Sample> {
        let (row, place) = (cell.row, cell.row.data.place(&self.dir));
        let (a, b) = (place.join("a"), place.join("b"));
        self.clear(cell)?;
        self.call(cell, "prepare", &a, false)?;
        let (action, artifact) = match row.action {
            Action::First => ("deploy", &a),
            Action::Redeploy => {
                self.call(cell, "deploy", &a, false)?;
                ("deploy", &b)
            }
            Action::Rollback => {
                self.call(cell, "deploy", &a, false)?;
                self.call(cell, "deploy", &b, false)?;
                ("rollback", &b)
            }
        };
        // The route that the tool recorded must be the one that is measured.
        self.call(cell, "prepare", &a, true)?;
        measure::quiet(Duration::from_secs(self.options.idle));
        let sample = self.call(cell, action, artifact, true)?;
        let live = if row.action == Action::Rollback { &a } else { artifact };
        self.look(cell, live)?;
        self.clear(cell)?;
        Ok(sample)
    }

    /// Leaves nothing of this tool, here or there.
    fn clear(&self, cell: &Cell) -> Result<()> {
        let there = self.hosts.roots.iter().take(cell.row.hosts).map(|root| root.join(cell.tool));
        for path in there.chain([cell.work.clone()]) {
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else if path.exists() {
                fs::remove_file(&path)?;
            }
        }
        Ok(fs::create_dir_all(cell.work.join("home"))?)
    }

    /// Calls the tool, over the row's own link or over the bridge.
    fn call(
        &mut self,
        cell: &Cell,
        action: &str,
        artifact: &Path,
        own_link: bool,
    ) -> Result<Sample> {
        let (rtt, mbit) = if own_link { (cell.row.rtt, cell.row.mbit) } else { (0, 0) };
        let link = self.links.get(rtt, mbit, &self.hosts)?;
        let text = |path: &Path| path.display().to_string();
        let names: Vec<_> = (1..=cell.row.hosts).map(|number| format!("h{number}")).collect();
        let (script, program) = match &self.options.before {
            Some(before) if cell.tool == rows::BEFORE => ("shipit", before),
            _ => (cell.tool, &self.options.shipit),
        };
        let env = [
            ("ARTIFACT", text(artifact)),
            ("APP", format!("/srv/{}", cell.tool)),
            ("HOSTS", names.join(" ")),
            ("SSH_CONFIG", text(&link.config)),
            ("KNOWN_HOSTS", text(&link.config.with_extension("known_hosts"))),
            ("ENV_FILE", text(&self.dir.join("env"))),
            ("KEEP", KEEP.to_string()),
            ("MASTER", if cell.row.master { "yes".to_owned() } else { String::new() }),
            ("WORK", text(&cell.work)),
            ("HOME", text(&cell.work.join("home"))),
            ("SHIPIT", text(&fs::canonicalize(program)?)),
        ];
        let tool = fs::canonicalize("benches/tools")?.join(script);
        let parties = Parties { client: &self.client, hosts: &self.hosts.group, link: &link };
        parties.time(&tool, action, &env, &self.dir.join("log"))
    }

    /// Fails unless every host has what it should.
    fn look(&mut self, cell: &Cell, artifact: &Path) -> Result<()> {
        if let Data::Noise(_) = cell.row.data
            && ["ssh-cat", "scp-file"].contains(&cell.tool)
        {
            let root = &self.hosts.roots[0];
            let place = if cell.tool == "ssh-cat" {
                root.join("ssh-cat/file")
            } else {
                root.join("scp-file")
            };
            ensure!(
                verify::file(&place)? == verify::file(&artifact.join("file"))?,
                "the file differs"
            );
            return Ok(());
        }
        let digest = match self.digests.get(artifact) {
            Some(known) => known.clone(),
            None => verify::digest(artifact)?,
        };
        self.digests.insert(artifact.to_owned(), digest.clone());
        let expected = Expected { digest, env: ENV.to_owned(), keep: KEEP };
        for (index, root) in self.hosts.roots.iter().take(cell.row.hosts).enumerate() {
            verify::release(root, cell.tool, &expected)
                .with_context(|| format!("h{}", index + 1))?;
        }
        Ok(())
    }

    /// The first line of the results: where and with what.
    fn about(&self, kind: &str) -> serde_json::Value {
        let shipit = version(&format!("{} --version", self.options.shipit.display()));
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        serde_json::json!({
            "about": {
                "date": version("date -u +%F"),
                "processor": version("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"),
                "cores": std::thread::available_parallelism().map_or(0, usize::from),
                "kernel": version("uname -r | cut -d- -f1"),
                "debian": read("/etc/debian_version"),
                "tcp": read("/proc/sys/net/ipv4/tcp_congestion_control"),
                "links": self.links.carried.join(", "),
                "hosts": kind,
                "store": if self.options.disk { "disk" } else { "tmpfs" },
                "shipit": shipit,
                "commit": version("git describe --always --dirty"),
                "openssh": version("ssh -V"),
                "rsync": version("rsync --version"),
                "tar": version("tar --version"),
                "zstd": version("zstd --version"),
                "capistrano": version("cap --version"),
            }
        })
    }
}
