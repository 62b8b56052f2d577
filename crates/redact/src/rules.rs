//! The kinds of secrets that are taken out, each with an example that `explain` prints and tests walk.
//!
//! The rules themselves are the tables in `rules/` ([`crate::tables`]).
//!
//! Examples are made up and put together from pieces, so that no scanner takes them for leaked keys.

/// How the secret of a rule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// By its own shape, anywhere in any text (`rules/shapes.txt`, `rules/addresses.txt`).
    Shape,
    /// `scheme://user:password@host`
    UrlUserinfo,
    /// `?name=value` in a URL, by name.
    UrlParameter,
    /// `Name: value`, by name.
    Header,
    /// `--name value`, `--name=value`, `NAME=value`, `"name": "value"`, by name.
    Named,
    /// Options, words and standard input of particular programs (`rules/programs.txt`).
    Program,
    /// Clauses of query languages (`rules/sql.txt`).
    Clause,
}

/// One kind of secret.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What stands in its place: `[redacted:KIND]` (for [`Finder::UrlUserinfo`]: `***`).
    pub kind: &'static str,
    pub finder: Finder,
    pub description: &'static str,
    /// Arguments with such a secret.
    pub example: &'static [&'static str],
    /// What must not be left of them.
    pub secret: &'static str,
}

pub const URL_USERINFO: &str = "url-userinfo";
pub const URL_PARAMETER: &str = "url-parameter";
pub const AUTHORIZATION: &str = "authorization";
pub const CREDENTIAL: &str = "credential";
pub const PASSWORD: &str = "password";
pub const PRIVATE_KEY: &str = "private-key";

/// Every kind, the most specific first.
pub static RULES: &[Rule] = &[
    Rule {
        kind: PRIVATE_KEY,
        finder: Finder::Shape,
        description: "private keys in PEM (RSA, EC, OpenSSH, PGP; service accounts of Google Cloud)",
        example: &[
            "add-key",
            concat!(
                "-----BEGIN RSA ",
                "PRIVATE KEY-----\nMIIBOgIBAAJB\n-----END RSA ",
                "PRIVATE KEY-----"
            ),
        ],
        secret: "MIIBOgIBAAJB",
    },
    Rule {
        kind: "anthropic-key",
        finder: Finder::Shape,
        description: "API keys of Anthropic (`sk-ant-…`)",
        example: &["run", concat!("sk-", "ant-api03-Zm9vYmFyYmF6cXV4AAAA")],
        secret: "Zm9vYmFyYmF6cXV4AAAA",
    },
    Rule {
        kind: "openai-key",
        finder: Finder::Shape,
        description: "API keys of OpenAI and of those who copy its shape (`sk-…`, `sk-proj-…`)",
        example: &["run", concat!("sk-", "proj-Zm9vYmFy_YmF6cXV4-AAAA")],
        secret: "Zm9vYmFy_YmF6cXV4-AAAA",
    },
    Rule {
        kind: "google-api-key",
        finder: Finder::Shape,
        description: "API keys of Google (`AIza…`)",
        example: &[
            "run",
            concat!("AI", "zaZm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9",
    },
    Rule {
        kind: "google-oauth",
        finder: Finder::Shape,
        description: "OAuth tokens and client secrets of Google (`ya29.…`, `GOCSPX-…`, `1//0…`)",
        example: &["run", concat!("ya", "29.a0Zm9vYmFyYmF6cXV4")],
        secret: "a0Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "aws-access-key",
        finder: Finder::Shape,
        description: "access key ids of AWS (`AKIA…`, `ASIA…`); the secret goes by its name",
        example: &["run", concat!("AKIA", "IOSFODNN7EXAMPLE")],
        secret: "IOSFODNN7EXAMPLE",
    },
    Rule {
        kind: "github-token",
        finder: Finder::Shape,
        description: "tokens of GitHub (`ghp_…`, `gho_…`, `ghu_…`, `ghs_…`, `ghr_…`, `github_pat_…`)",
        example: &[
            "run",
            concat!("gh", "p_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "gitlab-token",
        finder: Finder::Shape,
        description: "tokens of GitLab (`glpat-…` and its siblings)",
        example: &["run", concat!("gl", "pat-Zm9vYmFyYmF6cXV4Zm9v")],
        secret: "Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "slack-token",
        finder: Finder::Shape,
        description: "tokens and webhook addresses of Slack (`xoxb-…`, `xapp-…`, `hooks.slack.com/services/…`)",
        example: &["run", concat!("xo", "xb-1234567890-Zm9vYmFyYmF6")],
        secret: "1234567890-Zm9vYmFyYmF6",
    },
    Rule {
        kind: "stripe-key",
        finder: Finder::Shape,
        description: "keys of Stripe (`sk_live_…`, `rk_live_…`, `whsec_…`)",
        example: &["run", concat!("sk", "_live_Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "npm-token",
        finder: Finder::Shape,
        description: "tokens of npm (`npm_…`)",
        example: &[
            "run",
            concat!("np", "m_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v"),
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v",
    },
    Rule {
        kind: "pypi-token",
        finder: Finder::Shape,
        description: "tokens of PyPI (`pypi-Ag…`)",
        example: &["run", concat!("py", "pi-AgEIcHlwaS5vcmcZm9vYmFyYmF6")],
        secret: "EIcHlwaS5vcmcZm9vYmFyYmF6",
    },
    Rule {
        kind: "huggingface-token",
        finder: Finder::Shape,
        description: "tokens of Hugging Face (`hf_…`)",
        example: &["run", concat!("h", "f_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "jwt",
        finder: Finder::Shape,
        description: "JSON Web Tokens (`eyJ….….…`)",
        example: &[
            "run",
            concat!("ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Zm9vYmFyYmF6"),
        ],
        secret: "Zm9vYmFyYmF6",
    },
    Rule {
        kind: "azure-key",
        finder: Finder::Shape,
        description: "keys in connection strings of Azure (`AccountKey=…`, `SharedAccessKey=…`)",
        example: &[
            "run",
            "AccountName=x;AccountKey=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4==;EndpointSuffix=y",
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4==",
    },
    Rule {
        kind: "webhook",
        finder: Finder::Shape,
        description: "addresses that are the credential: webhooks of Discord, Teams, Telegram, Google Chat, \
                      deploy hooks and others; the host stays",
        example: &[
            "curl",
            "https://discord.com/api/webhooks/123456789012345678/Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "password-hash",
        finder: Finder::Shape,
        description: "hashes of passwords as `crypt` and Argon2 write them",
        example: &[
            "usermod-hash",
            "$6$saltsalt$Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy",
        ],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFy",
    },
    Rule {
        kind: "provider-token",
        finder: Finder::Shape,
        description: "tokens of other providers by their shape (Groq, xAI, Perplexity, NVIDIA, Replicate, \
                      SendGrid, Databricks, Vault, DigitalOcean, Docker, Telegram, Atlassian, Cargo, age …)",
        example: &["run", concat!("gs", "k_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4")],
        secret: "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    },
    Rule {
        kind: "authorization",
        finder: Finder::Shape,
        description: "what follows `Bearer`, when there is a digit in it",
        example: &["run", "Bearer abcdefgh12345678"],
        secret: "abcdefgh12345678",
    },
    Rule {
        kind: AUTHORIZATION,
        finder: Finder::Header,
        description: "values of the headers Authorization, Cookie, X-Api-Key, Private-Token and others \
                      named like a key, token or secret",
        example: &[
            "curl",
            "-H",
            "Authorization: Basic dXNlcjpodW50ZXIy",
            "http://127.0.0.1/",
        ],
        secret: "dXNlcjpodW50ZXIy",
    },
    Rule {
        kind: URL_USERINFO,
        finder: Finder::UrlUserinfo,
        description: "user and password in a URL; replaced by `***`",
        example: &["git", "clone", "https://dev:hunter2@example.com/app.git"],
        secret: "hunter2",
    },
    Rule {
        kind: URL_PARAMETER,
        finder: Finder::UrlParameter,
        description: "URL parameters named like a token, key, secret, signature or password",
        example: &[
            "curl",
            "https://example.com/x?id=7&access_token=hunter2hunter2&page=2",
        ],
        secret: "hunter2hunter2",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Named,
        description: "what is named a password: `--password X`, `--password=X`, `PGPASSWORD=X`, `\"password\": \"X\"`",
        example: &["connect", "--db-password", "hunter2"],
        secret: "hunter2",
    },
    Rule {
        kind: CREDENTIAL,
        finder: Finder::Named,
        description: "what is named a key, token, secret or credential and is long or random: \
                      `--token X`, `--api-key=X`, `AWS_SECRET_ACCESS_KEY=X`",
        example: &[
            "env",
            "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "deploy",
        ],
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Program,
        description: "password flags of particular programs: `curl -u user:X`, `mysql -pX`, `sshpass -p X`, \
                      `redis-cli -a X`, `docker login -p X` …",
        example: &["bash", "-c", "mysql -uroot -phunter2 app"],
        secret: "hunter2",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Program,
        description: "what is piped or here-stringed into a program that reads a password from standard \
                      input: `sudo -S`, `chpasswd`, `docker login --password-stdin`, `gh secret set` …",
        example: &["bash", "-c", "echo hunter2 | sudo -S id"],
        secret: "hunter2",
    },
    Rule {
        kind: PASSWORD,
        finder: Finder::Clause,
        description: "what follows `IDENTIFIED BY`, `PASSWORD` and like clauses of SQL",
        example: &["mysql", "-e", "ALTER USER app IDENTIFIED BY \"hunter2\""],
        secret: "hunter2",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_tables_is_explained() {
        for shape in &crate::compiled::rules().shapes {
            assert!(
                RULES.iter().any(|rule| rule.kind == shape.kind),
                "{}",
                shape.kind
            );
        }
    }
}
