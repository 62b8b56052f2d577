fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).init();
    let json = std::env::args().any(|a| a == "--json");
    match skep_sensor::watch::run(&skep_sensor::config::Config::default(), json) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => { eprintln!("error: {e}"); std::process::ExitCode::from(3) }
    }
}
