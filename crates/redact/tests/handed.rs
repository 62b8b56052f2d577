//! Command lines that were handed in as reports: the secret goes, what says where it goes stays.

use skep_event::Text;
use skep_redact::Redactor;

/// As Claude Code 2.x hands a command to the shell: everything in single quotes, `'` as `'"'"'`.
fn wrap(command: &str) -> Vec<String> {
    let quoted = command.replace('\'', "'\"'\"'");
    shell_of(
        "/bin/bash",
        &format!(
            "shopt -u extglob 2>/dev/null || true && eval '{quoted}' < /dev/null && pwd -P >| /dev/null"
        ),
    )
}

fn sh(command: &str) -> Vec<String> {
    shell_of("bash", command)
}

fn shell_of(shell: &str, command: &str) -> Vec<String> {
    vec![shell.to_owned(), "-c".to_owned(), command.to_owned()]
}

fn run(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const WEAK: &str = "Hunter101zz";
const LONG: &str = "AbCd101EfGh0123456789IjKlMnOpQrStUvWx";
const HEX: &str = "0123101456789abcdef0123456789abcdef";

/// What comes out of a command line whose `{S}` is `secret`.
fn redacted(argv: &[String], secret: &str) -> String {
    let argv: Vec<Text> = argv
        .iter()
        .map(|word| word.replace("{S}", secret).as_str().into())
        .collect();
    let out = Redactor::new().argv(&argv, false).unwrap_or(argv);
    let words = out
        .iter()
        .map(|word| String::from_utf8_lossy(word.as_bytes()).into_owned());
    words.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn goes(argv: &[String], secret: &str) {
    let out = redacted(argv, secret);
    assert!(!out.contains(secret), "{out}");
    assert!(out.contains("[redacted:"), "{out}");
}

#[test]
fn quotes_inside_the_wrapper_of_claude_code() {
    for command in [
        "sshpass -p '{S}' ssh dev@192.0.2.5 uptime",
        "mysql -uroot -p'{S}' app -e 'select 1'",
        "curl -u 'dev:{S}' https://h.example/",
        "docker login -u dev -p '{S}' reg.example",
        "redis-cli -a '{S}' ping",
        "tool --password '{S}' go",
        "mysql -uroot -p{S} app",
    ] {
        goes(&wrap(command), WEAK);
    }
    goes(&wrap("export API_TOKEN='{S}'; tool"), "b7f3101c2d9e8a14c55");
    goes(
        &wrap("curl -H 'Authorization: Basic {S}' h"),
        "ZGV2101Okh1bnRlcjJ6eg",
    );
}

#[test]
fn passwords_on_standard_input() {
    for command in [
        "echo {S} | sudo -S apt-get update",
        "sudo -S id <<< '{S}'",
        "echo 'root:{S}' | chpasswd",
        "echo {S} | passwd --stdin dev",
        "echo {S} | docker login -u dev --password-stdin reg.example",
        "echo {S} | wrangler secret put DB",
    ] {
        goes(&sh(command), WEAK);
        goes(&wrap(command), WEAK);
    }
}

#[test]
fn addresses_that_are_the_credential() {
    let telegram = "https://api.telegram.org/bot1234567890:{S}/sendMessage";
    goes(
        &run(&["curl", "-s", telegram]),
        "AAF0m9dQw101rTyUiOpAsDfGhJkLzXcVbNm12",
    );
    let discord = "https://discord.com/api/webhooks/123456789012345678/{S}";
    goes(&run(&["curl", "-d", "{}", discord]), &LONG.repeat(2));
    let bot = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GxAbCd.{S}";
    goes(
        &run(&["node", "-e", "0", bot]),
        "7Zq101N1rJ8mN0pQ2sT4uV6wX8yA0b",
    );
    let teams = "https://acme.webhook.office.com/webhookb2/0a1b2c3d-0000-4000-8000-000000000000@11111111-0000-4000-8000-000000000000/IncomingWebhook/{S}/22222222-0000-4000-8000-000000000000";
    goes(&run(&["curl", teams]), HEX);
    let slack = "https://hooks.slack.com/services/T00000000/B00000000/{S}";
    goes(&run(&["curl", slack]), LONG);
}

#[test]
fn an_address_still_says_where_it_goes() {
    let slack = run(&[
        "curl",
        "https://hooks.slack.com/services/T00000000/B00000000/{S}",
    ]);
    assert_eq!(
        redacted(&slack, LONG),
        "curl https://hooks.slack.com/services/[redacted:slack-token]"
    );
    let discord = run(&[
        "curl",
        "https://discord.com/api/webhooks/123456789012345678/{S}",
    ]);
    assert_eq!(
        redacted(&discord, &LONG.repeat(2)),
        "curl https://discord.com/api/webhooks/123456789012345678/[redacted:webhook]"
    );
}

#[test]
fn flags_and_variables_of_programs() {
    goes(&sh("SSHPASS={S} sshpass -e ssh h"), WEAK);
    for words in [
        &[
            "keytool",
            "-genkeypair",
            "-keystore",
            "k.jks",
            "-storepass",
            "{S}",
        ][..],
        &["redis-server", "--requirepass", "{S}"],
        &["ssh-keygen", "-t", "ed25519", "-N", "{S}", "-f", "k"],
        &["htpasswd", "-b", ".htpasswd", "dev", "{S}"],
        &["sqlplus", "scott/{S}@//db:1521/XE"],
        &["oc", "login", "-u", "dev", "-p", "{S}", "https://h:6443"],
        &["nmcli", "dev", "wifi", "connect", "Home", "password", "{S}"],
    ] {
        goes(&run(words), WEAK);
        goes(&wrap(&words.join(" ").replace("{S}", "'{S}'")), WEAK);
    }
}

#[test]
fn clauses_of_sql() {
    let create = "CREATE USER 'app'@'%' IDENTIFIED BY '{S}'";
    let alter = "ALTER USER 'app'@'%' IDENTIFIED BY '{S}'";
    let role = "CREATE ROLE app LOGIN PASSWORD '{S}'";
    goes(&run(&["mysql", "-e", create]), WEAK);
    goes(&run(&["mysql", "-e", alter]), "aXk29101fkd83kfQ0zLmPq7");
    goes(&run(&["psql", "-c", role]), "swordfishpie");
    goes(
        &run(&["psql", "-c", "ALTER USER app WITH PASSWORD '{S}'"]),
        WEAK,
    );
    goes(&wrap(&format!("psql -c \"{role}\"")), "swordfishpie");
    goes(
        &wrap(&format!("psql -c '{}'", role.replace('\'', "'\\''"))),
        "swordfishpie",
    );
}

#[test]
fn tokens_that_agents_meet() {
    for form in [
        "tvly-dev-{S}",
        "glsa_{S}_12345678",
        "sk-sp-ABCDEFGH1234567890.{S}",
        "xoxd-{S}",
    ] {
        goes(&run(&["tool", form]), LONG);
    }
    goes(&run(&["tool", concat!("sk-", "ant-api03-{S}")]), LONG);
}

#[test]
fn other_ways_to_the_standard_input() {
    for command in [
        "sudo -S id <<EOF\n{S}\nEOF",
        "cat <<< '{S}' | sudo -S id",
        "sudo -kSp '' id < <(printf '%s' {S})",
        "passwd dev <<< $'{S}\\n{S}'",
        "echo {S}|sudo -S id",
        "echo {S} | tr -d '\\n' | ssh h sudo -S id",
        "vault login - <<< \"{S}\"",
        "echo {S} | sshpass -f /dev/stdin ssh h",
        "kubectl create secret generic s --from-file=k=/dev/stdin <<< {S}",
        "if true; then echo {S} | sudo -S id; fi",
        "OUT=$(echo {S} | sudo -S id)",
        "x=`echo {S} | sudo -S id`",
        "ssh h \"bash -c 'echo {S} | sudo -S id'\"",
    ] {
        goes(&sh(command), WEAK);
        goes(&wrap(command), WEAK);
    }
}

#[test]
fn quotes_of_every_kind() {
    for word in [
        "{S}",
        "'{S}'",
        "\"{S}\"",
        "$'{S}'",
        "$\"{S}\"",
        "'Hunter'101zz",
        "Hunter\"101\"'zz'",
        "Hunter\\101zz",
        "$'Hunter\\x3101zz'",
        "$'\\x48unter101zz'",
    ] {
        for command in [
            "mysql -uroot -p@ app",
            "tool --password @ go",
            "curl -u dev:@ h",
            "X_PASSWORD=@ tool",
        ] {
            let command = command.replace('@', word);
            for argv in [
                sh(&command),
                wrap(&command),
                sh(&format!(
                    "eval \"{}\"",
                    command.replace(['\\', '"', '$'], "")
                )),
            ] {
                let out = redacted(&argv, WEAK);
                assert!(out.contains("[redacted:password]"), "{command}: {out}");
                assert!(
                    !out.contains("unter") && !out.contains("01zz"),
                    "{command}: {out}"
                );
            }
        }
    }
}

#[test]
fn what_must_stay_readable_stays() {
    for argv in [
        run(&["curl", "http://[::1]:5173/@vite/client"]),
        sh("curl http://localhost:$PORT/@scope/pkg"),
        run(&["git", "log", "--author=longusername12345"]),
        run(&["env", "KEYBOARD_LAYOUT=us-intl-altgr-unicode2", "tool"]),
        run(&["env", "AUTHOR=firstname.lastname1234", "tool"]),
        run(&["curl", "http://[fe80::1]:3000/@id/x"]),
        sh("curl http://localhost:${PORT}/@fs/home/dev/a.ts"),
        run(&["tool", "--authority=identity.example1234.com"]),
        run(&["env", "MONKEY=bananas1234567890abc", "tool"]),
        run(&["env", "CACHE_KEY=v2-linux-9f86d081884c7d65", "tool"]),
        run(&[
            "gpg",
            "--recv-keys",
            "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
        ]),
        run(&["npm", "install", "alias@npm:@scope/pkg@1.2.3"]),
        run(&[
            "docker",
            "pull",
            "org/app:3.18@sha256:6457d53fb065d6f250e1504b9bc42d5b",
        ]),
        run(&["rsync", "-a", "dev@host.example:/srv/a@b/", "."]),
    ] {
        assert_eq!(redacted(&argv, ""), argv.join(" "));
    }
}
