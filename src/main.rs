//! The binary: start, call, print one error, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    reinstate::cli::main()
}
