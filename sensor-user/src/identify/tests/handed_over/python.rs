//! The same of Python.

use super::{archives::zip, *};

fn aider(world: &World) -> String {
    super::super::scripts::aider(world, "venv")
}

#[test]
fn python_code_is_judged_by_what_it_imports_and_runs() {
    let mut world = World::new();
    let site = aider(&world);
    world.file(&format!("{site}/aider/main.py"), "1");
    let python = interpreter(&world, "python3.11");
    let main = world.path(&format!("{site}/aider/main.py"));
    let by_path = format!("import runpy; runpy.run_path('{}')", main.display());
    let by_exec = format!("exec(open('{}').read())", main.display());
    let standing = Standing::start(&[], Stdio::null());
    for code in [
        "from aider.main import main; main()",
        "import aider.main as m; m.main()",
        "import runpy; runpy.run_module(\"aider\", run_name=\"__main__\")",
        "__import__('aider.main').main.main()",
        &by_path,
        &by_exec,
    ] {
        let judgement = standing.judge(&mut world, &python, &["venv/bin/python3", "-c", code]);
        let agent = assert_agent(judgement, "aider", Some("0.86.2"));
        assert_says(&agent, "named in the code");
    }
    for code in [
        "print('aider')",
        "import aider; print(aider.__version__)",
        "import json; json.load(open('aider'))",
    ] {
        let words = ["venv/bin/python3", "-c", code];
        assert_plain(&standing.judge(&mut world, &python, &words));
    }
    // Named, and not where an interpreter looks first: its files will tell.
    let words = ["other/bin/python3", "-c", "from aider.main import main"];
    let judgement = standing.judge(&mut world, &python, &words);
    assert!(
        judgement.waits && judgement.unjudged.is_none(),
        "{judgement:?}"
    );
    let path = world.path(&site);
    let on_path = Standing::start(
        &[("PYTHONPATH", path.to_str().expect("text"))],
        Stdio::null(),
    );
    let judgement = on_path.judge(&mut world, &python, &words);
    assert_agent(judgement, "aider", Some("0.86.2"));
}

#[test]
fn a_distribution_of_the_users_own_is_found_by_their_home() {
    let mut world = World::new();
    super::super::scripts::aider(&world, "home/.local");
    let python = interpreter(&world, "python3.11");
    let home = world.path("home");
    let standing = Standing::start(&[("HOME", home.to_str().expect("text"))], Stdio::null());
    let judgement = standing.judge(&mut world, &python, &["python3", "-m", "aider"]);
    assert_agent(judgement, "aider", Some("0.86.2"));
}

#[test]
fn what_python_runs_before_a_persons_first_command_counts_at_a_terminal_alone() {
    let mut world = World::new();
    let site = aider(&world);
    let startup = world.file(&format!("{site}/aider/main.py"), "1");
    let startup = startup.to_str().expect("text");
    let python = interpreter(&world, "python3.11");
    let environment = [("PYTHONSTARTUP", startup)];
    let piped = Standing::start(&environment, Stdio::piped());
    let interactive = piped.judge(&mut world, &python, &["python3", "-i"]);
    let agent = assert_agent(interactive, "aider", Some("0.86.2"));
    assert_says(&agent, "loaded by PYTHONSTARTUP");
    assert_waits(
        &piped.judge(&mut world, &python, &["python3"]),
        CodeFrom::Stream,
    );
    world.file("other.py", "1");
    assert_plain(&piped.judge(&mut world, &python, &["python3", "-i", "other.py"]));
}

const METADATA: &str = "Metadata-Version: 2.4\nName: aider-chat\nVersion: 0.86.2\n\n";

#[test]
fn a_zip_application_is_judged_by_what_it_starts() {
    let mut world = World::new();
    let python = interpreter(&world, "python3.11");
    let standing = Standing::start(&[], Stdio::null());
    let main = "import aider.main\naider.main.main()\n";
    let at_root = ("aider_chat-0.86.2.dist-info/METADATA", METADATA);
    let in_site = (
        "site-packages/aider_chat-0.86.2.dist-info/METADATA",
        METADATA,
    );
    let in_deps = (
        ".deps/aider_chat-0.86.2-py3-none-any.whl/aider_chat-0.86.2.dist-info/METADATA",
        METADATA,
    );
    for files in [
        &[("__main__.py", main), at_root][..],
        &[
            ("__main__.py", "import _bootstrap"),
            ("environment.json", r#"{"entry_point":"aider.main:main"}"#),
            in_site,
        ],
        &[
            ("__main__.py", "boot()"),
            ("PEX-INFO", r#"{"entry_point":"aider.main:main","other":1}"#),
            in_deps,
        ],
        &[
            ("__main__.py", "boot()"),
            ("PEX-INFO", r#"{"script":"aider"}"#),
            in_deps,
        ],
    ] {
        let with_interpreter = [b"#!/usr/bin/env python3\n".as_slice(), &zip(files)].concat();
        for bytes in [zip(files), with_interpreter] {
            world.file("app", bytes);
            let judgement = standing.judge(&mut world, &python, &["python3", "app"]);
            assert_agent(judgement, "aider", Some("0.86.2"));
        }
    }
    for files in [
        &[("__main__.py", "import other"), at_root][..],
        &[("__main__.py", main)],
        &[("x", "y")],
    ] {
        world.file("app", zip(files));
        assert_plain(&standing.judge(&mut world, &python, &["python3", "app"]));
    }
}

#[test]
fn a_directory_is_run_by_its_main_file() {
    let mut world = World::new();
    let site = aider(&world);
    let python = interpreter(&world, "python3.11");
    let standing = Standing::start(&[], Stdio::null());
    let directory = format!("{site}/aider");
    let judgement = standing.judge(&mut world, &python, &["python3", &directory]);
    assert_agent(judgement, "aider", Some("0.86.2"));
}

#[test]
fn a_console_script_behind_a_long_line_is_still_one() {
    let mut world = World::new();
    aider(&world);
    let folders: String = (0..400).map(|n| format!("'/nix/store/{n:064}',")).collect();
    let script = format!(
        "#!/usr/bin/python3\nimport site;[site.addsitedir(p) for p in [{folders}]]\nfrom aider.main import main\n"
    );
    assert!(script.len() > 24_000);
    world.file("venv/bin/wrapped", script);
    let python = interpreter(&world, "python3.11");
    let standing = Standing::start(&[], Stdio::null());
    let judgement = standing.judge(&mut world, &python, &["python3", "venv/bin/wrapped"]);
    assert_agent(judgement, "aider", Some("0.86.2"));
}
