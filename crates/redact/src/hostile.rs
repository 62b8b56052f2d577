//! Hostile text: the work is linear in its length, whatever it is.

use proptest::prelude::*;

use super::*;
use crate::work::Work;

/// Text of about `length` bytes that makes readers start over.
fn hostile(length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let repeat = |what: &str| what.repeat(length / what.len() + 1).into_bytes();
    let around = |open: &str, close: &str| {
        let times = length / (open.len() + close.len()) + 1;
        (open.repeat(times) + &close.repeat(times)).into_bytes()
    };
    let behind = |start: &str, what: &str| [start.as_bytes(), &repeat(what)].concat();
    let nested = {
        let mut text = "mysql -phunter2".to_owned();
        while text.len() < length {
            text = format!("eval '{}'", text.replace('\'', "'\"'\"'"));
        }
        text.into_bytes()
    };
    vec![
        ("single quotes", repeat("' ")),
        ("double quotes", repeat("\" ")),
        ("wrapped quotes", repeat("'\"'\"'")),
        ("quotes in quotes", nested),
        ("escaped quotes", repeat("key=\\\"\\'")),
        ("open substitutions", repeat("$(")),
        ("open substitutions and words", repeat("$(mysql -p ")),
        ("open braces", repeat("${x:-")),
        ("nested substitutions", around("$(a ", ")")),
        ("nested quotes and substitutions", around("\"$(", ")\"")),
        ("backquotes", repeat("`a ")),
        ("backquotes in substitutions", behind("$(", "`$(`")),
        ("at signs", repeat("@")),
        ("addresses", repeat("a:b@c ")),
        ("open address", behind("a:", "b@c:")),
        ("schemes", repeat("a://")),
        ("schemes and at signs", repeat("a://@")),
        ("encoded schemes", repeat("a://b%3A%2F%2F")),
        ("parameters", behind("a://b?", "key=&")),
        ("here-documents", repeat("<<A ")),
        (
            "here-documents, then lines",
            [repeat("<<A "), repeat("\nb")].concat(),
        ),
        ("here-strings", repeat("<<< x ")),
        ("names", repeat("key")),
        ("assignments", repeat("key=")),
        ("assignments of passwords", repeat("password=x;")),
        ("colons", repeat("password: ")),
        ("quoted names", repeat("\"token\":\"")),
        ("headers", repeat("Authorization: ")),
        ("bearers", repeat("bearer ")),
        ("clauses", repeat("identified by ")),
        ("clauses and quotes", repeat("password '' ")),
        ("keys", repeat("-----BEGIN ")),
        ("private keys", repeat("-----BEGIN PRIVATE KEY-----")),
        ("tokens", repeat("sk-ant-")),
        ("tokens with a dash", repeat("sk-a-")),
        ("web tokens", repeat("eyJaaaaaaaa.")),
        ("web tokens in a run", repeat("eyJaaaaaaaa-")),
        ("telegrams", repeat("1:AA")),
        ("hooks", repeat("/hooks/")),
        ("programs", repeat("mysql ")),
        (
            "different programs",
            repeat("mysql curl redis-cli sshpass keytool ldapsearch vault bw op "),
        ),
        ("options", behind("mysql ", "-p -p ")),
        ("pipes", repeat("echo a | sudo -S b | ")),
        ("groups", repeat("( echo a | ")),
        ("closed groups", around("(echo a|", ")|sudo -S x")),
        ("remote commands", repeat("echo a | ssh h 'sudo -S b c' | ")),
        ("calls", repeat("hashpw(")),
        ("calls and quotes", repeat("hashpw('a")),
        ("calls in calls", around("hashpw(\"", "\")")),
        ("prompts", repeat("expect assword send ")),
        (
            "prompts and answers",
            repeat("expect \"assword\" send \"a\" "),
        ),
        ("variables of expect", behind("expect ", "set password ")),
        ("manifests", repeat("stringData: {")),
        (
            "manifests in lines",
            repeat("kind: Secret\nstringData:\n a: b\n"),
        ),
        ("manifests in open lines", repeat("stringData:\n")),
        ("values", repeat("key value=")),
        ("names and values", repeat("name=DB_PASSWORD,value=x,")),
        ("elements", repeat("<password>")),
        ("elements with attributes", repeat("<a:password ")),
        ("arguments by name", repeat("('password','")),
        (
            "process substitutions",
            repeat("gpg --passphrase-file <(echo a) "),
        ),
        ("open process substitutions", repeat("--key-file=<(echo ")),
        ("commands for passwords", repeat("A_PASSCOMMAND='echo a' ")),
        ("files of passwords", repeat("echo a >.pgpass;")),
        (
            "files of passwords, piped",
            repeat("echo a | tee .pgpass | "),
        ),
        ("formats", behind("printf '", "PASSWORD=%s' a ")),
        ("encoded twice", behind("a://", "b%253A%252F%252F")),
        ("one word", repeat("a")),
        ("one word after a flag", behind("mysql --password ", "aB3")),
        ("dots", repeat("dp.st.")),
        ("dollars", repeat("$")),
        ("backslashes", repeat("\\")),
        ("comments", repeat("# ' ")),
        ("mixed", repeat("'\"`$(<<A\n@:=key://")),
    ]
}

/// The work of redacting `bash -c TEXT` once.
fn work(text: &[u8]) -> u64 {
    let redactor = Redactor::new();
    let argv = ["bash".into(), "-c".into(), Text::from(text)];
    let mut work = Work::for_arguments(&argv);
    redactor.argv_counted(&argv, false, &mut work);
    work.spent()
}

#[test]
fn the_work_of_hostile_text_is_linear_in_its_length() {
    const SHORT: usize = 1 << 14;
    for ((name, short), (_, long)) in hostile(SHORT).into_iter().zip(hostile(SHORT * 8)) {
        let (few, many) = (work(&short), work(&long));
        // Eight times the text: eight times the work, and a constant.
        let bound = few * 12 * long.len() as u64 / (short.len() as u64 * 8) + (1 << 16);
        assert!(
            many <= bound,
            "{name}: {few} for {}, {many} for {}",
            short.len(),
            long.len()
        );
        assert!(
            many <= long.len() as u64 * 100 + (1 << 17),
            "{name}: {many}"
        );
    }
}

#[test]
fn a_megabyte_in_one_word_is_redacted() {
    let word = ["--password=".as_bytes(), &b"aB3".repeat(1 << 19)].concat();
    let argv = ["tool".into(), Text::from(word)];
    let out = Redactor::new().argv(&argv, false).unwrap();
    assert_eq!(out[1], Text::from("--password=[redacted:password]"));
}

#[test]
fn beyond_the_depth_tokens_are_still_found() {
    let token = concat!("sk-", "ant-api03-Zm9vYmFyYmF6cXV4AAAA");
    for open in ["$(a ", "( ", "\"$("] {
        let text = open.repeat(5_000) + token;
        let argv = ["bash".into(), "-c".into(), Text::from(text.as_str())];
        let out = Redactor::new().argv(&argv, false).unwrap();
        assert!(memchr::memmem::find(out[2].as_bytes(), b"Zm9vYmFy").is_none());
    }
}

/// Pieces of shell text that open, close and feed.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "'",
        "\"",
        "\\",
        "$'",
        "$(",
        "${x:-",
        "`",
        ")",
        "}",
        "(",
        "{ ",
        "; ",
        " | ",
        " && ",
        "\n",
        " ",
        "<<EOF",
        "<<-'E'",
        "\nEOF\n",
        "\nE\n",
        "<<<",
        "< ",
        "<(",
        "> f",
        "# ",
        "=",
        ":",
        "@",
        "a",
        "xY1z9Kq",
        "echo ",
        "printf ",
        "sudo -S ",
        "passwd",
        "chpasswd ",
        "mysql -p",
        "curl -u ",
        "--password ",
        "DB_PASSWORD=",
        "identified by ",
        "https://u:",
        "@h/",
        "Authorization: ",
        "\\x41",
        "\u{e9}",
        "\u{0}",
        "[redacted:password]",
        "***",
        "%3A%2F%2F",
        "eval ",
        "ssh h ",
        "docker login --password-stdin ",
        "scott/",
        "$X",
        "sk-ant-",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn shell_text_of_any_form_is_redacted_once_and_for_all(
        pieces in prop::collection::vec(piece(), 0..40),
        truncated: bool,
    ) {
        let argv = ["bash".into(), "-c".into(), Text::from(pieces.concat().as_str())];
        let redactor = Redactor::new();
        let once = redactor.argv(&argv, truncated).unwrap_or(argv.to_vec());
        prop_assert_eq!(redactor.argv(&once, truncated), None, "{:?}", once);
    }
}
