//! The program as a person runs it: argv in; exit code, stdout and stderr out.
