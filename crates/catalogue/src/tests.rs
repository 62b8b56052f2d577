use std::{collections::HashSet, fs};

use super::*;

const FAMILY: &str = "schema = 1\n[family]\nid = \"x\"\ntitle = \"X\"\nvendor = \"V\"\n";
const PACKAGE: &str = "[[package]]\nname = \"x\"\nentry = [\"cli.js\"]\nweight = 80\n";

fn refusal(text: &str) -> (usize, Problem) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("x.toml");
    fs::write(&path, text).expect("writes");
    match Catalogue::with_directory(directory.path()) {
        Err(CatalogueError::Invalid {
            path: named,
            line,
            problem,
        }) => {
            assert_eq!(named, path);
            (line, problem)
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn the_embedded_catalogue_holds_every_family_of_the_issue() {
    let catalogue = Catalogue::embedded();
    let ids: HashSet<&str> = catalogue.families().iter().map(|f| f.id.as_str()).collect();
    for id in [
        "claude-code",
        "github-copilot-cli",
        "gemini-cli",
        "codex",
        "qwen-code",
        "qoder-cli",
        "opencode",
        "aider",
        "cursor-agent",
        "crush",
        "antigravity-cli",
        "cline",
        "continue",
        "goose",
        "kilo-code",
        "kiro-cli",
        "openhands",
        "skep-demo-agent",
    ] {
        assert!(ids.contains(id), "{id}");
    }
    let demo = catalogue.family("skep-demo-agent").expect("present");
    assert!(demo.title.contains("demo"), "{}", demo.title);
}

#[test]
fn every_catalogue_file_is_embedded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("families");
    let mut on_disk: Vec<String> = fs::read_dir(directory)
        .expect("catalogue directory")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("name")
        })
        .collect();
    on_disk.sort();
    let mut embedded: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
    embedded.push(GENERIC_NAME);
    embedded.sort_unstable();
    assert_eq!(on_disk, embedded);
}

#[test]
fn a_program_with_the_catalogue_in_it_does_not_hold_what_agents_do() {
    let catalogue = Catalogue::embedded();
    let generic = catalogue.generic().expect("embedded");
    let embedded: Vec<u8> = EMBEDDED
        .iter()
        .flat_map(|(_, text)| text.bytes())
        .chain(super::GENERIC)
        .collect();
    let holds = |text: &String| contains(&embedded, text.as_bytes());
    let is_there = |kind: usize| {
        let texts = &generic.kinds[kind].texts;
        !texts.is_empty() && texts.iter().all(|list| list.iter().any(holds))
    };
    assert!(!generic.is_required_there(is_there));
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn a_shell_is_no_runtime() {
    let catalogue = Catalogue::embedded();
    for shell in ["sh", "bash", "dash", "zsh", "fish", "busybox", "env"] {
        let named = |runtime: &Runtime| {
            runtime
                .file_name
                .iter()
                .any(|n| n.matches(shell.as_bytes()))
        };
        assert!(!catalogue.runtimes().iter().any(named), "{shell}");
    }
}

#[test]
fn only_allow_listed_environment_names_are_looked_at() {
    let catalogue = Catalogue::embedded();
    assert_eq!(catalogue.environment_names(), ["BUN_BE_BUN"]);
    let mut values: Vec<&str> = catalogue
        .runtimes()
        .iter()
        .flat_map(Runtime::environment_values)
        .collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(
        values,
        [
            "BUN_OPTIONS",
            "DENO_DIR",
            "HOME",
            "NODE_OPTIONS",
            "NODE_PATH",
            "NODE_REPL_EXTERNAL_MODULE",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "XDG_CACHE_HOME",
        ]
    );
}

#[test]
fn an_option_that_loads_code_takes_a_value() {
    for runtime in Catalogue::embedded().runtimes() {
        for option in &runtime.load_options {
            assert!(
                runtime.value_options.contains(option),
                "{} {option}",
                runtime.id
            );
        }
        for option in &runtime.code_options {
            assert!(
                !runtime.no_script_options.contains(option),
                "{} {option}",
                runtime.id
            );
        }
    }
}

#[test]
fn no_name_tips_the_scale() {
    for family in Catalogue::embedded().families() {
        for name in &family.names {
            assert!(name.weight <= NAME_WEIGHT_MAX && NAME_WEIGHT_MAX < MIN_CONFIDENCE);
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_keys_there_are() {
    let (line, problem) = refusal(&format!("{FAMILY}{PACKAGE}colour = \"red\"\n"));
    assert_eq!(line, 10);
    let text = problem.to_string();
    assert!(
        text.contains("unknown field `colour`") && text.contains("`version_suffix`"),
        "{text}"
    );
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    let (line, problem) = refusal(&format!("{FAMILY}{}", PACKAGE.replace("80", "\"80\"")));
    assert_eq!(line, 9);
    assert!(
        problem.to_string().contains("invalid type: string"),
        "{problem}"
    );
}

#[test]
fn a_bad_regular_expression_is_refused_with_its_line() {
    let marker = "[[marker]]\nin = \"bun\"\ntext = \"12345678\"\nversion = '(1'\nweight = 60\n";
    let (line, problem) = refusal(&format!("{FAMILY}{marker}"));
    assert_eq!(line, 9);
    assert_eq!(
        problem.to_string(),
        "version is not a regular expression: unclosed group"
    );
    let (_, problem) = refusal(&format!("{FAMILY}{}", marker.replace("(1", "1")));
    assert_eq!(problem, Problem::NoVersionGroup { key: "version" });
}

#[test]
fn a_weight_out_of_range_is_refused() {
    let (line, problem) = refusal(&format!("{FAMILY}{}", PACKAGE.replace("80", "100")));
    assert_eq!(
        (line, problem),
        (
            9,
            Problem::Weight {
                found: 100,
                max: 95
            }
        )
    );
    let name = "[[name]]\nname = \"x\"\nweight = 60\n";
    let (_, problem) = refusal(&format!("{FAMILY}{PACKAGE}{name}"));
    assert_eq!(
        problem,
        Problem::Weight {
            found: 60,
            max: NAME_WEIGHT_MAX
        }
    );
}

#[test]
fn a_family_known_by_names_only_is_refused() {
    let (line, problem) = refusal(&format!("{FAMILY}[[name]]\nname = \"x\"\nweight = 5\n"));
    assert_eq!(
        (line, problem),
        (2, Problem::NamesOnly { id: "x".to_owned() })
    );
}

#[test]
fn a_layout_that_is_a_name_in_disguise_is_refused() {
    let (line, _) = refusal(&format!(
        "{FAMILY}[[layout]]\npath = \"**/claude\"\nweight = 60\n"
    ));
    assert_eq!(line, 7);
}

#[test]
fn a_marker_that_would_read_every_program_is_refused() {
    let marker =
        "[[marker]]\nin = \"section\"\nsection = \".rodata\"\ntext = \"12345678\"\nweight = 60\n";
    let (_, problem) = refusal(&format!("{FAMILY}{marker}"));
    assert!(
        matches!(
            problem,
            Problem::Value {
                key: "min_size",
                ..
            }
        ),
        "{problem}"
    );
}

#[test]
fn a_file_for_another_schema_or_with_nothing_in_it_is_refused() {
    let (line, problem) = refusal(&FAMILY.replace("= 1", "= 2"));
    assert_eq!((line, problem), (1, Problem::Schema { found: 2 }));
    assert_eq!(refusal("schema = 1\n"), (1, Problem::Empty));
    let (line, problem) = refusal(&format!("schema = 1\n{PACKAGE}"));
    assert_eq!((line, problem), (2, Problem::NoFamily { table: "package" }));
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    assert_eq!(refusal("schema = 1\n[family\n").0, 2);
}

#[test]
fn a_directory_replaces_one_family_and_adds_another() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let replaced = FAMILY.replace("\"x\"", "\"codex\"");
    fs::write(
        directory.path().join("a.toml"),
        format!("{replaced}{PACKAGE}"),
    )
    .expect("writes");
    fs::write(
        directory.path().join("b.toml"),
        format!("{FAMILY}{PACKAGE}"),
    )
    .expect("writes");
    fs::write(directory.path().join("notes.txt"), "not a catalogue").expect("writes");
    let catalogue = Catalogue::with_directory(directory.path()).expect("loads");
    assert_eq!(
        catalogue.families().len(),
        Catalogue::embedded().families().len() + 1
    );
    assert!(
        catalogue
            .family("codex")
            .expect("present")
            .markers
            .is_empty()
    );
    assert!(catalogue.family("x").is_some());
}

#[test]
fn one_bad_file_refuses_the_whole_directory() {
    let directory = tempfile::tempdir().expect("temporary directory");
    fs::write(
        directory.path().join("a.toml"),
        format!("{FAMILY}{PACKAGE}"),
    )
    .expect("writes");
    fs::write(directory.path().join("b.toml"), "schema = 1\nfoo = 1\n").expect("writes");
    let error = Catalogue::with_directory(directory.path())
        .expect_err("refused")
        .to_string();
    assert!(error.contains("b.toml:2: unknown field `foo`"), "{error}");
}

#[test]
fn two_files_with_one_id_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for name in ["a.toml", "b.toml"] {
        fs::write(directory.path().join(name), format!("{FAMILY}{PACKAGE}")).expect("writes");
    }
    let error = Catalogue::with_directory(directory.path())
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("b.toml:3: `x` is already defined in"),
        "{error}"
    );
}

#[test]
fn a_missing_directory_is_an_error_that_names_it() {
    let error =
        Catalogue::with_directory(Path::new("/nonexistent/catalogue")).expect_err("refused");
    assert!(
        error
            .to_string()
            .starts_with("cannot read /nonexistent/catalogue: "),
        "{error}"
    );
}

const GENERIC: &str = "schema = 1\n[generic]\nrequired = [[\"a\", \"b\"]]\nothers = 1\n";
const KINDS: &str = "[[generic.kind]]\nid = \"a\"\nsays = \"A\"\nweight = 30\nnpm = [\"x\"]\n\
    [[generic.kind]]\nid = \"b\"\nsays = \"B\"\nweight = 30\ntext = [\"some text\"]\n\
    [[generic.kind]]\nid = \"c\"\nsays = \"C\"\nweight = 20\nwords = '\\bagent\\b'\n";

#[test]
fn generic_evidence_needs_all_that_is_required_and_some_of_the_others() {
    let text = format!("{GENERIC}{KINDS}");
    let catalogue = Catalogue::of_text(Path::new("generic.toml"), &text).expect("well-formed");
    let generic = catalogue.generic().expect("there");
    let sure = |kinds: &[usize], points| generic.confidence(|kind| kinds.contains(&kind), points);
    assert_eq!(sure(&[0, 1, 2], 0), Some(61));
    assert_eq!(sure(&[0, 1, 2], 12), None, "below what an agent must have");
    for few in [&[0, 1][..], &[0, 2], &[1, 2]] {
        assert_eq!(sure(few, 0), None, "{few:?}");
    }
    assert!(generic.is_required_there(|kind| kind < 2));
}

#[test]
fn generic_evidence_that_makes_no_sense_is_refused() {
    for (from, to, line) in [
        ("\"b\"]]", "\"d\"]]", 3),
        ("weight = 30\nnpm", "weight = 61\nnpm", 8),
        ("some text", "short", 14),
        ("id = \"c\"", "id = \"a\"", 16),
        ("agent\\b", "agent(", 19),
    ] {
        let text = format!("{GENERIC}{KINDS}");
        assert!(text.contains(from), "{from}");
        let (found, problem) = refusal(&text.replacen(from, to, 1));
        assert_eq!(found, line, "{from}: {problem}");
    }
    let family = FAMILY.replace("\"x\"", "\"unknown\"") + PACKAGE;
    assert!(matches!(
        refusal(&family),
        (3, Problem::Value { key: "id", .. })
    ));
}
