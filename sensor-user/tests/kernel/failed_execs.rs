//! Execs that fail, in both tiers.

use std::{fs, os::unix::fs::PermissionsExt};

use skep_event::Text;

use crate::sensor::{Sensor, scratch, sensor, tracepoints};

#[test]
fn an_exec_that_fails_is_told_with_what_was_tried_and_the_error() {
    tried_and_told(sensor(), "best");
}

#[test]
fn tracepoints_tell_execs_that_fail_where_fexit_cannot() {
    let tier = tracepoints();
    let report = tier.hook("failed_exec");
    assert_eq!(report.hook, Some("tp/sys_execve*"), "{report:?}");
    tried_and_told(tier, "tracepoints");
}

fn tried_and_told(sensor: &Sensor, tier: &str) {
    let directory = scratch(&format!("failed-execs-{tier}"));
    let path = |name: &str| {
        directory
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    };
    let (missing, refused, odd) = (path("missing"), path("refused"), path("odd"));
    fs::write(&refused, "x").expect("own directory");
    fs::write(&odd, [0x7f, b'E', b'L', b'F', 0, 0]).expect("own directory");
    fs::set_permissions(&refused, fs::Permissions::from_mode(0o600)).expect("own directory");
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o700)).expect("own directory");
    let script = format!("{missing} -sV 192.0.2.1; {refused} --steal; {odd} 7");
    let run = sensor.run(&["exec", "/bin/sh", "-c", &script, "--"]);
    fs::remove_dir_all(&directory).expect("own directory");
    for (name, arguments, errno) in [
        (&missing, &["-sV", "192.0.2.1"][..], libc::ENOENT),
        (&refused, &["--steal"], libc::EACCES),
        (&odd, &["7"], libc::ENOEXEC),
    ] {
        let name = Text::from(name.as_str());
        let found = run.failed_execs().into_iter();
        let found = found.filter(|(_, exec)| exec.filename.as_ref() == Some(&name));
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{errno}: {}", run.describe());
        let (event, exec) = found[0];
        assert_eq!(event.result, Some(-errno));
        let argv = std::iter::once(name).chain(arguments.iter().map(|word| Text::from(*word)));
        assert_eq!(exec.argv, argv.collect::<Vec<_>>());
        assert!(!exec.argv_truncated);
        let process = event.process.as_ref().expect("who tried");
        let exe = process.exe.as_ref().map(Text::escaped).unwrap_or_default();
        assert!(
            !exe.starts_with("/tmp/skep-kernel"),
            "it is the shell that tried: {exe}"
        );
    }
    assert_eq!(sensor.lost(), Vec::<String>::new());
}
