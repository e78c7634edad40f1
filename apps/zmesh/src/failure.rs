//! Why a command ended without doing what was asked: one line with what, why and what to do.

use std::fmt;
use std::process::ExitCode;

use zmesh_overlay::NodeError;

/// The outcome of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    misused: bool,
    text: String,
}

impl Failure {
    /// The command, or a file that it was given, has to be changed before it can work: exit code 2.
    pub(crate) fn misused(what: impl fmt::Display, why: impl fmt::Display, next: impl fmt::Display) -> Failure {
        Failure { misused: true, text: one_line(&what, &why, &next) }
    }

    /// The command was right, and the world was not: exit code 1.
    pub(crate) fn failed(what: impl fmt::Display, why: impl fmt::Display, next: impl fmt::Display) -> Failure {
        Failure { misused: false, text: one_line(&what, &why, &next) }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.misused { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a node did not start.
pub(crate) fn not_started(error: NodeError) -> Failure {
    let (what, next) = match &error {
        NodeError::Directory(_) => (
            "the network cannot be entered",
            "see whether UDP leaves this machine and the clock is right, or ask for a newer bootstrap line",
        ),
        NodeError::Guards(_) => (
            "cannot start",
            "restore that file from a copy; without one, take it away: new guards are then drawn, which costs some anonymity",
        ),
        NodeError::Bind { .. } => ("cannot start", "choose another address or port, or stop what uses this one"),
        NodeError::Keys(_) => ("cannot start", "see whether key file and network are those that belong together"),
        NodeError::OtherNetwork | NodeError::OlderNetwork { .. } => {
            ("cannot start", "ask for the newest document of the network that you mean")
        }
        _ => ("cannot start", "the operating system must allow UDP sockets, files and threads"),
    };
    Failure::failed(what, error, next)
}

/// Why there is no circuit.
pub(crate) fn no_circuit(what: impl fmt::Display, why: impl fmt::Display) -> Failure {
    let next = "see what relays the network has (zmesh network show) and whether this machine is online; where they are few, fewer --hops do";
    Failure::failed(what, why, next)
}

/// "what: why; next", without line breaks or control characters, whatever the parts hold.
fn one_line(what: &dyn fmt::Display, why: &dyn fmt::Display, next: &dyn fmt::Display) -> String {
    let joined = format!("{what}: {why}; {next}");
    let mut text = String::with_capacity(joined.len());
    for word in joined.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(word.chars().filter(|c| !c.is_control()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_comes() {
        let failure = Failure::failed("a\nb", "c\r\n  d\u{1b}[31m", "e");
        assert_eq!(failure.to_string(), "a b: c d[31m; e");
    }
}
