//! Configuration files that are taken, and those that are refused and why.

use proptest::prelude::*;

use super::*;

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sensor.toml");
    fs::write(&file, text).unwrap();
    Config::load(&file).map_err(|error| {
        error
            .to_string()
            .replace(&file.display().to_string(), "FILE")
    })
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(load("").unwrap(), Config::default());
    assert_eq!(load("# nothing\n[collector]\n").unwrap(), Config::default());
}

#[test]
fn the_sample_configuration_states_the_defaults() {
    let sample = include_str!("../../../deploy/sensor.toml");
    assert_eq!(load(sample).unwrap(), Config::default());
    // With every commented key switched on it still says the defaults.
    let all: String = sample
        .lines()
        .map(|line| match line.strip_prefix("#") {
            Some(key) if !key.starts_with([' ', '#']) && !key.is_empty() => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.contains("/etc/skep/catalogue"))
        .collect();
    assert!(
        all.contains("\nmax_bytes") && all.contains("\naddress"),
        "{all}"
    );
    assert_eq!(load(&all).unwrap(), Config::default());
}

#[test]
fn every_key_is_taken() {
    let config = load(
        "state_directory = '/s'\n[collector]\naddress = 'http://[::1]:99/'\n[spool]\n\
         max_bytes = 1_048_576\nfindings_bytes = 200_000\n[status]\nsocket = '/r/s.sock'\n[kernel]\nring_bytes = 4096\n\
         avoid = ['lsm/', 'fentry/security_file_open']\nlog = 'warn'\n[limits]\n\
         memory_bytes = 50_331_648\n[inspector]\nquestion_milliseconds = 500\n\
         question_bytes = 16_777_216\nquestion_entries = 1000\n[liveness]\ninterval_seconds = 0\n[catalogue]\ndirectory = '/'\n[log]\nlevel = 'debug'\n",
    )
    .unwrap();
    assert_eq!(config.collector.address, "http://[::1]:99");
    assert_eq!(config.spool.directory, Path::new("/s/spool"));
    assert_eq!(config.spool.max_bytes, 1 << 20);
    assert_eq!(config.spool.findings_bytes, 200_000);
    assert_eq!(config.status.socket, Path::new("/r/s.sock"));
    assert_eq!(config.kernel.ring_bytes, 4096);
    assert_eq!(config.kernel.avoid, ["lsm/", "fentry/security_file_open"]);
    assert_eq!(config.kernel.log, KernelLevel::Warn);
    assert_eq!(config.limits.memory(), 48 << 20);
    assert_eq!(config.inspector.question_milliseconds, 500);
    assert_eq!(config.inspector.question_bytes, 16 << 20);
    assert_eq!(config.inspector.question_entries, 1000);
    assert_eq!(config.liveness.interval_seconds, 0);
    assert_eq!(config.catalogue.directory, Path::new("/"));
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(load(&config.effective()).unwrap(), config);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        (
            "x = 1",
            "FILE:1:1: unknown field `x`, expected one of `state_directory`",
        ),
        (
            "\n[spool]\n  dir = '/x'",
            "FILE:3:3: unknown field `dir`, expected one of `directory`,",
        ),
        (
            "[spool]\nmax_bytes = 1_048_576\nfindings_bytes = 524_289",
            "FILE:3:18: 524289 is out of range, expected 131072 to 524288 bytes, half of max_bytes",
        ),
        (
            "[inspector]\nquestion_milliseconds = 10",
            "FILE:2:25: 10 is out of range, expected 100 to 60000 milliseconds",
        ),
        (
            "[kernel]\nring_bytes = '4M'",
            "FILE:2:14: invalid type: string \"4M\", expected i64",
        ),
        (
            "[kernel]\nring_bytes = 5000",
            "FILE:2:14: 5000 is not a power of two",
        ),
        (
            "[kernel]\nring_bytes = 2048",
            "FILE:2:14: 2048 is not a power of two",
        ),
        (
            "[kernel]\nring_bytes = 134217728",
            "FILE:2:14: 134217728 is not",
        ),
        (
            "[kernel]\nring_bytes = -1",
            "FILE:2:14: -1 is not a power of two",
        ),
        (
            "[kernel]\navoid = ['lsm/', 'kprobe/']",
            "FILE:2:18: `kprobe/` is the start of no hook that the sensor can do without, \
             expected `cgroup/`, `fentry/`, `fexit/`, `lsm/`, `tp/` or more",
        ),
        (
            "[kernel]\navoid = ['raw_tp/']",
            "FILE:2:10: `raw_tp/` is the start of no hook that",
        ),
        ("[kernel]\navoid = ['']", "FILE:2:10: `` is the start"),
        (
            "[kernel]\navoid = 'lsm/'",
            "FILE:2:9: invalid type: string \"lsm/\", expected a sequence",
        ),
        (
            "[kernel]\nlog = 'info'",
            "FILE:2:7: no level `info` of the kernel programs' log: expected off, warn or debug",
        ),
        (
            "[kernel]\nlog = true",
            "FILE:2:7: invalid type: boolean `true`, expected a string",
        ),
        (
            "[log]\nlevel = 'verbose'",
            "FILE:2:9: no log level `verbose`: expected error, warn, info, debug or trace",
        ),
        (
            "[limits]\nmemory_bytes = 1048576",
            "FILE:2:16: 1048576 is out of range, expected 50331648 to 1073741824 bytes",
        ),
        (
            "[spool]\nmax_bytes = 10",
            "FILE:2:13: 10 is out of range, expected 1048576 to",
        ),
        (
            "state_directory = 'var'",
            "FILE:1:19: `var` is not an absolute path",
        ),
        (
            "state_directory = '/a/../b'",
            "FILE:1:19: `/a/../b` is not an absolute path",
        ),
        (
            "spool = 3",
            "FILE:1:9: invalid type: integer `3`, expected a table [spool]",
        ),
        (
            "[catalogue]\ndirectory = '/no/such'",
            "FILE:2:13: no directory `/no/such`",
        ),
        (
            "[collector]\naddress = 'tcp://x'",
            "FILE:2:11: `tcp://x` is not an http address",
        ),
        (
            "[collector]\naddress = 'http://127.0.0.1'",
            "FILE:2:11: `http://127.0.0.1` has no",
        ),
        (
            "[collector]\naddress = 'http://[::1]'",
            "FILE:2:11: `http://[::1]` has no port",
        ),
        (
            "[collector]\naddress = 'http://localhost:0'",
            "FILE:2:11: `0` is not a port",
        ),
        (
            "[collector]\naddress = 'http://10.0.0.1:1'",
            "FILE:2:11: `10.0.0.1` is not a loop",
        ),
        (
            "[collector]\naddress = 'http://localhost.evil.example:1'",
            "FILE:2:11: `localhost.e",
        ),
        (
            "[collector]\naddress = 'http://a@127.0.0.1:1'",
            "FILE:2:11: `a@127.0.0.1` is not",
        ),
        (
            "[collector]\naddress = 'https://c:1'",
            "FILE:2:11: https is not available yet",
        ),
        ("a = \n", "FILE:1:5: "),
        ("[spool", "FILE:1:"),
    ];
    for (text, expected) in cases {
        let error = load(text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_said() {
    let missing = Config::load(Path::new("/no/such/sensor.toml")).unwrap_err();
    assert!(
        missing.to_string().starts_with("/no/such/sensor.toml: "),
        "{missing}"
    );
    let directory = Config::load(Path::new("/")).unwrap_err();
    assert!(
        directory.to_string().contains("not a regular file"),
        "{directory}"
    );
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_without_panic(text in ".{0,80}") {
        let _ = Config::parse(&text).map_err(|refused| Place::of(&text, refused.span.start));
    }

    #[test]
    fn an_address_that_is_taken_is_loopback(text in "http://[0-9a-z.:@\\[\\]/]{0,24}") {
        if let Ok(address) = collector_address(text) {
            let host = address.strip_prefix("http://").unwrap();
            prop_assert!(
                host.starts_with("127.") || host.starts_with("localhost:") || host.starts_with('[')
            );
        }
    }
}
