//! `shipit schema`: JSON Schemas for editors, and for those who read `--json`.

use super::args::{SchemaArg, SchemaArgs};
use super::output::print;
use crate::config::schema::schema;
use crate::report::json;

/// Prints a schema.
pub(crate) fn run(args: &SchemaArgs) -> u8 {
    match args.of {
        SchemaArg::Config => print(&format!("{:#}\n", schema())),
        SchemaArg::Output => print(json::SCHEMA),
    }
    0
}
