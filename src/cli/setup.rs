//! `shipit setup`: prepares hosts for an app, as root. Shows what it would do, asks, and does it;
//! run again, it changes nothing.

use super::args::SetupArgs;
use super::error::CliError;
use super::world::World;
use crate::config::{Address, Config};
use crate::deploy::context::RunContext;
use crate::deploy::outcome::Failure;
use crate::deploy::setup::{self, HostSetup, HostSteps, SetupMode, SetupStep, StepState};
use crate::model::words::{count, list};
use crate::remote::quote::shown_word;
use crate::report::redact::Secrets;
use crate::report::setup::{setup_json, setup_view, step_line};

/// Sets up every host of a stage, or says what differs.
pub(crate) async fn run(world: &World, args: &SetupArgs) -> Result<u8, CliError> {
    let mut config = world.config(&args.stage)?;
    let setups = setups(&mut config, args.login.as_deref())?;
    let looking = async |cx: RunContext<'_>| setup::each(cx, &setups, SetupMode::Look).await;
    let (found, code) = world.found(world.quietly(&config, "look at", looking).await?);
    let left = |host: &HostSteps| host.steps.iter().any(|(_, state)| *state == StepState::Differs);
    let left: Vec<_> = found.iter().filter(|(_, host)| left(host)).collect();
    world.print(|| setup_json(&found), || setup_view(&found));
    if args.check {
        return Ok(code.max(u8::from(!left.is_empty())));
    }
    if world.common.dry_run || left.is_empty() || code != 0 {
        return Ok(code);
    }
    let names: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
    if !world.ask(&format!("Do this on {}", list(&names)), "setup")? {
        return Ok(130);
    }
    let doing = async |cx: RunContext<'_>| setup::each(cx, &setups, SetupMode::Do).await;
    let (done, mut code) = (world.to_the_end(&config, "set up", doing).await, 0);
    let (done, failed) = world.found_in(done, "some of it may have been done");
    code = code.max(failed);
    for (name, host) in &done {
        code = code.max(told(world, name, host));
    }
    if world.common.json {
        world.print(|| setup_json(&done), String::new);
    }
    Ok(code)
}

/// Returns the steps of every host. With a login of its own, the config's user is made.
fn setups(config: &mut Config, login: Option<&str>) -> Result<Vec<HostSetup>, CliError> {
    let mut setups = Vec::new();
    let mut hosts = config.hosts.clone();
    // Steps are done as root, whoever does everything else.
    let acting = config.sudo.user.take();
    for host in &mut hosts {
        let mut deployer = None;
        if let Some(login) = login {
            let Address::Ssh { user, .. } = &mut host.address else {
                let (flag, value) = ("--as", login.to_owned());
                let expected = "`local` is this machine: run setup there as that user";
                return Err(CliError::BadFlag { flag, value, expected });
            };
            deployer = user.replace(login.to_owned()).or_else(|| config.ssh.user.clone());
            if deployer.is_none() {
                return Err(CliError::NoDeployer { host: host.name.clone() });
            }
        }
        setups.push(HostSetup::of(config, host, acting.clone().or(deployer)));
    }
    config.hosts = hosts;
    Ok(setups)
}

/// Says what became of the steps of a host, and returns the exit code.
fn told(world: &World, name: &str, host: &HostSteps) -> u8 {
    let number = host.steps.iter().filter(|(_, state)| *state == StepState::Done).count();
    if number > 0 {
        world.tell(&format!("{name}: {} done\n", count(number, "step")));
    }
    let mut code = 0;
    for (step, state) in &host.steps {
        let StepState::Failed(why) = state else { continue };
        let what = match step {
            SetupStep::Brought { path, .. } => format!("{path} is missing"),
            step => format!("could not {}", step_line(step, &host.user)),
        };
        let failure = Failure::new(what).because(why.clone()).hint(hint(name, host, step));
        let state = "steps before it were done; later ones were not";
        world.print_failure(&world.sieve(Secrets::default()), Some(name), &failure, state);
        code = 1;
    }
    code
}

/// Returns the command that brings a file which only a person has.
fn hint(name: &str, host: &HostSteps, step: &SetupStep) -> Option<String> {
    let SetupStep::Brought { path, linked } = step else { return None };
    let folder = path.rsplit_once('/')?.0;
    let command = format!("mkdir -p {folder} && umask 077 && cat > {path}");

    let name = name.rsplit('@').next()?;
    Some(format!("`ssh {}@{name} {} < {linked}`", host.user, shown_word(&command)))
}
