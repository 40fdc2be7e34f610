//! `shipit maintenance`: puts a page or a flag in place on each host, or removes it.

use std::path::PathBuf;

use serde_json::json;

use super::args::MaintenanceArgs;
use super::error::CliError;
use super::output::print;
use super::world::World;
use crate::config::{Config, Maintenance, at_home};
use crate::deploy::context::RunContext;
use crate::deploy::stream::set_flag;
use crate::report::human::list;
use crate::report::json::VERSION;

/// Turns maintenance on or off. Returns 1 if a host failed.
pub(crate) async fn run(world: &World, args: &MaintenanceArgs) -> Result<u8, CliError> {
    let config = world.config(&args.stage)?;
    let missing = || CliError::NoMaintenance { stage: config.stage.clone() };
    let place = config.maintenance.as_ref().ok_or_else(missing)?;
    let (switch, on) = (&args.switch, args.switch == "on");
    let message = args.message.as_deref().unwrap_or_default();
    let content = if on { Some(content(world, &config, place, message)?) } else { None };
    let path = config.layout.shared(&place.file);
    if world.common.dry_run {
        let verb = if on { "write" } else { "remove" };
        print(&format!("would {verb} {path} on {}\n", list(&config.host_names())));
        return Ok(0);
    }
    let note = format!("maintenance {switch} by {} {message}", world.who());
    let note = note.split_whitespace().collect::<Vec<_>>().join(" ");
    let set = async |cx: RunContext<'_>| set_flag(cx, &place.file, content.as_deref(), &note).await;
    let (done, code) = world.found(world.quietly(&config, "maintenance", set).await?);
    let hosts: Vec<_> = done.iter().map(|(host, ())| host.as_str()).collect();
    if world.common.json {
        let report = json!({
            "v": VERSION, "event": "report", "goal": "maintenance", "stage": config.stage,
            "exit_code": code, "on": on, "hosts": hosts,
        });
        print(&format!("{report}\n"));
    } else if !hosts.is_empty() {
        world.tell(&format!("maintenance is {switch}: {}\n", list(&hosts)));
    }
    Ok(code)
}

/// Returns the content of the file.
fn content(
    world: &World,
    config: &Config,
    place: &Maintenance,
    message: &str,
) -> Result<String, CliError> {
    let Some(path) = &place.template else { return Ok(format!("{message}\n")) };
    let home = world.var("HOME").map(PathBuf::from).unwrap_or_default();
    let path = config.base.join(at_home(path, &home));
    let template = std::fs::read_to_string(&path);
    let template = template.map_err(|source| CliError::Template { path: path.clone(), source })?;
    let html = path.extension().is_some_and(|it| it == "html" || it == "htm");
    let values = [("{message}", message), ("{by}", world.who()), ("{stage}", &config.stage)];
    Ok(filled(&template, &values, html))
}

/// Returns a template with its values. Placeholders within values stay as they are.
fn filled(template: &str, values: &[(&str, &str)], html: bool) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out += &rest[..at];
        rest = &rest[at..];
        let (taken, value) = match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) if html => (name.len(), escaped(value)),
            Some((name, value)) => (name.len(), (*value).to_owned()),
            None => (1, "{".to_owned()),
        };
        out += &value;
        rest = &rest[taken..];
    }
    out + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_once_and_safe_in_html() {
        let values = [("{message}", "<b> & {by}"), ("{by}", "ada")];
        assert_eq!(filled("{a} {message} by {by} {", &values, false), "{a} <b> & {by} by ada {");
        assert_eq!(filled("{message}", &values, true), "&lt;b&gt; &amp; {by}");
    }
}
