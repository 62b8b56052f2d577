//! The project an agent works on, and the one tool command it is asked to run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::Run;

/// The file the tool command makes: its presence says that the command ran, its name, with spaces,
/// that arguments arrive unbroken.
pub const TOOL_FILE: &str = "made by the tool";

/// Files of the project.
const FILES: [(&str, &str); 5] = [
    ("README.md", "# shop\n\nA shop, to try agents on.\n"),
    (
        "src/cart.py",
        "def total(items):\n    return sum(items)  # TODO: discounts\n",
    ),
    (
        "src/order.py",
        "from cart import total\n\n# TODO: refuse empty orders\n",
    ),
    ("Makefile", "check:\n\tpython3 -m compileall -q src\n"),
    (".env", "SHOP_MODE=demo\n"),
];

/// The remote of the repository; reserved for examples (RFC 2606), never contacted.
pub const REMOTE: &str = "https://git.example.com/shop/shop.git";
/// The branch of the repository.
pub const BRANCH: &str = "main";

/// Makes the folders of a session: `home`, `tmp`, and `project` with its files and repository.
pub fn lay_out(scratch: &Path) -> Result<()> {
    let project = scratch.join("project");
    for folder in ["home", "tmp"] {
        std::fs::create_dir_all(scratch.join(folder))?;
    }
    for (name, content) in FILES {
        let path = project.join(name);
        std::fs::create_dir_all(path.parent().expect("a file of the project is in a folder"))?;
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let git = |arguments: &[&str]| {
        Command::new("git")
            .args(arguments)
            .current_dir(&project)
            .env("HOME", scratch.join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .quiet_output()
    };
    git(&["init", "--quiet", "--initial-branch", BRANCH])?;
    git(&["remote", "add", "origin", REMOTE])?;
    Ok(())
}

/// The arguments of the program the tool command runs.
pub const TOOL_ARGV: [&str; 2] = ["/usr/bin/touch", TOOL_FILE];

/// The shell command the model asks for. The demo agent's does a little more, for a tree worth
/// looking at.
pub fn tool_command(is_demo: bool) -> String {
    let touch = format!("{} '{}'", TOOL_ARGV[0], TOOL_ARGV[1]);
    if is_demo {
        format!("grep -rn TODO src > todo.txt; cp README.md README.bak; wc -l todo.txt; {touch}")
    } else {
        touch
    }
}
