//! Keeps web pages out.
//!
//! A browser on the analyst's machine reaches loopback addresses, and runs pages of anybody. Three
//! things a page cannot fake are looked at: `Host` (a page whose name was made to mean this address,
//! DNS rebinding, shows that name), `Origin` (of another page), and `Sec-Fetch-Site`. A body must be
//! JSON, which a page of another origin cannot send without asking first, and asking is refused.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) async fn check(request: Request, next: Next) -> Response {
    // HTTP/1.1 allows the authority in the request line, and then it is the one that counts.
    let target = request.uri().authority().map(Authority::as_str);
    match refusal(request.headers(), target) {
        None => next.run(request).await,
        Some(reason) => Problem::foreign(reason).into_response(),
    }
}

/// Why a request is not served.
fn refusal(headers: &HeaderMap, target: Option<&str>) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let host = host.and_then(|host| host.to_str().ok());
    let (Some(host), None) = (host, more) else {
        return Some("a request needs one header Host");
    };
    if !loopback(host) || !target.is_none_or(loopback) {
        return Some("the header Host has to name this machine: localhost, 127.0.0.1 or [::1]");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|o| o.strip_prefix("http://"));
        if own.is_none_or(|own| !own.eq_ignore_ascii_case(host)) {
            return Some("pages of other origins are not served");
        }
    }
    match headers.get(SITE).map(|site| site.as_bytes()) {
        None | Some(b"none" | b"same-origin") => None,
        Some(_) => Some("pages of other origins are not served"),
    }
}

fn loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        refusal(&map, None).is_some()
    }

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:7318",
            "127.0.0.1:7318",
            "127.8.8.8",
            "[::1]:7318",
        ] {
            assert!(!refused(&[(header::HOST, host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7318",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::]:7318",
            "localhost@evil.example",
            "127.0.0.1@evil.example",
            "",
            "a b",
        ] {
            assert!(refused(&[(header::HOST, host)]), "{host}");
        }
        assert!(refused(&[]));
        assert!(refused(&[
            (header::HOST, "localhost"),
            (header::HOST, "localhost")
        ]));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = (header::HOST, "localhost:7318");
        let with = |name: HeaderName, value| refused(&[host.clone(), (name, value)]);
        assert!(!with(header::ORIGIN, "http://localhost:7318"));
        for origin in [
            "null",
            "http://evil.example",
            "https://localhost:7318",
            "http://localhost",
        ] {
            assert!(with(header::ORIGIN, origin), "{origin}");
        }
        assert!(!with(SITE, "none") && !with(SITE, "same-origin"));
        assert!(with(SITE, "cross-site") && with(SITE, "same-site"));
    }
}
