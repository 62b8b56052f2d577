//! The corpora: planted secrets go in every form they are handed to a program in, benign lines stay.

use std::collections::HashSet;

use skep_event::Text;
use skep_redact::Redactor;

const PLANTED: &str = include_str!("../corpus/planted.txt");
const BENIGN: &str = include_str!("../corpus/benign.txt");

/// How many benign lines may change.
const CHANGED_AT_MOST: usize = 3;

struct Planted {
    kind: &'static str,
    source: &'static str,
    /// Without the marks.
    command: String,
    secrets: Vec<String>,
}

fn planted() -> Vec<Planted> {
    let rows = PLANTED.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut columns = line.splitn(3, " | ");
        let mut column = || columns.next().expect("three columns");
        let (kind, source) = (column(), column());
        let marked = column().replace('␤', "\n");
        let secrets = marked.split('⟦').skip(1);
        let secrets = secrets.map(|rest| rest.split('⟧').next().expect("an end").to_owned());
        Planted {
            kind,
            source,
            secrets: secrets.collect(),
            command: marked.replace(['⟦', '⟧'], ""),
        }
    })
    .collect()
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// The forms in which a command line reaches the sensor.
fn forms(command: &str) -> Vec<Vec<String>> {
    let wrapped = format!(
        "shopt -u extglob 2>/dev/null || true && eval {} < /dev/null && pwd -P >| /tmp/x-cwd",
        single(command)
    );
    let double = command.replace('\\', "\\\\").replace('"', "\\\"");
    let double = double.replace('$', "\\$").replace('`', "\\`");
    let mut forms = vec![
        vec!["bash".to_owned(), "-c".to_owned(), command.to_owned()],
        vec!["/bin/bash".to_owned(), "-c".to_owned(), wrapped],
        vec![
            "sh".to_owned(),
            "-lc".to_owned(),
            format!("cd /srv && {command}"),
        ],
        vec![
            "bash".to_owned(),
            "-c".to_owned(),
            format!("ssh h.example \"{double}\""),
        ],
        vec!["ssh".to_owned(), "h.example".to_owned(), command.to_owned()],
    ];
    // As the arguments of a program, where that needs no shell.
    if let Some(words) = words(command) {
        forms.push(words);
    }
    forms
}

/// The words of a command line with plain quotes; `None` when it needs a shell.
fn words(command: &str) -> Option<Vec<String>> {
    if command.contains(|c: char| "|;&<>(){}$`\\\n*~".contains(c)) {
        return None;
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut()?.push(c),
        }
    }
    // An assignment in front of a command needs a shell, or `env`.
    if words[0].contains('=') {
        words.insert(0, "env".to_owned());
    }
    Some(words)
}

fn redacted(redactor: &Redactor, argv: &[String]) -> String {
    let argv: Vec<Text> = argv.iter().map(|word| word.as_str().into()).collect();
    let once = redactor.argv(&argv, false).unwrap_or(argv);
    assert_eq!(
        redactor.argv(&once, false),
        None,
        "redacting twice is redacting once: {once:?}"
    );
    let words = once
        .iter()
        .map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned());
    words.collect::<Vec<_>>().join(" ␣ ")
}

#[test]
fn no_planted_secret_comes_out_in_any_form() {
    let redactor = Redactor::new();
    let mut out = Vec::new();
    for planted in planted() {
        for form in forms(&planted.command) {
            let text = redacted(&redactor, &form);
            if planted
                .secrets
                .iter()
                .any(|secret| text.contains(secret.as_str()))
            {
                out.push(format!("{}: {text}", planted.source));
            }
        }
    }
    assert!(out.is_empty(), "{} of them:\n{}", out.len(), out.join("\n"));
}

#[test]
fn the_corpus_of_planted_secrets_is_wide() {
    let planted = planted();
    assert!(planted.iter().all(|planted| !planted.secrets.is_empty()));
    let of = |kind: &str| planted.iter().filter(|p| p.kind == kind).count();
    let sources = |kind: &str| {
        let of_kind = planted.iter().filter(|p| p.kind == kind);
        of_kind.map(|p| p.source).collect::<HashSet<_>>().len()
    };
    assert!(of("program") >= 400, "{}", of("program"));
    assert!(sources("program") >= 150, "{}", sources("program"));
    assert!(sources("token") >= 120, "{}", sources("token"));
    assert!(sources("address") >= 25, "{}", sources("address"));
}

#[test]
fn ordinary_command_lines_stay_as_they_are() {
    let redactor = Redactor::new();
    let lines: Vec<&str> = BENIGN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(lines.len() >= 3000, "{}", lines.len());
    assert_eq!(
        lines.iter().collect::<HashSet<_>>().len(),
        lines.len(),
        "no line twice"
    );
    let mut changed = Vec::new();
    for line in lines {
        let command = line.replace('␤', "\n");
        for form in forms(&command) {
            let before = form.join(" ␣ ");
            let after = redacted(&redactor, &form);
            if before != after {
                changed.push(format!("{before}\n  {after}"));
                break;
            }
        }
    }
    assert!(
        changed.len() <= CHANGED_AT_MOST,
        "{} of them:\n{}",
        changed.len(),
        changed.join("\n")
    );
}
