//! Planted secrets go, everything else stays.

use proptest::prelude::*;

use super::*;
use skep_event::sample;

fn redactor() -> &'static Redactor {
    static REDACTOR: std::sync::OnceLock<Redactor> = std::sync::OnceLock::new();
    REDACTOR.get_or_init(Redactor::new)
}

fn texts<S: AsRef<[u8]>>(argv: &[S]) -> Vec<Text> {
    argv.iter().map(|word| Text::from(word.as_ref())).collect()
}

fn redacted<S: AsRef<[u8]>>(argv: &[S]) -> Vec<String> {
    let argv = texts(argv);
    let out = redactor().argv(&argv, false).unwrap_or(argv);
    out.iter()
        .map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned())
        .collect()
}

/// As one argument of `bash -c`, quoted where a shell would need it.
fn shell(argv: &[&str]) -> String {
    let quote = |word: &&str| match word
        .chars()
        .all(|c| c.is_alphanumeric() || "-_=/:.@%+,".contains(c))
    {
        true => (*word).to_owned(),
        false => format!("'{word}'"),
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_example_of_every_rule_is_redacted_as_arguments_and_as_one_command_line() {
    for rule in RULES {
        let placeholder = match rule.finder {
            Finder::UrlUserinfo => "***".to_owned(),
            _ => format!("[redacted:{}]", rule.kind),
        };
        let line = shell(rule.example);
        let nested = format!("ssh host \"{line}\"");
        for argv in [
            rule.example.to_vec(),
            vec!["bash", "-c", &line],
            vec!["sh", "-c", &nested],
        ] {
            let out = redacted(&argv).join(" ");
            assert!(!out.contains(rule.secret), "{}: {out}", rule.kind);
            assert!(out.contains(&placeholder), "{}: {out}", rule.kind);
        }
    }
}

#[test]
fn only_the_secret_is_replaced() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["curl", "-sSu", "dev:hunter2", "http://127.0.0.1/x"],
            &[
                "curl",
                "-sSu",
                "dev:[redacted:password]",
                "http://127.0.0.1/x",
            ],
        ),
        (
            &["curl", "-udev:hunter2"],
            &["curl", "-udev:[redacted:password]"],
        ),
        (
            &["curl", "--user=dev:hunter2"],
            &["curl", "--user=dev:[redacted:password]"],
        ),
        (
            &[
                "curl",
                "-H",
                "Authorization: Bearer hunter2",
                "-HX-Api-Key: hunter2",
            ],
            &[
                "curl",
                "-H",
                "Authorization: Bearer [redacted:authorization]",
                "-HX-Api-Key: [redacted:authorization]",
            ],
        ),
        (
            &[
                "bash",
                "-c",
                "curl -H 'Authorization: Bearer hunter2' http://h/ && echo ok",
            ],
            &[
                "bash",
                "-c",
                "curl -H 'Authorization: Bearer [redacted:authorization]' http://h/ && echo ok",
            ],
        ),
        (
            &["mysql", "-uroot", "-phunter2", "-P", "3306"],
            &["mysql", "-uroot", "-p[redacted:password]", "-P", "3306"],
        ),
        (
            &["sudo", "docker", "exec", "db", "mysql", "-phunter2"],
            &[
                "sudo",
                "docker",
                "exec",
                "db",
                "mysql",
                "-p[redacted:password]",
            ],
        ),
        (
            &["bash", "-c", "cd /x; PGPASSWORD=hunter2 psql -h db | cat"],
            &[
                "bash",
                "-c",
                "cd /x; PGPASSWORD=[redacted:password] psql -h db | cat",
            ],
        ),
        (
            &["bash", "-c", "PGPASSWORD=\"hunter 2\" psql"],
            &["bash", "-c", "PGPASSWORD=\"[redacted:password]\" psql"],
        ),
        (
            &["env", "PGPASSWORD=hunter2 & more", "psql"],
            &["env", "PGPASSWORD=[redacted:password]", "psql"],
        ),
        (
            &["git", "clone", "https://ghp@example.com:8080/a.git"],
            &["git", "clone", "https://***@example.com:8080/a.git"],
        ),
        (
            &["psql", "postgres://dev:hun/ter2@db/app?sslmode=require"],
            &["psql", "postgres://***@db/app?sslmode=require"],
        ),
        (
            &["psql", "host=db password=hunter2 user=dev"],
            &["psql", "host=db password=[redacted:password] user=dev"],
        ),
        (
            &["curl", "-d", r#"{"user":"dev","password":"hunter2","n":1}"#],
            &[
                "curl",
                "-d",
                r#"{"user":"dev","password":"[redacted:password]","n":1}"#,
            ],
        ),
        (
            &["bash", "-c", r#"curl -d "{\"password\":\"hunter2\"}" h"#],
            &[
                "bash",
                "-c",
                r#"curl -d "{\"password\":\"[redacted:password]\"}" h"#,
            ],
        ),
        (
            &["python3", "-c", "connect(password='hunter2', host='db')"],
            &[
                "python3",
                "-c",
                "connect(password='[redacted:password]', host='db')",
            ],
        ),
        (
            &["docker", "login", "-u", "dev", "-p", "hunter2", "reg"],
            &[
                "docker",
                "login",
                "-u",
                "dev",
                "-p",
                "[redacted:password]",
                "reg",
            ],
        ),
        (
            &["sshpass", "-phunter2", "ssh", "h"],
            &["sshpass", "-p[redacted:password]", "ssh", "h"],
        ),
        (
            &["openssl", "rsa", "-passin", "pass:hunter2"],
            &["openssl", "rsa", "-passin", "pass:[redacted:password]"],
        ),
        (
            &[
                "aws",
                "configure",
                "set",
                "aws_secret_access_key",
                "wJalrXUtnFEMI/K7MDENG",
            ],
            &[
                "aws",
                "configure",
                "set",
                "aws_secret_access_key",
                "[redacted:credential]",
            ],
        ),
        (
            &["bash", "-c", "echo \"API_KEY=abc123def456ghi\" >> .env"],
            &[
                "bash",
                "-c",
                "echo \"API_KEY=[redacted:credential]\" >> .env",
            ],
        ),
        (
            &["java", "-Ddb.password=hunter2", "-jar", "a.jar"],
            &["java", "-Ddb.password=[redacted:password]", "-jar", "a.jar"],
        ),
        (
            &["x", "--token", "abc", "--verbose"],
            &["x", "--token", "[redacted:credential]", "--verbose"],
        ),
        (
            &["vault", "login", "hunter2"],
            &["vault", "login", "[redacted:password]"],
        ),
        (
            &["login", "--password", "$ecret"],
            &["login", "--password", "[redacted:password]"],
        ),
        (
            &[
                "x",
                "-----BEGIN",
                "RSA",
                "PRIVATE",
                "KEY-----",
                "MIIB",
                "-----END",
                "RSA",
                "PRIVATE",
                "KEY-----",
                "y",
            ],
            &[
                "x",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "[redacted:private-key]",
                "y",
            ],
        ),
    ];
    for (argv, expected) in cases {
        assert_eq!(&redacted(argv), expected);
    }
}

/// Command lines as agents run them; one argument each line, split at ` ␣ `.
const BENIGN: &str = include_str!("benign.txt");

fn benign() -> impl Iterator<Item = Vec<&'static str>> {
    BENIGN
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split(" ␣ ").collect())
}

#[test]
fn ordinary_command_lines_stay_as_they_are() {
    for argv in benign() {
        assert_eq!(redacted(&argv), argv);
        let texts = texts(&argv);
        assert_eq!(redactor().argv(&texts, false), None, "{argv:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_kept_around_a_secret() {
    let argv = [
        &b"\xff--password"[..],
        b"--password",
        b"\xfe\xff",
        b"a\xff=https://u:p@h/\xff",
    ];
    let out = redactor().argv(&texts(&argv), false).unwrap();
    assert_eq!(
        out,
        texts(&[
            &b"\xff--password"[..],
            b"--password",
            b"[redacted:password]",
            b"a\xff=https://***@h/\xff"
        ])
    );
}

#[test]
fn a_secret_cut_off_at_the_end_does_not_survive_in_part() {
    for (cut, whole) in [
        (concat!("sk", "-ant-api03-Zm9"), "[redacted:anthropic-key]"),
        (concat!("gh", "p_Zm9vYmFy"), "[redacted:github-token]"),
        (
            "Authorization: Bearer hun",
            "Authorization: Bearer [redacted:authorization]",
        ),
        ("cargo build --rele", "cargo build --rele"),
    ] {
        let argv = texts(&["x", cut]);
        let out = redactor().argv(&argv, true).unwrap_or(argv);
        assert_eq!(out, texts(&["x", whole]));
    }
}

#[test]
fn no_part_of_an_event_carries_a_secret_out() {
    let secret = concat!("gh", "p_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v");
    for mut event in sample::all() {
        sample::plant(&mut event, secret);
        let before = skep_event::json::write(&event);
        let event = super::event(redactor(), event);
        for out in [
            skep_event::json::write(&event),
            format!("{:?}", skep_event::wire::event(&event)),
        ] {
            assert!(!out.contains(secret), "{out}");
        }
        assert_eq!(
            before.contains(secret),
            event.class() != skep_event::Class::Lost,
            "{before}"
        );
    }
}

#[test]
fn a_process_is_redacted_once_and_shared() {
    let mut event = sample::open();
    sample::plant(&mut event, "secret");
    Arc::make_mut(event.process.as_mut().unwrap()).argv = texts(&["x", "--password", "hunter2"]);
    let first = redactor().event(event.clone());
    let second = redactor().event(event.clone());
    let (first, second) = (first.process.unwrap(), second.process.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    assert!(!Arc::ptr_eq(&first, event.process.as_ref().unwrap()));
    let clean = sample::exec();
    let out = redactor().event(clean.clone());
    assert!(Arc::ptr_eq(
        &out.process.unwrap(),
        clean.process.as_ref().unwrap()
    ));
}

// === properties ===

/// A random secret with a shape of its own, and the part that must go.
fn shaped() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        "[A-Za-z0-9_-]{24,90}".prop_map(|s| (format!("sk-ant-{s}"), s)),
        "[A-Za-z0-9_-]{24,90}".prop_map(|s| (format!("sk-proj-{s}"), s)),
        "[A-Za-z0-9]{32,48}".prop_map(|s| (format!("sk-{s}"), s)),
        "[A-Za-z0-9_-]{35}".prop_map(|s| (format!("AIza{s}"), s)),
        "[A-Z2-7]{16}".prop_map(|s| (format!("AKIA{s}"), s)),
        "[A-Za-z0-9]{36}".prop_map(|s| (format!("ghp_{s}"), s)),
        "[A-Za-z0-9]{22}_[A-Za-z0-9]{59}".prop_map(|s| (format!("github_pat_{s}"), s)),
        "[A-Za-z0-9_-]{20}".prop_map(|s| (format!("glpat-{s}"), s)),
        "[0-9]{10}-[A-Za-z0-9]{24}".prop_map(|s| (format!("xoxb-{s}"), s)),
        "[A-Za-z0-9]{24}".prop_map(|s| (format!("sk_live_{s}"), s)),
        "[A-Za-z0-9]{36}".prop_map(|s| (format!("npm_{s}"), s)),
        "[A-Za-z0-9]{34}".prop_map(|s| (format!("hf_{s}"), s)),
        "[A-Za-z0-9_-]{10,40}".prop_map(|s| (format!("eyJhbGciOiJI.eyJzdWIi{s}.{s}"), s)),
    ]
}

/// A random secret of each kind, as an argument list that carries it, and the part that must go.
fn planted() -> impl Strategy<Value = (Vec<String>, String)> {
    let value = "[A-Za-z0-9]{6}[0-9][A-Za-z0-9+/]{8,30}";
    let named = (value, 0..14usize).prop_map(|(secret, form)| {
        let argv: Vec<String> = match form {
            0 => vec!["--password".into(), secret.clone()],
            1 => vec![format!("--password={secret}")],
            2 => vec!["--token".into(), secret.clone()],
            3 => vec![format!("--api-key={secret}")],
            4 => vec![format!("PGPASSWORD={secret}")],
            5 => vec![format!("AWS_SECRET_ACCESS_KEY={secret}")],
            6 => vec!["-H".into(), format!("Authorization: Bearer {secret}")],
            7 => vec!["-H".into(), format!("Authorization: Basic {secret}=")],
            8 => vec![format!(
                "https://dev:{}@example.com/a",
                secret.replace('/', "_")
            )],
            9 => vec![format!("https://example.com/?a=b&access_token={secret}")],
            10 => vec![format!("{{\"api_key\":\"{secret}\"}}")],
            11 => vec!["curl".into(), "-u".into(), format!("dev:{secret}")],
            12 => vec!["mysql".into(), format!("-p{secret}")],
            _ => vec!["-H".into(), format!("x-api-key: {secret}")],
        };
        let secret = if form == 8 {
            secret.replace('/', "_")
        } else {
            secret
        };
        (argv, secret)
    });
    prop_oneof![
        shaped().prop_map(|(word, secret)| (vec![word], secret)),
        named
    ]
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z./-]{1,12}",
        "[a-z]{1,8}=[a-z0-9]{0,8}",
        Just("--verbose".to_owned()),
        Just("echo".to_owned()),
        Just("key".to_owned()),
        Just("don't".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_planted_secret_never_survives(
        (planted, secret) in planted(),
        before in prop::collection::vec(word(), 0..5),
        after in prop::collection::vec(word(), 0..5),
        nested: bool,
    ) {
        let mut argv = before;
        // A flag that takes a value would take the planted flag for it.
        argv.push("run".into());
        argv.extend(planted);
        argv.extend(after);
        if nested {
            let quoted: Vec<String> = argv.iter().map(|word| {
                if word.contains(|c: char| " {\"&?".contains(c)) { format!("'{word}'") }
                else { word.replace('\'', "") }
            }).collect();
            argv = vec!["bash".into(), "-c".into(), quoted.join(" ")];
        }
        let out = redacted(&argv);
        prop_assert!(!out.iter().any(|word| word.contains(&secret)), "{argv:?} gave {out:?}");
    }

    #[test]
    fn a_planted_secret_does_not_survive_in_a_path((word, secret) in shaped(), name in "[a-z]{0,9}") {
        let text = format!("/home/dev/{word}/{name}");
        let out = String::from_utf8(redactor().text(text.as_bytes()).unwrap_or_default()).unwrap();
        prop_assert!(!out.contains(&secret) && out.ends_with(&format!("]/{name}")), "{out}");
    }

    #[test]
    fn redacting_twice_is_redacting_once(
        (planted, _) in planted(),
        words in prop::collection::vec(word(), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        truncated: bool,
    ) {
        let mut argv: Vec<Text> = texts(&words);
        argv.extend(texts(&planted));
        argv.push(Text::from(noise));
        let once = redactor().argv(&argv, truncated).unwrap_or(argv);
        prop_assert_eq!(redactor().argv(&once, truncated), None, "{:?}", once);
    }

    #[test]
    fn any_bytes_are_redacted_without_panic(
        argv in prop::collection::vec("[ -~]{0,30}|(--password|key|token|://|'|\"|=|:|@|\\\\| ){1,12}", 0..5),
        truncated: bool,
    ) {
        let argv = texts(&argv);
        let once = redactor().argv(&argv, truncated).unwrap_or(argv);
        prop_assert_eq!(redactor().argv(&once, truncated), None, "{:?}", once);
    }
}
