//! `shipit check`: proves that a deploy would work, changing nothing; every finding that is not
//! well ends in what to do about it. `here` looks at this machine, `host` at one host, `sudo` at its
//! rules, `unit` at the service's unit, `runner` at what the service's user may do there.

mod here;
mod host;
mod runner;
mod sudo;
mod unit;

use self::host::Subject;
use super::args::CheckArgs;
use super::error::CliError;
use super::world::World;
use crate::config::resolve::Overrides;
use crate::deploy::finding::{Finding, Level};
use crate::deploy::goal::Goal;
use crate::deploy::outcome::Failure;
use crate::report::check::{check_json, check_view};

/// Looks, probes, tells.
pub(crate) async fn run(world: &World, args: &CheckArgs) -> Result<u8, CliError> {
    let more = Overrides { artifact: args.artifact.pinned(), ..Overrides::default() };
    let mut config = world.config(&args.stage, more)?;
    let mut here = Findings::of(None);
    let mut values = Findings::of(None);
    let env = values.env(world, &config).await;
    let goal = here.artifact(world, &config, env).await;
    values.checks(world, &mut config).await;
    let mut all = here.found;
    all.extend(values.found);
    for (host, probed) in world.probe(&config, goal.as_ref()).await? {
        let mut host = Findings::of(Some(host));
        let build = goal.as_ref().and_then(Goal::build);
        let release = build.map(|build| &build.manifest);
        let env = build.and_then(|build| build.env.as_deref());
        match probed {
            Ok(probed) => {
                host.judge(&Subject { world, config: &config, release, env, probed: &probed });
            }
            Err(failure) => host.unreachable(&failure),
        }
        all.extend(host.found);
    }
    let text = if world.common.json {
        format!("{}\n", check_json(&all))
    } else {
        check_view(&all, &world.styles())
    };
    world.print(&text);
    world.annotate(&all);
    Ok(u8::from(all.iter().any(|finding| finding.level == Level::Problem)))
}

/// What was found on one host, or here.
struct Findings {
    host: Option<String>,
    found: Vec<Finding>,
}

impl Findings {
    fn of(host: Option<String>) -> Self {
        Self { host, found: Vec::new() }
    }

    fn add(&mut self, level: Level, text: impl Into<String>, fix: Option<String>) {
        self.found.push(Finding { host: self.host.clone(), level, text: text.into(), fix });
    }

    fn ok(&mut self, text: impl Into<String>) {
        self.add(Level::Ok, text, None);
    }

    fn warn(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Warning, text, Some(fix.into()));
    }

    fn problem(&mut self, text: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Problem, text, Some(fix.into()));
    }

    fn unreachable(&mut self, failure: &Failure) {
        let host = self.host.as_deref().unwrap_or_default();
        let by_hand = format!("connect by hand and see: `ssh {host} true`");
        let fix = failure.hint.clone().unwrap_or(by_hand);
        self.problem(failure.whole(), fix);
    }
}
