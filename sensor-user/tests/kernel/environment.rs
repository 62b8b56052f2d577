//! Switches among the environment variables of an exec, as the kernel programs read them.

use std::process::{Command, Stdio};

use skep_abi::{PATH_MAX, SWITCHES_MAX, Switch};
use skep_sensor::{
    decode::{Body, decode},
    probes::{ProbeConfig, Probes},
};
use skep_testing::Finish;

use crate::sensor::{config, wait_for};

const SWITCH: &str = "SKEP_TEST_SWITCH";
const RING: u32 = 1 << 20;

/// Variables, and what is to be seen.
type Case<'a> = (&'a [(&'a str, &'a str)], Option<u16>);

/// Which of the two switches were on when a shell was executed with these variables; `None`: not known.
fn seen(probes: &mut Probes, variables: &[(&str, &str)]) -> Option<u16> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", ":"])
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell");
    let pid = child.id();
    assert!(child.finish().success());
    wait_for("the record of its exec", || {
        let mut room = Vec::new();
        while let Some(bytes) = probes.ring.next() {
            let record = decode(&bytes, &mut room).expect("a record");
            if let Body::Exec(exec) = record.body
                && record.common.tgid == pid
            {
                return Some(exec.switches);
            }
        }
        None
    })
}

#[test]
fn a_switch_is_on_by_its_value_at_the_exec() {
    let mut switches = [Switch::NONE; SWITCHES_MAX];
    switches[0] = Switch::new("BUN_BE_BUN").expect("fits");
    switches[1] = Switch::new(SWITCH).expect("fits");
    let mut probes = Probes::attach(ProbeConfig {
        switches,
        ..config(RING, &[])
    })
    .expect("a sensor");
    let long = "x".repeat(PATH_MAX);
    // Another variable's value, of which the part that is read second looks like the switch.
    let hidden = format!("{}{SWITCH}=1", "x".repeat(PATH_MAX - 1 - "A=".len()));
    let many: Vec<String> = (0..300).map(|number| format!("V{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let cases: &[Case<'_>] = &[
        (&[], Some(0)),
        (&[(SWITCH, "1")], Some(2)),
        (
            &[("A", "1"), ("BUN_BE_BUN", "yes"), (SWITCH, "1"), ("Z", "")],
            Some(3),
        ),
        (&[(SWITCH, "")], Some(0)),
        (&[(SWITCH, "0")], Some(0)),
        (&[(SWITCH, "False")], Some(0)),
        (&[(SWITCH, "00")], Some(2)),
        (&[(SWITCH, "falsehood")], Some(2)),
        (
            &[("SKEP_TEST_SWITCHES", "1"), ("XSKEP_TEST_SWITCH", "1")],
            Some(0),
        ),
        (&[("A", &long), (SWITCH, "1")], Some(2)),
        (&[("A", &hidden)], Some(0)),
        (&many, None),
    ];
    for (variables, expected) in cases {
        assert_eq!(seen(&mut probes, variables), *expected, "{variables:?}");
    }
}
