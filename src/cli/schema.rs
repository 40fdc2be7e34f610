//! `shipit schema`: JSON Schemas for editors, and for those who read `--json`.

use super::args::SchemaArg;
use super::output::print;
use crate::config::schema::schema;
use crate::report::json;

/// Prints a schema.
pub(crate) fn run(of: SchemaArg) -> u8 {
    match of {
        SchemaArg::Config => print(&format!("{:#}\n", schema())),
        SchemaArg::Output => print(json::SCHEMA),
    }
    0
}
