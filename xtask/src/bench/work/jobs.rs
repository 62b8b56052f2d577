//! The jobs: a compile, a clone, a search. Everything they need is made in a scratch folder, but for
//! the repository that is cloned, which is this one.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Name of the search.
pub const SEARCH: &str = "grep";

/// C files of the compile: each is a process of the driver, the compiler and the assembler.
const SOURCES: usize = 20;
/// Functions in each.
const FUNCTIONS: usize = 60;
/// Clones in one run, so that it takes seconds.
const CLONES: usize = 4;
/// The tree that is searched: folders, and files in each.
const FOLDERS: usize = 500;
const FILES: usize = 100;
const HEADERS: [&str; 10] = [
    "stdio", "stdlib", "string", "errno", "signal", "time", "unistd", "fcntl", "math", "pthread",
];

/// Something to be done.
pub struct Job {
    pub name: &'static str,
    /// For people.
    pub title: String,
    pub command: Vec<String>,
    /// Removed before each run.
    output: Option<PathBuf>,
}

impl Job {
    /// Removes what the last run left.
    pub fn clear(&self) -> Result<()> {
        if let Some(output) = &self.output
            && output.exists()
        {
            std::fs::remove_dir_all(output)
                .with_context(|| format!("cannot remove {}", output.display()))?;
        }
        Ok(())
    }
}

/// Makes what the jobs work on.
pub fn prepare(folder: &Path) -> Result<Vec<Job>> {
    Ok(vec![compile(folder)?, clone(folder)?, search(folder)?])
}

fn shell(script: String) -> Vec<String> {
    ["sh", "-e", "-c", &script].map(str::to_owned).to_vec()
}

fn compile(folder: &Path) -> Result<Job> {
    let sources = folder.join("sources");
    std::fs::create_dir(&sources)?;
    for number in 0..SOURCES {
        let mut text = String::new();
        for header in HEADERS {
            writeln!(text, "#include <{header}.h>")?;
        }
        for function in 0..FUNCTIONS {
            writeln!(
                text,
                "int f{number}_{function}(const char *text, int limit) {{\n\
                 \x20 int sum = {function};\n\
                 \x20 for (int i = 0; i < limit && text[i]; i++) sum = sum * 31 + text[i] % {};\n\
                 \x20 return sum ? sum : (int)strlen(text);\n}}",
                function + 2
            )?;
        }
        std::fs::write(sources.join(format!("{number}.c")), text)?;
    }
    Ok(Job {
        name: "compile",
        title: format!("compile of {SOURCES} C files"),
        command: shell(format!(
            "cd {}; for file in *.c; do cc -O1 -c $file; done",
            sources.display()
        )),
        output: None,
    })
}

fn clone(folder: &Path) -> Result<Job> {
    let root = workspace::root();
    ensure!(
        root.join(".git").exists(),
        "{} is no git repository: there is nothing to clone",
        root.display()
    );
    let output = folder.join("clones");
    Ok(Job {
        name: "clone",
        title: format!("`git clone` of this repository, {CLONES} times"),
        command: shell(format!(
            "for number in $(seq {CLONES}); do git clone --quiet --no-local {} {}/$number; done",
            root.display(),
            output.display()
        )),
        output: Some(output),
    })
}

fn search(folder: &Path) -> Result<Job> {
    let tree = folder.join("tree");
    let content = "a line of text that is not what is looked for\n".repeat(20);
    for number in 0..FOLDERS {
        let folder = tree.join(format!("{}/{number}", number / 20));
        std::fs::create_dir_all(&folder)?;
        for file in 0..FILES {
            std::fs::write(folder.join(format!("file-{file}.txt")), &content)?;
        }
    }
    Ok(Job {
        name: SEARCH,
        title: format!("`grep -r` over {} files", FOLDERS * FILES),
        // It finds nothing, which grep says with 1.
        command: shell(format!("grep -r needle {} || [ $? -eq 1 ]", tree.display())),
        output: None,
    })
}
