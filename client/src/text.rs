//! Words and numbers as tables and trees show them.

/// One line for a command: arguments with blanks or quotes are quoted as a shell would want them.
pub fn command_line(argv: &[String]) -> String {
    let quoted = |argument: &String| {
        let bare = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
        match !argument.is_empty() && argument.chars().all(bare) {
            true => argument.clone(),
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// 1234567 as 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2026-11-20 08:30:05Z` from RFC 3339 in UTC, with milliseconds when asked.
pub fn short_time(rfc3339: &str, milliseconds: bool) -> String {
    let Some((date, clock)) = rfc3339.trim_end_matches('Z').split_once('T') else {
        return rfc3339.to_owned();
    };
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, "000"));
    match milliseconds {
        true => format!("{date} {seconds}.{:0<3.3}Z", fraction),
        false => format!("{date} {seconds}Z"),
    }
}

/// The name of a negative errno; other results as they are.
pub fn outcome(result: i32) -> String {
    skep_event::result_name(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted_into_a_shell() {
        let argv = ["sh", "-c", "echo 'hi' > x", ""].map(str::to_owned);
        assert_eq!(command_line(&argv), r#"sh -c 'echo '\''hi'\'' > x' ''"#);
    }

    #[test]
    fn times_and_numbers_are_short() {
        assert_eq!(
            short_time("2026-11-20T08:30:05.123456789Z", true),
            "2026-11-20 08:30:05.123Z"
        );
        assert_eq!(
            short_time("2026-11-20T08:30:05Z", true),
            "2026-11-20 08:30:05.000Z"
        );
        assert_eq!(
            short_time("2026-11-20T08:30:05.5Z", false),
            "2026-11-20 08:30:05Z"
        );
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn results_have_the_names_of_the_kernel_header() {
        for (result, shown) in [
            (-1, "EPERM"),
            (-2, "ENOENT"),
            (-111, "ECONNREFUSED"),
            (-133, "EHWPOISON"),
            (0, "0"),
            (5, "5"),
            (-4096, "-4096"),
            (i32::MIN, "-2147483648"),
        ] {
            assert_eq!(outcome(result), shown);
        }
    }
}
