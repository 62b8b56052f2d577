//! Names that say that a value is secret, and names that do not.

use super::*;

fn names() -> &'static Names {
    &crate::compiled::rules().names
}

#[test]
fn every_class_of_the_table_is_known() {
    let known = [
        "password",
        "pass",
        "compound",
        "key",
        "ours",
        "header",
        "header-end",
        "variable",
        "parameter",
        "parameter-end",
        "scheme",
    ];
    for [class, ..] in table::rows::<3>(table::NAMES) {
        assert!(known.contains(&class), "{class}");
    }
}

#[test]
fn no_name_of_the_table_is_passed_over() {
    let names = names();
    let sets = [
        &names.passwords,
        &names.compounds,
        &names.keys,
        &names.headers,
        &names.variables,
    ];
    for name in sets.into_iter().flatten() {
        assert!(maybe_telling(name), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn names_that_tell_of_a_secret_are_known() {
    for name in [
        "password",
        "DB_PASSWORD",
        "MYSQL_PWD_PASS",
        "spring.datasource.password",
        "dbPassword",
        "STOREPASS",
        "ADMINPASS",
        "rootpw",
        "password2",
        "MYSQL_PWD",
        "SSHPASS",
        "userPassword",
        "pw",
    ] {
        assert_eq!(
            names().class(name.as_bytes()),
            Some(Class::Password),
            "{name}"
        );
    }
    for name in [
        "AWS_SECRET_ACCESS_KEY",
        "apiKey",
        "GITHUB_TOKEN",
        "x-api-key",
        "GOOGLE_CREDENTIALS",
        "GHTOKEN",
        "OPENAIKEY",
        "_authToken",
        "AWSSecretKey",
        "API_KEYS",
    ] {
        assert_eq!(
            names().class(name.as_bytes()),
            Some(Class::Credential),
            "{name}"
        );
    }
    for name in ["NEO4J_AUTH", "REDISCLI_AUTH", "BW_SESSION"] {
        assert_eq!(
            names().class(name.as_bytes()),
            Some(Class::Certain),
            "{name}"
        );
    }
    for name in [
        "HOME",
        "TOKENIZERS_PARALLELISM",
        "bypass",
        "compass",
        "OLDPWD",
        "KEYBOARD_LAYOUT",
        "AUTHOR",
        "author",
        "monkey",
        "PUBLIC_KEY",
        "keyring",
        "max_tokens",
        "cache_key",
    ] {
        assert_eq!(names().class(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn options_that_name_files_and_limits_are_no_secrets() {
    for option in [
        "--password-file",
        "--max-tokens",
        "--no-password",
        "--key",
        "--keyring",
        "--tokenizer",
        "--password-store",
        "--with-token",
        "--monkey",
        "--authorize",
        "--author",
        "--cache-key",
    ] {
        assert_eq!(names().option_class(option.as_bytes()), None, "{option}");
    }
    for option in [
        "--token",
        "--api-key",
        "--apiKey",
        "-password",
        "--auth_token",
        "--client-secret",
        "--requirepass",
        "-storepass",
    ] {
        assert!(
            names().option_class(option.as_bytes()).is_some(),
            "{option}"
        );
    }
}
