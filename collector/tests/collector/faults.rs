//! A disk that is slow or fails, a network that is cut: the real program.

use std::{
    fs::File,
    os::fd::AsFd,
    process::Command,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use skep_testing::Finish;

use crate::{
    program::Program,
    scene::{SENSOR, Sensor, ask, opens, value},
};

const COUNT: &str = "SELECT count(*) FROM events";
/// True when there is each event up to the highest, once.
const WHOLE: &str =
    "SELECT count(*) = max(seq) AND count(DISTINCT seq) = max(seq) AND min(seq) = 1 FROM events";

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_disk_one_write_serves_all_streams_that_wait() {
    let data = tempfile::tempdir().unwrap();
    let slow = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
    ];
    let delay = ["-e", "inject=fdatasync:delay_enter=200000"];
    let program = Program::through(&[&slow[..], &delay].concat(), data.path(), &[]);
    let mut sensors = Vec::new();
    for number in 0..20 {
        let (sensor, _) = Sensor::connect(&program.url, &format!("{number:032x}")).await;
        sensors.push(sensor);
    }
    let began = Instant::now();
    for sensor in &sensors {
        sensor.send(1, opens(1, 10)).await;
    }
    for sensor in &mut sensors {
        sensor.acked(10).await;
    }
    // Each by itself would take as long as this for the disk alone.
    assert!(began.elapsed() < Duration::from_millis(200) * 20);
    assert!(
        began.elapsed() >= Duration::from_millis(200),
        "the disk is slow"
    );
    assert_eq!(value(&program.url, COUNT).await, 200);
    program.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_acknowledges_nothing_and_is_done_again() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::serve(data.path());
    let (mut sensor, _) = Sensor::connect(&program.url, SENSOR).await;
    sensor.send(1, opens(1, 10)).await;
    sensor.acked(10).await;
    program.terminate();

    // Counted by thread: the first to have so many is the one that writes the log.
    let failing = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
    ];
    let error = ["-e", "inject=fdatasync:error=EIO:when=8+40"];
    let program = Program::through(&[&failing[..], &error].concat(), data.path(), &[]);
    let (mut sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
    assert_eq!(acked, 10);
    for batch in 1..60 {
        sensor.send(batch * 10 + 1, opens(batch * 10 + 1, 10)).await;
        sensor.acked(batch * 10 + 10).await;
    }
    let failures = "SELECT value FROM counters WHERE name = 'write_failures'";
    assert!(value(&program.url, failures).await.as_u64().unwrap() > 0);
    program.kill();

    let program = Program::serve(data.path());
    let (_sensor, acked) = Sensor::connect(&program.url, SENSOR).await;
    assert_eq!(acked, 600);
    assert_eq!(value(&program.url, WHOLE).await, true);
    program.terminate();
}

/// A network of its own, with only the loopback interface.
struct Network(String);

impl Network {
    fn new() -> Self {
        let name = format!("skep-test-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let network = Self(name);
        network.link("up");
        network
    }

    fn link(&self, state: &str) {
        ip(&["-n", &self.0, "link", "set", "lo", state]);
    }

    /// Runs on a thread that has only this network.
    fn within<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.0)).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(work())
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).spawn().unwrap().finish();
    assert!(done.success(), "ip {arguments:?} needs root");
}

#[test]
fn what_was_sent_into_a_network_that_is_cut_is_sent_again_and_stored_once() {
    let data = tempfile::tempdir().unwrap();
    let network = Network::new();
    network.within(async || {
        let program = Program::serve(data.path());
        let (mut sensor, _) = Sensor::connect(&program.url, SENSOR).await;
        sensor.send(1, opens(1, 10)).await;
        sensor.acked(10).await;

        network.link("down");
        sensor.send(11, opens(11, 10)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.link("up");
        // A sensor does not know whether that arrived: it connects again and sends what is not
        // acknowledged. The old stream is still there, and is ended.
        let (mut again, acked) = Sensor::connect(&program.url, SENSOR).await;
        assert!(acked == 10 || acked == 20, "{acked}");
        for first in (acked + 1..=41).step_by(10) {
            again.send(first, opens(first, 10)).await;
        }
        again.acked(50).await;
        assert_eq!(value(&program.url, WHOLE).await, true);
        assert_eq!(value(&program.url, COUNT).await, 50);
        let superseded = "SELECT value FROM counters WHERE name = 'refused_superseded'";
        let ended = async {
            while ask(&program.url, superseded).await.unwrap()[0]["value"] != 1 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::scene::HANG, ended)
            .await
            .unwrap();
        program.terminate();
    });
}
