//! The zMesh program; all of it is in the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    zmesh_program::run()
}
