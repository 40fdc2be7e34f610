//! `shipit check`: shows whether a deploy would work, and changes nothing. `here` checks this
//! machine, `deploy::check` judges the hosts.

mod here;

use super::args::CheckArgs;
use super::deploy::notes;
use super::error::CliError;
use super::world::World;
use crate::config::resolve::Overrides;
use crate::deploy::check::{Findings, Level, Subject};
use crate::deploy::context::RunContext;
use crate::deploy::fleet;
use crate::deploy::goal::Goal;
use crate::report::check::{check_json, check_view};

/// Checks this machine and every host, and prints the findings.
pub(crate) async fn run(world: &World, args: &CheckArgs) -> Result<u8, CliError> {
    let more = Overrides { artifact: args.artifact.pinned(), ..Overrides::default() };
    let mut config = world.config_with(&args.stage, more)?;
    let mut here = Findings::of(None);
    if let Some(hosts) = config.listed_elsewhere() {
        here.ok(hosts);
    }
    let mut values = Findings::of(None);
    values.noted(notes(&config));
    let env = values.env(world, &config).await;
    let goal = here.artifact(world, &config, env).await;
    values.checks(world, &mut config).await;
    let mut all = here.found;
    all.extend(values.found);
    let probe = async |cx: RunContext<'_>| fleet::probe(cx, goal.as_ref()).await;
    let probed = world.quietly(&config, "check", probe).await?;
    let build = goal.as_ref().and_then(Goal::build);
    for (host, (name, probed)) in config.hosts.iter().zip(probed) {
        let mut findings = Findings::of(Some(name));
        match probed {
            Ok(probed) => {
                let (now, config, probed) = (world.now, &config, &probed);
                findings.judge(&Subject { now, config, host, build, probed });
            }
            Err(failure) => findings.unreachable(&failure),
        }
        all.extend(findings.found);
    }
    world.print(|| check_json(&all), || check_view(&all, &world.styles()));
    world.annotate(&all);
    Ok(u8::from(all.iter().any(|finding| finding.level == Level::Problem)))
}
